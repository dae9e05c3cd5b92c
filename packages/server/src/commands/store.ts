import path from "node:path";
import type { Config } from "../config.ts";
import type { CommandContext, Run } from "./command.ts";
import { load } from "./settings.ts";

export const migrate: Run = async (context) => {
  const config = settingsOf(context);
  const { migrateStore, showStore } = await context.compose();
  await migrateStore(config);
  context.print(`The store in ${showStore(config)} is up to date.`);
  return 0;
};

export const backup: Run = async (context) => {
  const config = settingsOf(context);
  const target = fileOf(context.folder, context.words);
  const { backupStore } = await context.compose();
  await backupStore(config, target);
  context.print(`Copied the store in ${config.store.path} to ${target}.`);
  return 0;
};

export const restore: Run = async (context) => {
  const config = settingsOf(context);
  const source = context.words.length === 0 ? undefined : fileOf(context.folder, context.words);
  const { restoreStore, showStore } = await context.compose();
  await restoreStore(config, source);
  const what = source === undefined ? "The store was restored" : `Restored ${source}`;
  context.print(`${what} into ${showStore(config)}. Clients will be told to start over.`);
  return 0;
};

// No secret is needed for these, so none is made.
function settingsOf(context: CommandContext): Config {
  return load(context, "production", false).config;
}

function fileOf(folder: string, [file = ""]: readonly string[]): string {
  return path.resolve(folder, file);
}
