import path from "node:path";
import { expect, test } from "vitest";
import { LinkedProcess } from "../../../../test/support/linked-process.ts";
import type { FromOwner, ToOwner } from "../../../../test/support/store-owner-process.ts";
import { createTemporaryFolder } from "../../../../test/support/temporary-folder.ts";
import { append, room, Writer } from "./contract-steps.contract.ts";
import { RemoteStore } from "./remote.ts";
import type { StoreAnswer, UnsentCall } from "./remote-calls.ts";
import { storeContract, type StoreHarness } from "./store.contract.ts";
import { BackupRefused, OutcomeUnknown, StoreUnavailable } from "./store.ts";

type ToProcess = Exclude<ToOwner, { type: "call" }> | { type: "call"; restored: boolean; request: UnsentCall };

async function open(): Promise<StoreHarness & { readonly owner: LinkedProcess; readonly folder: string }> {
  await using opening = new AsyncDisposableStack();
  const folder = opening.use(await createTemporaryFolder());
  const owner = opening.use(new LinkedProcess("store-owner-process.ts", 1, [folder.path]));
  const restoring = Promise.withResolvers<void>();
  const link = owner.link<ToProcess, FromOwner<StoreAnswer>>(0, {
    onMessage(message) {
      if (message.type === "restored") restoring.resolve();
      else (message.restored ? restored : store).answered(message.answer);
    },
    onLost() {
      for (const lost of [store, restored]) lost.lose("its process ended");
    },
  });
  const store = new RemoteStore((request) => link.send({ type: "call", restored: false, request }));
  const restored = new RemoteStore((request) => link.send({ type: "call", restored: true, request }));
  await store.states([]);
  const opened = opening.move();
  return {
    store,
    owner,
    folder: folder.path,
    advance: (ms) => link.send({ type: "advance", ms }),
    async restored() {
      link.send({ type: "restore" });
      await restoring.promise;
      return restored;
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

storeContract("of another process", open);

test("[LOG-1] when the store's process is killed, appends under way may have been committed, and reads may be repeated", async () => {
  await using harness = await open();
  const { store, owner } = harness;
  const writer = new Writer(store);
  await writer.append(append("one"));
  const append2 = writer.append(append("two"));
  const read = store.states([room]);
  owner.kill();
  await expect(append2).rejects.toThrow(OutcomeUnknown);
  await expect(read).rejects.toThrow(StoreUnavailable);
  await expect(store.states([room])).rejects.toThrow(StoreUnavailable);
  await expect(writer.append(append("three"))).rejects.toThrow(StoreUnavailable);
});

test("errors of the port arrive as what they are", async () => {
  await using harness = await open();
  const { store, folder } = harness;
  await expect(store.readAfter(room, 0, 501, 1)).rejects.toThrow(RangeError);
  const target = path.join(folder, "copy.db");
  await store.backup(target);
  await expect(store.backup(target)).rejects.toThrow(BackupRefused);
});
