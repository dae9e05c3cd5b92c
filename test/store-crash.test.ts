import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { z } from "zod";
import { systemClock } from "../packages/server/src/core/clock.ts";
import { logId } from "../packages/server/src/core/log.ts";
import { entriesAfter } from "../packages/server/src/store/contract-steps.contract.ts";
import { openSqliteStore } from "../packages/server/src/store/sqlite.ts";
import { eventually } from "./support/eventually.ts";
import { spawnNode } from "./support/process.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";

const kills = 6;
const limitMs = 120_000;
const acknowledgement = z.array(z.tuple([z.string(), z.string(), z.int()]));
const logs = [0, 1, 2].map((number) => logId("default", `room-${number}`));

test("[LOG-1] what was acknowledged is there after kill -9 at any moment, in its place, and batches are whole", {
  timeout: limitMs,
}, async () => {
  await using folder = await createTemporaryFolder();
  const placeOf = new Map<string, string>();
  for (let kill = 1; kill <= kills; kill++) {
    await using child = await spawnNode(["test/support/store-process.ts", folder.path]);
    await eventually("some acknowledgements", () => (child.stdout.split("\nack").length > 7 * kill ? true : undefined));
    for (let turn = 0; turn < kill * 20; turn++) await setImmediate();
    await child.stop("SIGKILL");
    // The last part may be a line that was cut.
    for (const line of child.stdout.split("\n").slice(0, -1)) {
      if (!line.startsWith("ack ")) continue;
      for (const [log, id, seq] of acknowledgement.parse(JSON.parse(line.slice(4)))) placeOf.set(id, `${log} ${seq}`);
    }
    await using store = await openSqliteStore({ folder: folder.path, clock: systemClock });
    const committed = new Map<string, string>();
    for (const log of logs) {
      const entries = await entriesAfter(store, log, 0);
      expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1));
      for (const { id, seq } of entries) committed.set(id, `${log} ${seq}`);
    }
    const lost = [...placeOf].filter(([id, place]) => committed.get(id) !== place);
    expect(lost).toEqual([]);
    expect(cutBatches(committed.keys())).toEqual([]);
  }
  expect(placeOf.size).toBeGreaterThan(kills * 10);
});

/** Batches of which some entries are there and others not. Ids are `node-pid-n-index`; batch n has 1 + n % 20 entries. */
function cutBatches(ids: Iterable<string>): string[] {
  const batches = Map.groupBy(ids, (id) => id.slice(0, id.lastIndexOf("-")));
  return [...batches]
    .filter(([name, entries]) => entries.length !== 1 + (Number(name.split("-").at(-1)) % 20))
    .map(([name]) => name);
}
