import type { z } from "zod";
import { RefusalError } from "./errors.ts";

/** Errors: throws `RefusalError` `bad_request`, which names the argument. */
export function parse<Schema extends z.ZodType>(schema: Schema, value: unknown, name: string): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const at = [name, ...(issue?.path ?? [])].join(".");
  throw new RefusalError("bad_request", `${at}: ${issue?.message ?? "invalid"}`);
}
