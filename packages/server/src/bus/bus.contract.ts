import { describe, expect, test } from "vitest";
import { type LogId, logId } from "../core/log.ts";
import type { Bus, BusReceiver, Digest, Hint, NodeMessage, Signal } from "./bus.ts";

/** What the contract suite runs on: a network that nodes join. */
export interface BusHarness extends AsyncDisposable {
  join(node: string): Bus;
  /** Resolves when whatever was published, followed or unfollowed before has arrived where it goes. */
  settle(): Promise<void>;
}

/** All that a node received, and how to start it. */
export class Recorder implements BusReceiver {
  readonly hints: Hint[] = [];
  readonly signals: { log: LogId; signal: Signal }[] = [];
  readonly digests: Digest[] = [];
  readonly messages: NodeMessage[] = [];
  readonly states: ("up" | "down")[] = [];
  onHint(hint: Hint): void {
    this.hints.push(hint);
  }
  onSignal(log: LogId, signal: Signal): void {
    this.signals.push({ log, signal });
  }
  onDigest(digest: Digest): void {
    this.digests.push(digest);
  }
  onMessage(message: NodeMessage): void {
    this.messages.push(message);
  }
  onState(state: "up" | "down"): void {
    this.states.push(state);
  }
}

export const room = logId("default", "room-1");
const otherRoom = logId("default", "room-2");
const inbox = logId("default", "@user:anna");

export function hintOf(
  log: LogId,
  from: number,
  events: readonly string[] | null = [`["new_message",{"n":${from}}]`],
): Hint {
  return { log, epoch: "epoch-1", from, to: from + (events?.length ?? 1) - 1, events };
}

const typing: Signal = { kind: "event", event: "user_typing", roomId: "room-1", userId: "anna" };
const claimed: NodeMessage = { kind: "session_claimed", from: "node-1", pid: "secret", generation: 2 };

async function started(harness: BusHarness, count: number) {
  const nodes = Array.from({ length: count }, (_, index) => ({
    id: `node-${index + 1}`,
    bus: harness.join(`node-${index + 1}`),
    received: new Recorder(),
  }));
  for (const { bus, received } of nodes) await bus.start(received);
  const [first, second, third] = nodes;
  if (first === undefined || second === undefined || third === undefined) throw new Error("three nodes at least");
  return { first, second, third, nodes };
}

