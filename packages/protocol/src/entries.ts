import { z } from "zod";
import { jsonSchema, roomIdSchema, seqSchema, userIdSchema } from "./names.ts";
import { roleSchema } from "./http.ts";

/**
 * `data` of each type of entry, as the store keeps it. `message` is spliced into events unparsed: it holds the fields of
 * a message that its entry does not (`text`, `replyTo?`, `data?`, `editedAt?`, `deletedAt?`).
 */
export const entryData = {
  /** `target`: the `seq` of the message. */
  edit: z.looseObject({ target: seqSchema, text: z.string() }),
  deletion: z.looseObject({ target: seqSchema }),
  erasure: z.looseObject({ target: seqSchema }),
  membership: z.looseObject({ userId: userIdSchema, role: roleSchema.nullable() }),
  event: z.looseObject({ event: z.string(), data: jsonSchema }),
  notification: z.looseObject({ event: z.string(), data: jsonSchema }),
  announcement: z.looseObject({ message: jsonSchema }),
  /** In the log `@control` alone. `from`: the node that wrote it, and has done for itself what it says. */
  control: z.looseObject({ from: z.string(), change: z.unknown() }),
} as const;

const tenantSchema = z.string().regex(/^[^/]+$/);

/** What every node of a cluster must hear of within a second: that somebody may have lost a right. */
export const controlChangeSchema = z.discriminatedUnion("kind", [
  /** Answers to who may do what hold no longer: for this user (null: for all) in this room (null: in all). */
  z.object({
    kind: z.literal("access_changed"),
    tenant: tenantSchema,
    userId: userIdSchema.nullable(),
    roomId: roomIdSchema.nullable(),
  }),
  /** `forGood`: the user's tokens were revoked, and nobody comes back to a session that began with one. */
  z.object({
    kind: z.literal("user_disconnected"),
    tenant: tenantSchema,
    userId: userIdSchema,
    forGood: z.boolean(),
  }),
  z.object({ kind: z.literal("room_deleted"), tenant: tenantSchema, roomId: roomIdSchema }),
  /** Its settings: who may read it, perhaps. */
  z.object({ kind: z.literal("room_changed"), tenant: tenantSchema, roomId: roomIdSchema }),
]);
export type ControlChange = z.infer<typeof controlChangeSchema>;
