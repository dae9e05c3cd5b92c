import type { Config, Mode } from "../config.ts";
import { loadConfig } from "../config-load.ts";
import { keepSecrets, type WithSecrets } from "../config-secrets.ts";
import { type CommandContext, textOption, UsageError } from "./command.ts";

/** The settings that a node would be started with. Errors: throws `ConfigError`. */
export function nodeSettings(context: CommandContext, mode: Mode): WithSecrets {
  return keepSecrets(load(context, mode, true).config);
}

/** The settings for a command that starts no node: what is unsafe to start with is no obstacle. */
export function toolSettings(context: CommandContext): WithSecrets {
  return keepSecrets(load(context, modeOf(context), false).config);
}

// Why: the secret that development mode keeps is the one to use where no other is set.
export function modeOf(context: CommandContext): Mode {
  const given = textOption(context.options, "mode");
  if (given === "development" || given === "production") return given;
  if (given !== undefined) throw new UsageError("--mode is development or production");
  const { auth }: Config = load(context, "production", false).config;
  return auth.secret === undefined && auth.jwksUrl === undefined ? "development" : "production";
}

export function load(context: CommandContext, mode: Mode, startable: boolean): ReturnType<typeof loadConfig> {
  const { flags, env, folder, configFile: file } = context;
  return loadConfig({ mode, flags, env, folder, file, startable });
}
