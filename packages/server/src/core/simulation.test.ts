import { describe, expect, test } from "vitest";
import { World, type WorldOptions } from "../../../../test/support/simulation.ts";
import { ordinaryWeights, Turmoil, type TurmoilOptions } from "../../../../test/support/simulated-turmoil.ts";
import { judge } from "../../../../test/support/simulated-verdict.ts";

interface Outcome {
  readonly faults: readonly string[];
  readonly gaps: readonly string[];
  readonly delivered: number;
  readonly recovered: number;
  readonly turmoil: Turmoil;
}

interface Scenario extends Omit<WorldOptions, "seed" | "openRooms"> {
  readonly nodes?: number;
  readonly users: readonly string[];
  readonly steps: number;
  readonly turmoil: TurmoilOptions;
}

/** Faults strike and clients come and go; then all heals, and everyone has everything. */
async function simulate(seed: number, scenario: Scenario): Promise<Outcome> {
  const world = new World({ ...scenario, openRooms: scenario.turmoil.rooms, seed });
  const { random, network } = world;
  for (let count = scenario.nodes ?? 3; count > 0; count -= 1) await world.startNode();
  for (const user of scenario.users) world.addClient(user, { bytesPerMs: world.pick([0.5, 5, 1_000]) });
  network.faults.lost = random() * 0.5;
  network.faults.repeated = random() * 0.3;
  network.faults.delayMaxMs = 1 + random() * 500;
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
    const outcomes = await simulateAll(200, {
      users: sixUsers,
      steps: 300,
      turmoil: { rooms: ["alpha", "beta", "gamma"], weights: ordinaryWeights },
    });
    expect(outcomes.flatMap(({ gaps }) => gaps)).toEqual([]);
    expect(total(outcomes, ({ delivered }) => delivered)).toBeGreaterThan(1_000);
    expect(total(outcomes, ({ recovered }) => recovered)).toBeGreaterThan(10);
  });
});
