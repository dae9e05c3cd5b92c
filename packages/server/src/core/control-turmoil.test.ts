import { entryData } from "@parley/protocol";
import { expect, test } from "vitest";
import { World } from "../../../../test/support/simulation.ts";
import { type MembershipChange, ordinaryWeights, Turmoil } from "../../../../test/support/simulated-turmoil.ts";
import { judge } from "../../../../test/support/simulated-verdict.ts";
import { logId } from "./log.ts";

const memberRooms = ["team", "board"];

/** As the logs say: of a change whose node was killed, or whose outcome was unknown, nobody was told. */
async function changesIn(world: World): Promise<MembershipChange[]> {
  const changes: MembershipChange[] = [];
  for (const room of memberRooms) {
    for (let after = 0; ; ) {
      const page = await world.until(world.store.readAfter(logId("default", room), after, 500, 1_000_000));
      for (const { seq, type, at, data } of page?.entries ?? []) {
        if (type !== "membership") continue;
        const { userId, role } = entryData.membership.parse(JSON.parse(data));
        changes.push({ room, userId, role: role === null ? null : "member", seq, askedAt: at });
      }
      after = page?.entries.at(-1)?.seq ?? 0;
      if (after === 0) break;
    }
  }
  return changes;
}

test("[ACC-1] whatever befalls nodes, bus and store: who loses a right gets nothing later, and is told", {
  timeout: 120_000,
}, async () => {
  let changes = 0;
  for (let seed = 1; seed <= 60; seed += 1) {
    const world = new World({ seed, openRooms: [] });
    for (let count = 0; count < 3; count += 1) await world.startNode();
    for (const user of ["ann", "ben", "cat", "dan"]) world.addClient(user, { bytesPerMs: world.pick([5, 1_000]) });
    Object.assign(world.network.faults, { lost: world.random() * 0.5, repeated: 0.2, delayMaxMs: 300 });
    const weights = { ...ordinaryWeights, remove: 6, admit: 8, history: 3, typing: 2, kill: 1, stall: 1 };
    const turmoil = new Turmoil(world, { rooms: [], memberRooms, weights });
    await turmoil.begin();
    await turmoil.run(250);
    await turmoil.heal();
    turmoil.changes.splice(0, Number.POSITIVE_INFINITY, ...(await changesIn(world)));
    expect(await judge(turmoil), `seed ${seed}`).toEqual([]);
    changes += turmoil.changes.length;
    await world.stop();
  }
  expect(changes).toBeGreaterThan(300);
});
