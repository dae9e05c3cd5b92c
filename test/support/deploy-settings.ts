import { randomBytes } from "node:crypto";
import { type Config, ConfigError, resolveConfig } from "../../packages/server/src/config.ts";

/** What an operator fills in for placeholders. */
export const goodSecrets: Readonly<Record<string, string>> = {
  PARLEY_AUTH_SECRET: randomBytes(48).toString("hex"),
  PARLEY_API_KEYS: randomBytes(48).toString("hex"),
  PARLEY_BUS_SECRET: randomBytes(48).toString("hex"),
};

/** Names of the settings because of which a node in production mode would not start, sorted. */
export function refusedSettings(environment: Readonly<Record<string, string>>): readonly string[] {
  try {
    resolveConfig({ mode: "production", env: environment });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((problem) => problem.split(" ")[0] ?? "").toSorted();
  }
}

/** The longest that a node takes from SIGTERM to its end. */
export function stopMs({ drain, server }: Config): number {
  return drain.drainMs + drain.moveMs + server.shutdownTimeoutMs;
}

/** Settings that a text names by their variables, each once. */
export function variablesIn(text: string): readonly string[] {
  return [...new Set(text.match(/\bPARLEY_[A-Z0-9_]+\b/g))];
}

/** `NAME=value` lines of a file of variables. */
export function readVariables(text: string): Readonly<Record<string, string>> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(
    lines.map((line) => {
      const [, name = "", value = ""] = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(line) ?? [];
      if (name === "") throw new Error(`${JSON.stringify(line)} is no variable`);
      return [name, value] as const;
    }),
  );
}
