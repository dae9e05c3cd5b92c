import { describe, expect, test } from "vitest";
import { World, type WorldOptions } from "../../../../test/support/simulation.ts";
import { ordinaryWeights, Turmoil, type TurmoilOptions } from "../../../../test/support/simulated-turmoil.ts";
import { judge } from "../../../../test/support/simulated-verdict.ts";

interface Outcome {
  readonly faults: readonly string[];
  readonly gaps: readonly string[];
  readonly delivered: number;
  readonly recovered: number;
  readonly repeats: number;
  readonly turmoil: Turmoil;
}

interface Scenario extends Omit<WorldOptions, "seed" | "openRooms"> {
  readonly nodes?: number;
  readonly users: readonly string[];
  readonly steps: number;
  readonly turmoil: TurmoilOptions;
  /** Every message between nodes arrives, and soon: who is asked can answer. */
  readonly isBusGood?: boolean;
  readonly mayRepeat?: boolean;
}

/** Faults strike and clients come and go; then all heals, and everyone has everything. */
async function simulate(seed: number, scenario: Scenario): Promise<Outcome> {
  const world = new World({ ...scenario, openRooms: scenario.turmoil.rooms, seed });
  const { random, network } = world;
  for (let count = scenario.nodes ?? 3; count > 0; count -= 1) await world.startNode();
  for (const user of scenario.users) world.addClient(user, { bytesPerMs: world.pick([0.5, 5, 1_000]) });
  for (const { transcript } of world.clients) transcript.mayRepeat = scenario.mayRepeat ?? false;
  network.faults.lost = scenario.isBusGood === true ? 0 : random() * 0.5;
  network.faults.repeated = random() * 0.3;
  network.faults.delayMaxMs = 1 + random() * (scenario.isBusGood === true ? 100 : 500);
  const turmoil = new Turmoil(world, scenario.turmoil);
  await turmoil.begin();
  await turmoil.run(scenario.steps);
  await turmoil.heal();
  const faults = await judge(turmoil);
  await world.stop();
  const transcripts = world.clients.map(({ transcript }) => transcript);
  return {
    faults,
    gaps: transcripts.flatMap(({ gaps }) => gaps.map(({ reason }) => reason)),
    delivered: transcripts.reduce((sum, { deliveries }) => sum + deliveries.length, 0),
    recovered: world.clients.reduce((sum, { recovered }) => sum + recovered, 0),
    repeats: transcripts.reduce((sum, { repeats }) => sum + repeats, 0),
    turmoil,
  };
}

async function simulateAll(seeds: number, scenario: Scenario): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (let seed = 1; seed <= seeds; seed += 1) {
    const outcome = await simulate(seed, scenario);
    expect(outcome.faults, `seed ${seed}`).toEqual([]);
    outcomes.push(outcome);
  }
  return outcomes;
}

function total(outcomes: readonly Outcome[], count: (outcome: Outcome) => number): number {
  return outcomes.reduce((sum, outcome) => sum + count(outcome), 0);
}

const sixUsers = ["user-0", "user-1", "user-2", "user-3", "user-4", "user-5"];

