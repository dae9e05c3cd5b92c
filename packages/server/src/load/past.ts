import { z } from "zod";
import type { Position, Subscription } from "./traffic.ts";

/**
 * How a client goes on after its connection was lost. `positions`: it says what it has of each room; `session`: Socket.IO's
 * connection state recovery, as stock clients do; `none`: it joins its rooms anew.
 */
export type ComingBack = "positions" | "session" | "none";

/** What a client keeps of a lost connection for its next one. */
export interface Past {
  readonly subscriptions: Subscription[];
  readonly session: string | undefined;
  readonly offset: string | undefined;
  /** Up to now. */
  readonly connections: number;
}

const replySchema = z.object({ epoch: z.string(), seq: z.number() });
const connectSchema = z.object({ pid: z.string() });

/** Where a joined room begins, as the reply to the join says; servers without positions do not. */
export function fromOf(reply: unknown): Position | undefined {
  const parsed = replySchema.safeParse(reply);
  return parsed.success ? parsed.data : undefined;
}

/** What the connection has of a room. */
export function positionOf({ from, nextSeq }: Subscription): Position | undefined {
  if (from === undefined) return undefined;
  return { epoch: from.epoch, seq: nextSeq === -1 ? from.seq : nextSeq - 1 };
}

/** The id under which a server keeps a session, from its answer to CONNECT. */
export function sessionOf(packet: string): string | undefined {
  const parsed = connectSchema.safeParse(JSON.parse(packet.slice(2) || "{}"));
  return parsed.success ? parsed.data.pid : undefined;
}

/** The last argument of the event that ends at `end`, when that is a text. */
export function offsetOf(buffer: Buffer, end: number): string | undefined {
  if (buffer.toString("latin1", end - 2, end) !== '"]') return undefined;
  const start = buffer.lastIndexOf('"', end - 3, "latin1");
  return start === -1 ? undefined : buffer.toString("utf8", start + 1, end - 2);
}
