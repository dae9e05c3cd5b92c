import type { FromHubProcess, ToHubProcess } from "../../../../test/support/bus-hub-process.ts";
import { LinkedProcess } from "../../../../test/support/linked-process.ts";
import type { Link } from "../workers/link.ts";
import type { Bus } from "./bus.ts";
import { busContract, type BusHarness } from "./bus.contract.ts";
import { WorkersBus } from "./workers.ts";

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