/** What every implementation of the port `Bus` does that reaches other nodes. `open` gives a fresh network. */
export function busContract(name: string, open: () => Promise<BusHarness>): void {
  describe(`bus: ${name}`, { timeout: 120_000 }, () => {
    test("[FEED-3] hints reach the nodes that follow their log, and no others", async () => {
      await using harness = await open();
      const { first, second, third } = await started(harness, 3);
      second.bus.follow(room);
      third.bus.follow(otherRoom);
      await harness.settle();
      first.bus.hint(hintOf(room, 1));
      first.bus.hint(hintOf(otherRoom, 7, null));
      await harness.settle();
      expect(second.received.hints).toEqual([hintOf(room, 1)]);
      expect(third.received.hints).toEqual([hintOf(otherRoom, 7, null)]);
      expect(first.received.hints).toEqual([]);
    });

    test("nothing comes back to the node that published it", async () => {
      await using harness = await open();
      const { first, second } = await started(harness, 3);
      for (const { bus } of [first, second]) bus.follow(room);
      await harness.settle();
      first.bus.hint(hintOf(room, 1));
      first.bus.signal(room, typing);
      first.bus.digest({ node: "node-1", after: 0, n: 1, heads: [] });
      await harness.settle();
      expect(second.received).toMatchObject({ hints: [{ from: 1 }], signals: [{ log: room }], digests: [{ n: 1 }] });
      expect(first.received).toMatchObject({ hints: [], signals: [], digests: [], messages: [] });
    });

    test("an inbox is followed like a room, and the inboxes that share its channel are not", async () => {
      await using harness = await open();
      const { first, second, third } = await started(harness, 3);
      second.bus.follow(inbox);
      // Why as many: some of them share a channel, whatever the number of channels.
      const inboxes = Array.from({ length: 3_000 }, (_, index) => logId("default", `@user:${index}`));
      for (const log of inboxes) third.bus.follow(log);
      await harness.settle();
      for (const log of inboxes.slice(10)) third.bus.unfollow(log);
      await harness.settle();
      first.bus.hint(hintOf(inbox, 1));
      for (const log of inboxes) first.bus.hint(hintOf(log, 2, null));
      await harness.settle();
      expect(second.received.hints).toEqual([hintOf(inbox, 1)]);
      expect(third.received.hints.map(({ log }) => log).toSorted()).toEqual(inboxes.slice(0, 10).toSorted());
    });

    test.each<Signal>([
      typing,
      { kind: "presence", node: "node-1", whole: true, entered: ["anna", "börje"], left: [], count: 2 },
      { kind: "presence_wanted", node: "node-1" },
    ])("a signal reaches the followers as it was: $kind", async (signal) => {
      await using harness = await open();
      const { first, second, third } = await started(harness, 3);
      second.bus.follow(room);
      await harness.settle();
      first.bus.signal(room, signal);
      await harness.settle();
      expect(second.received.signals).toEqual([{ log: room, signal }]);
      expect(third.received.signals).toEqual([]);
    });

    test("a digest reaches every other node whole, whatever it follows", async () => {
      await using harness = await open();
      const { nodes } = await started(harness, 4);
      const heads = Array.from({ length: 1_000 }, (_, n) => ({
        log: logId("default", `room-${n}`),
        epoch: "é",
        head: n * 2 ** 40,
      }));
      const digests = nodes.map(({ id }) => ({ node: id, after: 3, n: 9, heads }));
      for (const [index, { bus }] of nodes.entries())
        bus.digest(digests[index] ?? { node: "", after: 0, n: 0, heads: [] });
      await harness.settle();
      for (const { id, received } of nodes) {
        const sorted = received.digests.toSorted((one, other) => one.node.localeCompare(other.node));
        expect(sorted).toEqual(digests.filter(({ node }) => node !== id));
      }
    });

    test("what is sent to a node reaches that one; to one that is not there, nobody", async () => {
      await using harness = await open();
      const { first, second, third } = await started(harness, 3);
      const given: NodeMessage = {
        kind: "session_given",
        from: "node-1",
        pid: "secret",
        generation: 2,
        session: {
          cursors: [{ log: room, epoch: "e", seq: -1, gap: "floor", again: true, page: null }],
          runs: [{ log: room, epoch: "e", from: 0, to: 3, page: null, current: true, notice: null }],
        },
      };
      first.bus.send("node-2", claimed);
      first.bus.send("node-2", given);
      first.bus.send("node-9", claimed);
      await harness.settle();
      expect(second.received.messages.toSorted((one, other) => one.kind.localeCompare(other.kind))).toEqual([
        claimed,
        given,
      ]);
      expect([...first.received.messages, ...third.received.messages]).toEqual([]);
    });

    test("a log is received until it was unfollowed as often as it was followed", async () => {
      await using harness = await open();
      const { first, second } = await started(harness, 3);
      second.bus.follow(room);
      second.bus.follow(room);
      second.bus.unfollow(room);
      second.bus.unfollow(otherRoom);
      await harness.settle();
      first.bus.hint(hintOf(room, 1));
      await harness.settle();
      expect(second.received.hints).toEqual([hintOf(room, 1)]);
      second.bus.unfollow(room);
      await harness.settle();
      first.bus.hint(hintOf(room, 2));
      await harness.settle();
      expect(second.received.hints).toEqual([hintOf(room, 1)]);
      second.bus.follow(room);
      await harness.settle();
      first.bus.hint(hintOf(room, 3));
      await harness.settle();
      expect(second.received.hints).toEqual([hintOf(room, 1), hintOf(room, 3)]);
    });

    test("large hints arrive with their events or without, and names of every kind arrive whole", async () => {
      await using harness = await open();
      const { first, second } = await started(harness, 3);
      const names = ["{a}", "{}x", "ж ☃ {b}{c}", "a:b/c", "__proto__", "*", "x".repeat(128)].map((text) =>
        logId("default", text),
      );
      for (const log of [room, ...names]) second.bus.follow(log);
      await harness.settle();
      const text = JSON.stringify(["new_message", { text: "x".repeat(60_000) }]);
      first.bus.hint(hintOf(room, 1, [text, text]));
      for (const log of names) first.bus.hint(hintOf(log, 1));
      await harness.settle();
      const large = second.received.hints.filter(({ log }) => log === room);
      expect(large).toMatchObject([{ from: 1, to: 2 }]);
      expect([null, [text, text]]).toContainEqual(large[0]?.events);
      const hints = second.received.hints.filter(({ log }) => log !== room);
      expect(hints.map(({ log }) => log).toSorted()).toEqual(names.toSorted());
    });

    test("a node that left receives nothing, and what it does has no effect", async () => {
      await using harness = await open();
      const { first, second, third } = await started(harness, 3);
      for (const { bus } of [second, third]) bus.follow(room);
      await harness.settle();
      await second.bus[Symbol.asyncDispose]();
      first.bus.hint(hintOf(room, 1));
      second.bus.hint(hintOf(room, 5));
      second.bus.follow(otherRoom);
      second.bus.unfollow(room);
      second.bus.send("node-1", claimed);
      await harness.settle();
      expect(third.received.hints).toEqual([hintOf(room, 1)]);
      expect(second.received.hints).toEqual([]);
      expect(first.received.messages).toEqual([]);
    });
  });
}
