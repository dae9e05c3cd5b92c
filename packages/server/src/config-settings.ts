import { z } from "zod";
import { configSchema, type Mode } from "./config-schema.ts";

/** How a setting is written as text (environment, flags): a list is separated by commas. */
export type SettingKind = "integer" | "number" | "boolean" | "text" | "list";

/** One setting, as found in the schema. */
export interface Setting {
  /** `server.port`, as in the file; `origins` for one without a section. */
  readonly name: string;
  readonly section: string | null;
  readonly key: string;
  /** `PARLEY_SERVER_PORT` */
  readonly environment: string;
  /** `server-port`; null for a secret. */
  readonly flag: string | null;
  readonly kind: SettingKind;
  readonly description: string;
  readonly secret: boolean;
  /** Undefined: unset. */
  readonly fallback: unknown;
  /** Undefined: as in production. */
  readonly developmentFallback: unknown;
  /** Allowed texts, of a setting that has few. */
  readonly choices: readonly string[] | null;
  readonly minimum: number | null;
  readonly maximum: number | null;
}

const kinds: Readonly<Record<string, SettingKind>> = {
  integer: "integer",
  number: "number",
  boolean: "boolean",
  string: "text",
  array: "list",
};

/** All settings, in the order of the schema. */
export function listSettings(): readonly Setting[] {
  return Object.entries(configSchema.shape).flatMap(([key, schema]) =>
    schema instanceof z.ZodObject
      ? Object.entries(schema.shape).map(([inner, leaf]) => describeSetting(key, inner, leaf))
      : [describeSetting(null, key, schema)],
  );
}

function describeSetting(section: string | null, key: string, schema: z.core.$ZodType): Setting {
  const shape = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
  const notes = z.globalRegistry.get(schema) ?? {};
  const name = section === null ? key : `${section}.${key}`;
  const kind = typeof shape.type === "string" ? kinds[shape.type] : undefined;
  if (kind === undefined) throw new Error(`setting ${name} has no text form`);
  const secret = notes["secret"] === true;
  return {
    name,
    section,
    key,
    environment: `PARLEY_${snake(name).toUpperCase()}`,
    flag: secret ? null : snake(name).replaceAll("_", "-"),
    kind,
    description: notes.description ?? "",
    secret,
    fallback: shape.default,
    developmentFallback: notes["development"],
    choices: shape.enum?.filter((choice) => typeof choice === "string") ?? null,
    minimum: bound(shape.minimum ?? shape.exclusiveMinimum),
    maximum: bound(shape.maximum),
  };
}

function bound(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}

function snake(name: string): string {
  return name
    .replaceAll(".", "_")
    .replaceAll(/[A-Z]/g, (letter) => `_${letter}`)
    .toLowerCase();
}

/** What development mode sets where nothing else does. */
export function modeDefaults(settings: readonly Setting[], mode: Mode): ReadonlyMap<string, unknown> {
  const values = new Map<string, unknown>();
  if (mode === "production") return values;
  for (const { name, developmentFallback } of settings) {
    if (developmentFallback !== undefined) values.set(name, developmentFallback);
  }
  return values;
}

/** A setting's value in its own type, or a text that says what is wrong. */
export type ParsedText = { readonly value: unknown } | { readonly problem: string };

const textParsers: Readonly<Record<SettingKind, (text: string) => ParsedText>> = {
  integer: (text) =>
    /^-?\d{1,15}$/.test(text) ? { value: Number(text) } : { problem: `${JSON.stringify(text)} is no whole number` },
  number: (text) =>
    /^-?\d{1,15}(\.\d{1,15})?$/.test(text)
      ? { value: Number(text) }
      : { problem: `${JSON.stringify(text)} is no number` },
  boolean: (text) =>
    text === "true" || text === "false"
      ? { value: text === "true" }
      : { problem: `${JSON.stringify(text)} is neither true nor false` },
  list: (text) => ({ value: text.split(",").flatMap((item) => (item.trim() === "" ? [] : [item.trim()])) }),
  text: (text) => ({ value: text }),
};

export function parseSettingText(kind: SettingKind, text: string): ParsedText {
  return textParsers[kind](text);
}

/** The known name that is fewest edits away; undefined when none is close. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  let best: { name: string; distance: number } | undefined;
  for (const candidate of known) {
    const distance = Math.min(...suffixes(candidate).map((suffix) => editDistance(letters(name), letters(suffix))));
    if (best === undefined || distance < best.distance) best = { name: candidate, distance };
  }
  return best !== undefined && best.distance <= Math.max(3, name.length / 2) ? best.name : undefined;
}

// Why: `--prt` means `--server-port`, not something as short.
function suffixes(name: string): readonly string[] {
  const words = name.split(/[._-]+/).filter((word) => word !== "");
  return words.map((_, index) => words.slice(index).join("."));
}

function letters(text: string): string {
  return text.replaceAll(/[^a-zA-Z]/g, "").toLowerCase();
}

function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 0; i < from.length; i += 1) {
    const next = [i + 1];
    for (let j = 0; j < to.length; j += 1) {
      const replaced = (row[j] ?? 0) + (from[i] === to[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
