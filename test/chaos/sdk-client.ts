import { type Client, connect, type TransportName } from "@parley/client";
import { type ChaosClient, Journal, type Reconnecting } from "./chaos-client.ts";

/** The SDK. */
export class SdkClient implements ChaosClient {
  readonly name: string;
  readonly journal: Journal;
  readonly #client: Client;
  readonly #rooms: readonly string[];
  readonly #following = new Set<string>();
  #unacknowledged = 0;

  constructor(options: {
    userId: string;
    url: string;
    token: string;
    transport: TransportName;
    rooms: readonly string[];
    reconnecting: Reconnecting;
  }) {
    const { userId, url, token, transport, rooms, reconnecting } = options;
    this.name = `${userId} over ${transport} (SDK)`;
    this.journal = new Journal(rooms);
    this.#rooms = rooms;
    const backoff = reconnecting === "at_once" ? { backoff: { minMs: 20, maxMs: 200 } } : {};
    this.#client = connect({ url, token, transports: [transport], ...backoff });
    this.#client.on("state", ({ state }) => {
      if (state !== "connected") this.#following.clear();
    });
  }

  get connected(): boolean {
    return this.#client.state.state === "connected";
  }

  get following(): boolean {
    return this.#following.size === this.#rooms.length;
  }

  get unacknowledged(): number {
    return this.#unacknowledged;
  }

  start(): void {
    for (const id of this.#rooms) {
      const room = this.#client.room(id);
      room.on("message", ({ seq, text }) => this.journal.entry(id, seq, text));
      room.on("reset", ({ reason, messages }) => {
        this.journal.transcript(id).starts(reason === "joined" ? undefined : reason);
        this.journal.page(id, messages);
      });
      room.on("subscribed", () => this.#following.add(id));
      room.join().catch((error: unknown) => this.journal.refused.push(String(error)));
    }
  }

  send(room: string, text: string): void {
    this.#unacknowledged += 1;
    const { clientId, outcome } = this.#client.room(room).send(text);
    void outcome.then((sent) => {
      this.#unacknowledged -= 1;
      if (sent.status === "sent") this.journal.acknowledged.push({ room, seq: sent.seq, clientId, text });
      else this.journal.refused.push(sent.error.code);
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}
