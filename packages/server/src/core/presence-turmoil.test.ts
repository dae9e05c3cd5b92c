import { expect, test } from "vitest";
import type { SimulatedClient } from "../../../../test/support/simulated-client.ts";
import { World } from "../../../../test/support/simulation.ts";
import type { LogId } from "./log.ts";

const room = "alpha";
const alpha: LogId = `default/${room}`;
const stepMs = 50;
/** Whoever was in the room for so long all the time is not said to have left, */
const stayedMs = 1_600;
/** nor to have come. */
const knownMs = 4_000;

/** Users with several clients each, who come and go on nodes that are killed, as everyone hears of it. */
class Scene {
  readonly world: World;
  readonly faults: string[] = [];
  readonly #since = new Map<SimulatedClient, number>();
  readonly #heard = new Map<SimulatedClient, number>();

  constructor(seed: number) {
    this.world = new World({ seed, openRooms: [room] });
    this.world.network.faults.delayMaxMs = 50;
  }

  async begin(): Promise<void> {
    for (let count = 0; count < 3; count += 1) await this.world.startNode();
    for (const user of ["ann", "ben", "cat", "dan"]) for (let tab = 0; tab < 2; tab += 1) this.world.addClient(user);
  }

  async step(): Promise<void> {
    const { world } = this;
    const client = world.pick(world.clients);
    const dice = world.random();
    if (client.connection === null) {
      if (dice < 0.5) world.background(client.connect(world.pick(world.nodes), "positions"));
    } else if (dice < 0.3) client.drop(true);
    else if (dice < 0.4) world.background(client.leave(room));
    else if (dice < 0.9) world.background(client.join(room));
    else if (dice < 0.92) {
      world.kill(world.pick(world.nodes));
      await world.startNode();
    }
    for (let past = 0; past < world.random() * 2_000; past += stepMs) {
      await world.clock.advance(stepMs);
      this.#look();
    }
  }

  isIn(client: SimulatedClient): boolean {
    return client.connection !== null && client.transcript.rooms.has(room) && client.transcript.seen.has(room);
  }

  #look(): void {
    const now = this.world.clock.now();
    for (const client of this.world.clients) {
      if (!this.isIn(client)) this.#since.delete(client);
      else if (!this.#since.has(client)) this.#since.set(client, now);
    }
    for (const observer of this.world.clients) {
      const { signals } = observer.transcript;
      for (const { event, userId } of signals.slice(this.#heard.get(observer) ?? 0)) {
        const stayed = event === "user_left" ? stayedMs : knownMs;
        const since = this.world.clients
          .filter(({ user }) => user.id === userId)
          .map((client) => this.#since.get(client) ?? now);
        if (since.some((at) => now - at >= stayed))
          this.faults.push(`${observer.user.id} heard ${event} ${userId}, who was there all the time`);
      }
      this.#heard.set(observer, signals.length);
    }
  }
}

/** Gives what went wrong, and how much was heard. */
async function play(
  seed: number,
  lost: number,
): Promise<{ readonly faults: readonly string[]; readonly heard: number }> {
  const scene = new Scene(seed);
  const { world, faults } = scene;
  await scene.begin();
  Object.assign(world.network.faults, { lost, repeated: lost });
  for (let step = 0; step < 80; step += 1) await scene.step();
  const told = lost === 0 ? [...faults] : [];
  world.network.faults.lost = 0;
  await world.clock.advance(32_000);
  const here = world.clients.filter((client) => scene.isIn(client)).map(({ user }) => user.id);
  const expected = [...new Set(here)].toSorted().join();
  for (const node of world.nodes) {
    const { users } = await world.until(Promise.resolve(node.presence.in(alpha)));
    const found = users.toSorted().join();
    if (found !== expected) told.push(`${node.id} has ${found}, and there are ${expected}`);
  }
  const heard = world.clients.reduce((sum, { transcript }) => sum + transcript.signals.length, 0);
  await world.stop();
  return { faults: told, heard };
}

test.each([
  ["whoever stays is never said to have left or come, and in the end every node is right", 0],
  ["when signals are lost and repeated, in the end every node is right", 0.4],
])("[PRES-1] %s", { timeout: 120_000 }, async (_, lost) => {
  let sum = 0;
  for (let seed = 1; seed <= 40; seed += 1) {
    const { faults, heard } = await play(seed, lost);
    expect(faults, `seed ${seed}`).toEqual([]);
    sum += heard;
  }
  expect(sum).toBeGreaterThan(200);
});
