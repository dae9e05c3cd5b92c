import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { ConfigError, type ConfigSources, explainConfig } from "./config.ts";
import { configFileVariable } from "./config-layers.ts";

/** The file that is read from the working directory when no other is named. */
const configFileName = "parley.config.json";

export interface LoadOptions extends Pick<ConfigSources, "mode" | "flags" | "startable"> {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly folder: string;
  /** By `--config`; outranks `PARLEY_CONFIG`. Must exist, unlike `parley.config.json`. */
  readonly file?: string | undefined;
}

/**
 * `explainConfig` with the configuration file read.
 * Errors: throws `ConfigError`, also for a file that is missing or no JSON.
 */
export function loadConfig({
  mode,
  flags,
  env,
  folder,
  file,
  startable,
}: LoadOptions): ReturnType<typeof explainConfig> {
  const content = readConfigFile(folder, file ?? env[configFileVariable]);
  return explainConfig({ mode, flags, env, startable, file: content });
}

function readConfigFile(folder: string, named: string | undefined): ConfigSources["file"] {
  const name = named === undefined || named === "" ? undefined : named;
  const location = path.resolve(folder, name ?? configFileName);
  if (name === undefined && !existsSync(location)) return undefined;
  try {
    return { name: name ?? configFileName, content: JSON.parse(readFileSync(location, "utf8")) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError([`${location} cannot be read: ${reason} (named by --config or ${configFileVariable})`]);
  }
}
