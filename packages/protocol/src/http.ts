import { z } from "zod";
import { messageTextSchema } from "./events.ts";
import {
  afterNameSchema,
  bounds,
  eventNameSchema,
  jsonSchema,
  roomIdSchema,
  seqSchema,
  userIdSchema,
} from "./names.ts";

/** Who may do what in a room by its stored membership; `reader` may not send. */
export const roleSchema = z.enum(["owner", "moderator", "member", "reader"]);
export type Role = z.infer<typeof roleSchema>;

/** `public`: every authenticated user of the tenant may read and send; `members`: only by membership. */
export const roomAccessSchema = z.enum(["public", "members"]);
export type RoomAccess = z.infer<typeof roomAccessSchema>;

/** A room as the API tells of it; `createdAt` ISO 8601. */
export const roomDescriptionSchema = z.object({
  roomId: z.string(),
  access: roomAccessSchema,
  retainEntriesMax: z.int(),
  head: z.int(),
  floor: z.int(),
  epoch: z.string(),
  createdAt: z.string(),
});

export const idempotencyKeySchema = z
  .string()
  .min(1)
  .max(bounds.clientIdLength)
  .regex(/^[\x21-\x7e]+$/);

/** Bodies of the HTTP API's writes. All routes lie under `/api/v1`. */
export const httpBodies = {
  publish: z.strictObject({ event: eventNameSchema, data: jsonSchema }),
  message: z.strictObject({
    userId: userIdSchema,
    text: messageTextSchema,
    data: jsonSchema.optional(),
  }),
  notify: z.strictObject({ event: eventNameSchema, data: jsonSchema }),
  announce: z.strictObject({ message: jsonSchema }),
  room: z.strictObject({
    roomId: roomIdSchema,
    access: roomAccessSchema.default("members"),
    /** Entries kept; older ones fall below the floor. 0 keeps all. */
    retainEntriesMax: z.int().min(0).default(0),
  }),
  membership: z.strictObject({ role: roleSchema }),
} as const;

export const httpQueries = {
  history: z.strictObject({
    before: z.coerce.number().pipe(seqSchema).optional(),
    after: z.coerce.number().pipe(seqSchema).optional(),
    limit: z.coerce.number().int().min(1).max(bounds.historyLimit).default(50),
  }),
  page: z.strictObject({
    after: afterNameSchema.optional(),
    limit: z.coerce.number().int().min(1).max(500).default(100),
  }),
} as const;
