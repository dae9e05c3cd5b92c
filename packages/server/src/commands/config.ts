import { renderConfigDocs } from "../config-docs.ts";
import { type CommandContext, type Run, textOption } from "./command.ts";
import { load, modeOf } from "./settings.ts";

export const checkConfig: Run = async (context) => {
  const mode = startMode(context);
  load(context, mode, true);
  context.print(`The settings are good for ${mode} mode.`);
  return 0;
};

export const printConfig: Run = async (context) => {
  const { settings } = load(context, startMode(context), false);
  const width = Math.max(...settings.map(({ setting }) => setting.name.length));
  for (const { setting, value, source } of settings) {
    const shown = setting.secret && value !== undefined ? hide(value) : (JSON.stringify(value) ?? "(unset)");
    context.print(`${setting.name.padEnd(width)}  ${shown}  (${source})`);
  }
  return 0;
};

export const printConfigDocs: Run = async ({ print }) => {
  print(renderConfigDocs().trimEnd());
  return 0;
};

function startMode(context: CommandContext): "development" | "production" {
  return textOption(context.options, "mode") === undefined ? "production" : modeOf(context);
}

function hide(secret: unknown): string {
  return Array.isArray(secret) ? `(${secret.length} hidden)` : "(hidden)";
}
