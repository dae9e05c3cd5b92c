// Owns the stores that another process uses. Usage: store-owner-process.ts <folder>
import path from "node:path";
import { systemClock } from "../../packages/server/src/core/clock.ts";
import type { SettledCall, StoreRequest } from "../../packages/server/src/store/remote-calls.ts";
import { answerCall } from "../../packages/server/src/store/remote-service.ts";
import { openSqliteStore, restoreSqlite } from "../../packages/server/src/store/sqlite.ts";
import { linkToParent } from "./linked-process.ts";

/** `restore`: from now on the second store is the first one as it is now. */
export type ToOwner =
  | { readonly type: "call"; readonly restored: boolean; readonly request: StoreRequest }
  | { readonly type: "advance"; readonly ms: number }
  | { readonly type: "restore" };
export type FromOwner<Answer = SettledCall> =
  | { readonly type: "answer"; readonly restored: boolean; readonly answer: Answer }
  | { readonly type: "restored" };

const [, , folder = ""] = process.argv;
let aheadMs = 0;
const clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
const first = openSqliteStore({ folder: path.join(folder, "store"), clock });
let second = first;

const link = linkToParent<FromOwner, ToOwner>(0, (message) => void obey(message));

async function obey(message: ToOwner): Promise<void> {
  switch (message.type) {
    case "call": {
      const { restored, request } = message;
      link.send({ type: "answer", restored, answer: await answerCall(await (restored ? second : first), request) });
      return;
    }
    case "advance":
      aheadMs += message.ms;
      return;
    case "restore": {
      const backup = path.join(folder, "backup.db");
      await (await first).backup(backup);
      restoreSqlite(backup, path.join(folder, "restored"));
      second = openSqliteStore({ folder: path.join(folder, "restored"), clock });
      await second;
      link.send({ type: "restored" });
    }
  }
}