describe("simulated cluster", () => {
  test("[FEED-1] whatever befalls hints, links, nodes and store: each entry once, in order, without a gap", {
    timeout: 120_000,
  }, async () => {
    const outcomes = await simulateAll(100, {
      users: sixUsers,
      steps: 300,
      turmoil: { rooms: ["alpha", "beta", "gamma"], weights: ordinaryWeights },
    });
    expect(outcomes.flatMap(({ gaps }) => gaps)).toEqual([]);
    expect(total(outcomes, ({ delivered }) => delivered)).toBeGreaterThan(1_000);
    expect(total(outcomes, ({ recovered }) => recovered)).toBeGreaterThan(10);
  });

  test("[FEED-1] [REC-1] overload: readers that stall, many rooms, pages, edits and returns twice at once", {
    timeout: 120_000,
  }, async () => {
    const outcomes = await simulateAll(60, {
      users: sixUsers,
      steps: 300,
      limits: { catchUpReadsMax: 2 },
      turmoil: {
        rooms: ["alpha", "beta", "gamma", "delta", "epsilon"],
        weights: {
          ...ordinaryWeights,
          connectAgain: 4,
          stall: 5,
          typing: 10,
          history: 4,
          edit: 5,
          delete: 3,
          joinShort: 3,
        },
      },
    });
    expect(outcomes.flatMap(({ gaps }) => gaps)).toEqual([]);
  });

  test("[FEED-1] [REC-1] notifications reach a user who is away, here, or here twice: none is lost", {
    timeout: 120_000,
  }, async () => {
    const outcomes = await simulateAll(60, {
      users: ["user-0", "user-0", "user-1", "user-1", "user-2", "user-3"],
      steps: 300,
      turmoil: {
        rooms: ["alpha"],
        weights: { ...ordinaryWeights, send: 10, notify: 30, announce: 5, connectAgain: 3, stall: 3 },
      },
    });
    expect(total(outcomes, ({ turmoil }) => turmoil.notices.length)).toBeGreaterThan(1_000);
  });

  test("[FEED-1] floors rise, clients fall far behind: they are told, and get the latest page", {
    timeout: 120_000,
  }, async () => {
    const outcomes = await simulateAll(60, {
      users: sixUsers,
      steps: 300,
      limits: { catchUpMax: 40 },
      turmoil: { rooms: ["alpha", "beta"], weights: { ...ordinaryWeights, trim: 3, edit: 5, announce: 2, stall: 2 } },
    });
    const gaps = new Set(outcomes.flatMap((outcome) => outcome.gaps));
    expect(gaps).toEqual(new Set(["floor", "too_far"]));
  });

  test("[FEED-1] rooms are deleted and made again, stores restored: other epochs are told, never skipped into", {
    timeout: 120_000,
  }, async () => {
    const outcomes = await simulateAll(60, {
      users: sixUsers,
      steps: 300,
      limits: { catchUpMax: 40 },
      turmoil: {
        rooms: ["alpha", "beta"],
        weights: { ...ordinaryWeights, announce: 3, notify: 3, backup: 2, restore: 1, deleteRoom: 1, edit: 5, trim: 1 },
      },
    });
    expect(outcomes.flatMap(({ gaps }) => gaps)).toContain("epoch");
  });

  test("[ACC-1] who loses a membership at any moment gets nothing from that entry on, and is told", {
    timeout: 120_000,
  }, async () => {
    const outcomes = await simulateAll(60, {
      users: sixUsers,
      steps: 300,
      turmoil: {
        rooms: ["alpha"],
        memberRooms: ["club", "board"],
        appendFaults: ["unavailable"],
        weights: { ...ordinaryWeights, remove: 4, admit: 6, stall: 3, connectAgain: 2 },
      },
    });
    expect(total(outcomes, ({ turmoil }) => turmoil.changes.length)).toBeGreaterThan(1_000);
  });

  const roaming = { rooms: ["alpha", "beta", "gamma"], roams: 0.9 };

  test("[REC-2] stock clients that come back to any node, whose last node answers: nothing is missed, nothing repeated", {
    timeout: 120_000,
  }, async () => {
    const outcomes = await simulateAll(120, {
      users: sixUsers,
      steps: 300,
      isBusGood: true,
      turmoil: { ...roaming, weights: { ...ordinaryWeights, kill: 0, busDown: 0, storeDown: 0, connectAgain: 2 } },
    });
    expect(outcomes.flatMap(({ gaps }) => gaps)).toEqual([]);
    expect(total(outcomes, ({ recovered }) => recovered)).toBeGreaterThan(500);
  });

  test("[REC-2] whatever befalls nodes, bus and store: stock clients that come back to any node miss nothing", {
    timeout: 120_000,
  }, async () => {
    const outcomes = await simulateAll(120, {
      users: sixUsers,
      steps: 300,
      mayRepeat: true,
      turmoil: { ...roaming, weights: { ...ordinaryWeights, kill: 1, connectAgain: 2 } },
    });
    expect(outcomes.flatMap(({ gaps }) => gaps)).toEqual([]);
    expect(total(outcomes, ({ recovered }) => recovered)).toBeGreaterThan(500);
    expect(total(outcomes, ({ repeats }) => repeats)).toBeGreaterThan(0);
  });

  test("[REC-2] nodes are cut off from the store, or killed, among first notifications: stock clients miss nothing", {
    timeout: 120_000,
  }, async () => {
    const outcomes = await simulateAll(120, {
      users: sixUsers,
      steps: 300,
      mayRepeat: true,
      turmoil: {
        ...roaming,
        weights: {
          ...ordinaryWeights,
          send: 30,
          kill: 1,
          connectAgain: 6,
          cutStore: 2,
          notify: 4,
          announce: 4,
          stall: 4,
        },
      },
    });
    expect(outcomes.flatMap(({ gaps }) => gaps)).toEqual([]);
    expect(total(outcomes, ({ recovered }) => recovered)).toBeGreaterThan(500);
  });

  test("[REC-2] the store loses commits as nodes are killed: who recovers is in the rooms that it has joined, and in no other", {
    timeout: 120_000,
  }, async () => {
    const outcomes = await simulateAll(60, {
      users: sixUsers,
      steps: 300,
      isBusGood: true,
      mayRepeat: true,
      turmoil: {
        ...roaming,
        weights: { ...ordinaryWeights, kill: 2, busDown: 0, connectAgain: 2, backup: 2, restore: 1 },
      },
    });
    expect(outcomes.flatMap(({ gaps }) => gaps)).toContain("epoch");
    expect(total(outcomes, ({ recovered }) => recovered)).toBeGreaterThan(150);
  });
});
