import { z } from "zod";
import { jsonSchema, seqSchema, userIdSchema } from "./names.ts";
import { roleSchema } from "./http.ts";

/**
 * `data` of each type of entry, as the store keeps it. `message` is spliced into events unparsed: it holds the fields of
 * a message that its entry does not (`text`, `replyTo?`, `data?`, `editedAt?`, `deletedAt?`).
 */
export const entryData = {
  /** `target`: the `seq` of the message. */
  edit: z.looseObject({ target: seqSchema, text: z.string() }),
  deletion: z.looseObject({ target: seqSchema }),
  membership: z.looseObject({ userId: userIdSchema, role: roleSchema.nullable() }),
  event: z.looseObject({ event: z.string(), data: jsonSchema }),
  notification: z.looseObject({ event: z.string(), data: jsonSchema }),
  announcement: z.looseObject({ message: jsonSchema }),
} as const;
