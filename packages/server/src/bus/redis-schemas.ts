import { z } from "zod";
import { type LogId, logId } from "../core/log.ts";
import type { HandedSession, NodeMessage, Signal } from "./bus.ts";

/** Undefined: it has no tenant before a slash. */
export function asLogId(text: string): LogId | undefined {
  const slash = text.indexOf("/");
  return slash < 0 ? undefined : logId(text.slice(0, slash), text.slice(slash + 1));
}

const logIdSchema = z.string().transform((text, context): LogId => {
  const log = asLogId(text);
  if (log !== undefined) return log;
  context.addIssue("no log id");
  return z.NEVER;
});

const userIds = z.array(z.string());
const count = z.int().min(0);
const place = { log: logIdSchema, epoch: z.string() };

export const signalSchema = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("event"),
    event: z.literal("user_typing"),
    roomId: z.string(),
    userId: z.string(),
  }),
  z.object({
    kind: z.literal("presence"),
    node: z.string(),
    whole: z.boolean(),
    entered: userIds,
    left: userIds,
    count,
  }),
  z.object({ kind: z.literal("presence_wanted"), node: z.string() }),
]) satisfies z.ZodType<Signal>;

const handedSessionSchema = z.object({
  cursors: z.array(
    z.object({
      ...place,
      seq: z.int(),
      gap: z.enum(["epoch", "floor", "too_far", "ahead"]).nullable(),
      again: z.boolean(),
      page: z.int().nullable(),
    }),
  ),
  runs: z.array(
    z.object({
      ...place,
      from: z.int(),
      to: z.int(),
      page: z.int().nullable(),
      current: z.boolean(),
      notice: z.object({ frame: z.string(), joined: z.boolean() }).nullable(),
    }),
  ),
}) satisfies z.ZodType<HandedSession>;

const session = { from: z.string(), pid: z.string(), generation: count };

export const nodeMessageSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("session_claimed"), ...session }),
  z.object({ kind: z.literal("session_given"), ...session, session: handedSessionSchema.nullable() }),
]) satisfies z.ZodType<NodeMessage>;
