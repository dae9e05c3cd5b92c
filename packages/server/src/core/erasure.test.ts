import { describe, expect, test } from "vitest";
import type { SimulatedClient } from "../../../../test/support/simulated-client.ts";
import { World } from "../../../../test/support/simulation.ts";
import { newEntryId } from "./ids.ts";
import { logId, type Seq } from "./log.ts";
import type { ParleyNode } from "./node.ts";

const room = "alpha";
const log = logId("default", room);
const writer = { tenant: "default", id: "writer" };

interface Message {
  readonly text: string;
  readonly seq: Seq;
}

/** A room whose messages are erased one after another while many read it. */
class Town {
  readonly world: World;
  readonly sender: ParleyNode;
  readonly home: ParleyNode;
  readonly #kept: Message[] = [];
  readonly #erased: { readonly message: Message; readonly at: Seq }[] = [];
  /** Texts of which the readers' node knew a millisecond ago that they are erased. */
  readonly #known = new Set<string>();
  /** What was written all the same. */
  readonly betrayed: string[] = [];
  #sent = 0;

  private constructor(world: World, sender: ParleyNode, home: ParleyNode) {
    this.world = world;
    this.sender = sender;
    this.home = home;
  }

  static async open(seed: number): Promise<Town> {
    const world = new World({ seed, openRooms: [room], storeLatencyMaxMs: 80, limits: { tailBytesMax: 10_000 } });
    const town = new Town(world, await world.startNode(), await world.startNode());
    await town.advance(3_000);
    return town;
  }

  get erased(): number {
    return this.#erased.length;
  }

  async send(): Promise<void> {
    const text = `<${(this.#sent += 1)}> ${"x".repeat(200)}`;
    const { seq } = await this.sender.rooms.send(writer, { roomId: room, text });
    this.#kept.push({ text, seq });
  }

  async eraseOne(): Promise<void> {
    // Mostly a recent one, which many are about to get.
    const behind = 1 + Math.floor(this.world.random() * 20);
    const [message] = this.#kept.splice(Math.max(0, this.#kept.length - behind), 1);
    if (message === undefined) return;
    const target = message.seq;
    const entry = { log, id: newEntryId(), type: "erasure", actor: "@server", at: this.world.clock.now(), v: 1 };
    const effect = { kind: "erase", target } as const;
    const erasure = { ...entry, data: JSON.stringify({ target }), clientId: null, effect };
    const { seq } = await this.sender.sequencer.append(erasure);
    this.#erased.push({ message, at: seq });
  }

  /** Time goes on, and what was written meanwhile is looked at. */
  async advance(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 1) {
      await this.world.clock.advance(1);
      for (const client of this.world.clients) this.#check(client);
      const head = this.home.feeds.get(log)?.head ?? 0;
      for (const { message, at } of this.#erased) if (at <= head) this.#known.add(message.text);
    }
  }

  #check({ user, connection }: SimulatedClient): void {
    const written = connection?.written?.splice(0).flat().join("") ?? "";
    for (const text of this.#known) if (written.includes(text)) this.betrayed.push(`${user.id}: ${text.slice(0, 10)}`);
  }
}

/** Comes back by a position `behind` the head, or loads the page anew. */
function comeBack({ home }: Town, client: SimulatedClient, behind: number | "page"): Promise<void> {
  const feed = home.feeds.get(log);
  client.transcript.restart();
  if (behind !== "page" && feed !== undefined) {
    client.transcript.rooms.add(room);
    client.transcript.seen.set(room, { epoch: feed.epoch, seq: Math.max(0, feed.head - behind) });
  }
  const connected = client.connect(home, behind === "page" ? "nothing" : "positions");
  if (client.connection !== null) client.connection.written = [];
  return connected.then(() => (behind === "page" ? client.join(room) : undefined));
}

describe("what was erased", () => {
  test.each(Array.from({ length: 12 }, (_, index) => index + 1))(
    "[LOG-2] is sent to nobody by a node that knows of it: from a tail, a read that was under way, or a page that waited (seed %i)",
    async (seed) => {
      const town = await Town.open(seed);
      const { world } = town;
      const clients = [
        world.addClient("live"),
        ...Array.from({ length: 6 }, (_, index) => world.addClient(`reader-${index}`)),
        ...Array.from({ length: 4 }, (_, index) =>
          world.addClient(`slow-${index}`, { bytesPerMs: 20, windowBytes: 2_000 }),
        ),
      ];
      for (const client of clients) world.background(comeBack(town, client, "page"));
      for (let round = 0; round < 150; round += 1) {
        for (let count = 0; count < 2; count += 1) world.background(town.send());
        for (let count = 0; count < 3; count += 1) {
          const behind = world.pick([1, 5, 15, 40, "page"] as const);
          world.background(comeBack(town, world.pick(clients.slice(1)), behind));
        }
        const asking = world.pick(clients.slice(1));
        world.background(round % 2 === 0 ? asking.join(room) : asking.history(room, 20));
        await town.advance(Math.floor(world.random() * 20));
        if (round > 5) world.background(town.eraseOne());
        await town.advance(Math.floor(world.random() * 20));
      }
      await town.advance(3_000);
      expect(town.erased).toBeGreaterThan(100);
      expect(town.betrayed).toEqual([]);
      await world.stop();
    },
  );

  test("[FEED-2] is sent to nobody two seconds later, also when no hint told of the erasure", async () => {
    const town = await Town.open(1);
    const { world } = town;
    const live = world.addClient("live");
    await world.until(comeBack(town, live, "page"));
    await world.until(town.send());
    await town.advance(1_000);
    world.network.faults.lost = 1;
    await world.until(town.eraseOne());
    await town.advance(2_000);
    const late = world.addClient("late");
    await world.until(comeBack(town, late, 2));
    await town.advance(1_000);
    expect(late.transcript.deliveries.map(({ event }) => event)).toEqual(["entry_erased", "entry_erased"]);
    expect(town.betrayed).toEqual([]);
  });
});
