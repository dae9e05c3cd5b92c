import { type Config, type ConfigOverrides, configSchema, type Mode } from "./config-schema.ts";
import { configProblems } from "./config-rules.ts";
import { type Layer, readEnvironment, readFlags, readFile, readOverrides } from "./config-layers.ts";
import { listSettings, modeDefaults, type Setting } from "./config-settings.ts";

export type { Config, ConfigOverrides, Mode } from "./config-schema.ts";

/** Where settings come from, the strongest last: file, environment, flags, overrides. */
export interface ConfigSources {
  /** Defaults to production, which refuses what would be unsafe. */
  readonly mode?: Mode | undefined;
  /** The parsed content of the file, and its name for messages. */
  readonly file?: { readonly name: string; readonly content: unknown } | undefined;
  /** Variables whose names begin with `PARLEY_`; others are not looked at. An empty text counts as unset. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** By flag name without dashes in front: `{"server-port": "3000"}`. */
  readonly flags?: Readonly<Record<string, string>> | undefined;
  /** Typed values of an embedding app or a test. */
  readonly overrides?: ConfigOverrides | undefined;
  /** The app has its own `authenticate` function: no secret is needed. */
  readonly ownAuthentication?: boolean | undefined;
  /** False for commands that start no node: the rules of `config-rules.ts` are not asked. */
  readonly startable?: boolean | undefined;
}

/** Why no node can run by these settings; each problem names its setting. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/** A setting, its value, and where the value comes from (`default`, `environment`, …). */
export interface ExplainedSetting {
  readonly setting: Setting;
  readonly value: unknown;
  readonly source: string;
}

/**
 * The configuration that follows from `sources`: overrides > flags > environment > file > defaults.
 * Reads no file and no environment but what it is given.
 * Errors: throws `ConfigError` with every problem found.
 */
export function resolveConfig(sources: ConfigSources = {}): Config {
  return explainConfig(sources).config;
}

/** As `resolveConfig`, with the source of each value. */
export function explainConfig(sources: ConfigSources): {
  readonly config: Config;
  readonly settings: readonly ExplainedSetting[];
} {
  const mode = sources.mode ?? "production";
  const settings = listSettings();
  const layers = readLayers(settings, sources, mode);
  throwProblems(layers.flatMap((layer) => layer.problems));

  const explained = settings.map((setting) => explain(setting, layers));
  const parsed = configSchema.safeParse(nest(explained));
  if (!parsed.success) {
    throw new ConfigError(
      parsed.error.issues.map((issue) => describeIssue(issue.path.map(String), issue.message, explained)),
    );
  }
  const config: Config = freeze({ ...parsed.data, mode });
  const ownAuthentication = sources.ownAuthentication === true;
  if (sources.startable !== false) throwProblems(configProblems(config, ownAuthentication));
  return { config, settings: explained };
}

function readLayers(settings: readonly Setting[], sources: ConfigSources, mode: Mode): readonly Layer[] {
  const { file, env, flags, overrides } = sources;
  return [
    { source: "development mode", values: modeDefaults(settings, mode), problems: [] },
    ...(file === undefined ? [] : [readFile(settings, file.name, file.content)]),
    readEnvironment(settings, env ?? {}),
    readFlags(settings, flags ?? {}),
    readOverrides(settings, overrides ?? {}),
  ];
}

function explain(setting: Setting, layers: readonly Layer[]): ExplainedSetting {
  const layer = layers.findLast(({ values }) => values.get(setting.name) !== undefined);
  if (layer === undefined) return { setting, value: setting.fallback, source: "default" };
  return { setting, value: layer.values.get(setting.name), source: layer.source };
}

function nest(explained: readonly ExplainedSetting[]): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  const sections = new Map<string, Record<string, unknown>>();
  for (const { setting, value } of explained) {
    if (setting.section === null) {
      root[setting.key] = value;
      continue;
    }
    const section = sections.get(setting.section) ?? {};
    sections.set(setting.section, section);
    root[setting.section] = section;
    section[setting.key] = value;
  }
  return root;
}

function describeIssue(path: readonly string[], message: string, explained: readonly ExplainedSetting[]): string {
  const found = explained.find(
    ({ setting }) => setting.name === path.slice(0, setting.section === null ? 1 : 2).join("."),
  );
  if (found === undefined) return `${path.join(".")}: ${message}`;
  return `${found.setting.name}: ${message} (from ${found.source}; set it as ${found.setting.environment})`;
}

function throwProblems(problems: readonly string[]): void {
  if (problems.length > 0) throw new ConfigError(problems);
}

function freeze<Value>(value: Value): Value {
  if (typeof value !== "object" || value === null) return value;
  for (const inner of Object.values(value)) freeze(inner);
  return Object.freeze(value);
}
