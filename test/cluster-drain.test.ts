import { type Client, connect, type ConnectionState, type TransportName } from "@parley/client";
import { describe, expect, test } from "vitest";
import { Cluster } from "./support/cluster.ts";
import { eventually } from "./support/eventually.ts";
import { proxyKinds } from "./support/proxies.ts";
import { StockClient, type StockTransport, transportOptions } from "./support/stock-client.ts";
import { noFaults, Transcript } from "./support/transcript.ts";

const room = "town";
const sendEveryMs = 50;
/** A client that moves gets what is sent oftener than that without a longer pause. Tests are allowed five times it. */
const pauseMsMax = 250;
const allowance = 5;
const pace = { PARLEY_DRAIN_DRAIN_MS: "500", PARLEY_DRAIN_MOVE_MS: "1500" };

/** An SDK client in the room, with all that it got and when. */
class Follower implements Disposable {
  readonly client: Client;
  readonly name: string;
  readonly transcript = new Transcript();
  readonly states: ConnectionState["state"][] = [];
  /** The longest time between two deliveries. */
  pauseMs = 0;
  #lastAt: number | undefined;

  constructor(name: string, url: string, token: string, transport: TransportName) {
    this.name = name;
    this.client = connect({ url, token, transports: [transport] });
    this.client.on("state", ({ state }) => this.states.push(state));
    const joined = this.client.room(room);
    joined.on("reset", ({ reason, messages }) => {
      this.transcript.starts(reason === "joined" ? undefined : reason);
      this.transcript.page(messages.at(-1)?.seq ?? 0);
    });
    joined.on("message", ({ seq }) => {
      const now = performance.now();
      this.pauseMs = Math.max(this.pauseMs, now - (this.#lastAt ?? now));
      this.#lastAt = now;
      this.transcript.entry(seq);
    });
  }

  [Symbol.dispose](): void {
    this.client.close();
  }
}

/** Sends at a steady pace until it is stopped; then gives the seq of each message. */
function startStream({ client }: Follower): () => Promise<readonly number[]> {
  const outcomes: Promise<number>[] = [];
  const timer = setInterval(() => {
    const sending = client.room(room).send(`message ${outcomes.length}`);
    outcomes.push(
      sending.outcome.then((outcome) => {
        if (outcome.status === "sent") return outcome.seq;
        throw new Error(outcome.error.code);
      }),
    );
  }, sendEveryMs);
  return () => {
    clearInterval(timer);
    return Promise.all(outcomes);
  };
}

describe.each(proxyKinds)("three nodes behind %s", (balancer) => {
  test("[OUT-1] are restarted one after the other: nothing is lost or repeated, SDK clients see no gap in service", async () => {
    await using cluster = await Cluster.start({ nodes: 3, balancer, environment: pace });
    await cluster.makeRoom(room);
    using clients = new DisposableStack();
    const followers: Follower[] = [];
    for (const transport of ["websocket", "websocket", "polling", "polling", "polling"] as const) {
      const name = `sdk-${followers.length} over ${transport}`;
      const token = await cluster.tokenFor(name.slice(0, 5));
      followers.push(clients.use(new Follower(name, cluster.url, token, transport)));
    }
    await Promise.all(followers.map(({ client }) => client.room(room).join()));
    const stocks: StockClient[] = [];
    for (const transport of ["websocket", "polling", "upgrade"] satisfies StockTransport[]) {
      const auth = { token: await cluster.tokenFor(`stock-${transport}`) };
      const stock = clients.use(new StockClient(cluster.url, { ...transportOptions[transport], auth }));
      await stock.join(room);
      stocks.push(stock);
    }
    const [first] = followers;
    if (first === undefined) throw new Error("nobody sends");
    const stop = startStream(first);
    await eventually("the stream", () => (first.transcript.reached ?? 0) > 5 || undefined);
    for (const { server } of cluster.nodes) {
      expect(await server.stop()).toBe(0);
      await server.start();
    }
    const seqs = await stop();
    expect(seqs).toEqual(seqs.map((_, index) => index + 1));
    for (const { transcript } of followers)
      await eventually("the end", () => transcript.reached === seqs.length || undefined);
    console.log(
      `${seqs.length} messages while three nodes restarted behind ${balancer}; longest pauses in ms: ` +
        followers.map(({ name, pauseMs }) => `${name} ${Math.round(pauseMs)}`).join(", "),
    );
    for (const { transcript, pauseMs } of followers) {
      expect(transcript.faults).toEqual(noFaults);
      expect(transcript.gaps).toEqual([]);
      expect(pauseMs).toBeLessThan(allowance * pauseMsMax);
    }
    for (const { name, states } of followers) expect({ name, states }).toEqual({ name, states: ["connected"] });
    // Stock clients do not move by themselves: they lose their connection, and recover elsewhere.
    for (const stock of stocks) {
      await stock.until("the end", () => stock.transcript(room).reached === seqs.length);
      expect(stock.transcript(room).faults).toEqual(noFaults);
      expect(stock.welcomes.slice(1).every(({ id, recovered }) => recovered && id === stock.welcomes[0]?.id)).toBe(
        true,
      );
      expect(stock.welcomes.length).toBeGreaterThan(1);
    }
  }, 120_000);
});
