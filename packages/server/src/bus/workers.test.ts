import { describe, expect, test } from "vitest";
import type { FromHubProcess, ToHubProcess } from "../../../../test/support/bus-hub-process.ts";
import { LinkedProcess } from "../../../../test/support/linked-process.ts";
import { logId } from "../core/log.ts";
import type { Link } from "../workers/link.ts";
import type { Bus, NodeMessage } from "./bus.ts";
import { busContract, type BusHarness } from "./bus.contract.ts";
import type { BusMessage } from "./messages.ts";
import { BusHub, type ToHub, WorkersBus } from "./workers.ts";

const nodesMax = 4;

interface Joined {
  readonly link: Link<ToHubProcess, FromHubProcess>;
  onSettled: () => void;
}

class HubProcess implements BusHarness {
  readonly #process = new LinkedProcess("bus-hub-process.ts", nodesMax, [String(nodesMax)]);
  readonly #joined: Joined[] = [];

  join(node: string): Bus {
    if (node !== `node-${this.#joined.length + 1}`) throw new Error(`the hub does not expect ${node} here`);
    const link = this.#process.link<ToHubProcess, FromHubProcess>(this.#joined.length, {
      onMessage(message) {
        if (message.type === "bus") bus.receive(message.message);
        else joined.onSettled();
      },
      onLost() {},
    });
    const joined: Joined = { link, onSettled: () => {} };
    const bus = new WorkersBus((message) => link.send({ type: "bus", message }));
    this.#joined.push(joined);
    return bus;
  }

  async settle(): Promise<void> {
    // Why twice: the hub has then done what all pipes brought, and what it told them for it has arrived.
    for (let round = 0; round < 2; round += 1) {
      await Promise.all(
        this.#joined.map((joined) => {
          joined.link.send({ type: "settle" });
          return new Promise<void>((resolve) => {
            joined.onSettled = resolve;
          });
        }),
      );
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process[Symbol.asyncDispose]();
  }
}

busContract("between processes", async () => new HubProcess());

describe("the hub", () => {
  const log = logId("default", "room-1");
  const hint: BusMessage = { kind: "hint", hint: { log, epoch: "e", from: 1, to: 1, events: null } };
  const forNode2: NodeMessage = { kind: "session_claimed", from: "node-1", pid: "p", generation: 1 };

  function joinTo(hub: BusHub, node: string) {
    const told: BusMessage[] = [];
    return { member: hub.join(node, (message) => told.push(message)), told };
  }

  test("a node that left is told nothing, and nothing of it is heard", () => {
    const hub = new BusHub();
    const one = joinTo(hub, "node-1");
    const two = joinTo(hub, "node-2");
    two.member.take({ kind: "follow", log });
    one.member.take({ kind: "follow", log });
    two.member.leave();
    one.member.take(hint);
    one.member.take({ kind: "message", node: "node-2", message: forNode2 });
    two.member.take(hint);
    expect([one.told, two.told]).toEqual([[], []]);
  });

  test("a node that joins anew takes its own place, and the end of its former life ends nothing of it", () => {
    const hub = new BusHub();
    const one = joinTo(hub, "node-1");
    const former = joinTo(hub, "node-2");
    former.member.take({ kind: "follow", log });
    const present = joinTo(hub, "node-2");
    one.member.take(hint);
    present.member.take({ kind: "follow", log });
    former.member.leave();
    one.member.take(hint);
    one.member.take({ kind: "message", node: "node-2", message: forNode2 });
    expect(former.told).toEqual([]);
    expect(present.told).toEqual([hint, { kind: "message", message: forNode2 }]);
  });

  test("a node gets nothing back of what it tells, to itself neither", () => {
    const hub = new BusHub();
    const one = joinTo(hub, "node-1");
    one.member.take({ kind: "follow", log });
    one.member.take(hint);
    one.member.take({ kind: "message", node: "node-1", message: forNode2 });
    expect(one.told).toEqual([]);
  });

  test("[FEED-3] a log that is not followed by the node is not ended at the hub", () => {
    const told: ToHub[] = [];
    const bus = new WorkersBus((message) => told.push(message));
    bus.unfollow(log);
    bus.follow(log);
    bus.unfollow(log);
    bus.unfollow(log);
    expect(told.map(({ kind }) => kind)).toEqual(["follow", "unfollow"]);
  });
});
