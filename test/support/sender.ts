import { randomUUID } from "node:crypto";
import type { StockClient } from "./stock-client.ts";

export interface Sent {
  readonly clientId: string;
  readonly text: string;
}

/** Sends messages under client ids and notes what became of each. */
export class Sender {
  /** Seq by client id. */
  readonly acknowledged = new Map<string, number>();
  /** Codes of the refusals, in order. */
  readonly refusals: string[] = [];
  readonly #client: StockClient;
  readonly #room: string;

  constructor(client: StockClient, room: string) {
    this.#client = client;
    this.#room = room;
  }

  /** True when it was acknowledged. Errors: rejects when nothing came in 20 s. */
  async send({ clientId, text }: Sent): Promise<boolean> {
    const answer = await this.#client.request("send_message", { roomId: this.#room, text, clientId });
    if (answer.ok && answer.seq !== undefined) {
      const before = this.acknowledged.get(clientId);
      if (before !== undefined && before !== answer.seq) throw new Error(`${clientId} is ${before} and ${answer.seq}`);
      this.acknowledged.set(clientId, answer.seq);
      return true;
    }
    this.refusals.push(answer.error?.code ?? "");
    return false;
  }

  /** Sends it again, under the same client id, until it is acknowledged. */
  async sendUntilAcknowledged(one: Sent): Promise<void> {
    while (!(await this.send(one))) {
      // Refused for now: at once again, since a test has no time.
    }
  }
}

export function message(text: string): Sent {
  return { clientId: randomUUID(), text };
}
