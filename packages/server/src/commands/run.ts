import { parseArgs } from "node:util";
import { ConfigError } from "../config.ts";
import { flagAliases } from "../config-layers.ts";
import { listSettings, nearestName } from "../config-settings.ts";
import { BackupRefused, StoreLocked, StoreUnavailable, StoreUnusable } from "../store/store.ts";
import { type Command, type CommandContext, CommandFailed, type CommandOptions, UsageError } from "./command.ts";
import { commands } from "./table.ts";
import { describeVersion } from "./version.ts";

/** The process that the command line runs in. */
export interface Program
  extends Pick<CommandContext, "program" | "env" | "folder" | "print" | "printError" | "compose" | "stopped"> {
  /** After the program's own name. */
  readonly words: readonly string[];
}

/** Runs the command that `words` name. Gives the exit code: 0, or 1 after an error that was explained. */
export async function run(program: Program): Promise<number> {
  const { words, printError } = program;
  const command = findCommand(words);
  if (command === undefined) return runWithoutCommand(program);
  // Why: `token` is a command and the name of a group.
  if (words.includes("--help") || words.includes("-h"))
    return printHelp(program, command.name.includes(" ") ? [command] : groupOf(command.name));
  try {
    const execute = await command.load();
    return await execute(readContext(program, command));
  } catch (error) {
    const lines = explain(command, error);
    if (lines === undefined) throw error;
    for (const line of lines) printError(line);
    return 1;
  }
}

// A group's name alone, as `parley token`, is a question, also where it is a command with a flag.
function findCommand(words: readonly string[]): Command | undefined {
  const [first = "", second = ""] = words;
  const known =
    commands.find(({ name }) => name === `${first} ${second}`) ?? commands.find(({ name }) => name === first);
  return words.length === 1 && groupOf(first).length > 1 ? undefined : known;
}

function groupOf(first: string): readonly Command[] {
  return commands.filter(({ name }) => name === first || name.startsWith(`${first} `));
}

async function runWithoutCommand(program: Program): Promise<number> {
  const [first = "help", second = ""] = program.words;
  if (first === "--version" || first === "-v") {
    program.print(describeVersion());
    return 0;
  }
  if (["help", "--help", "-h"].includes(first)) {
    const asked = groupOf(second);
    return printHelp(program, asked.length > 0 ? asked : commands);
  }
  const group = groupOf(first);
  if (group.length === 0) {
    program.printError(
      `parley: there is no command ${JSON.stringify(first)}${suggest(
        first,
        commands.map(({ name }) => name),
      )}`,
    );
    return 1;
  }
  if (second !== "" && !second.startsWith("-")) {
    program.printError(`parley: ${first} has no ${JSON.stringify(second)}`);
    printHelp({ print: program.printError }, group);
    return 1;
  }
  return printHelp(program, group);
}

function suggest(name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known);
  return nearest === undefined ? "; `parley help` lists all" : `; did you mean ${nearest}?`;
}

function printHelp({ print }: Pick<Program, "print">, shown: readonly Command[]): number {
  print("Usage: parley COMMAND [OPTIONS]");
  print("");
  for (const { name, usage, summary } of shown) {
    print(`  parley ${name}${usage === "" ? "" : ` ${usage}`}`);
    print(`      ${summary}`);
  }
  print("");
  print(
    "Settings come from flags (--server-port 3000), the environment (PARLEY_SERVER_PORT=3000) and parley.config.json",
  );
  print("(or --config FILE), in this order. `parley config docs` describes them all.");
  return 0;
}

function readContext(program: Program, command: Command): CommandContext {
  const settings = command.settings
    ? [...Object.keys(flagAliases), ...listSettings().flatMap(({ flag }) => flag ?? [])]
    : [];
  const options = {
    ...Object.fromEntries(settings.map((flag) => [flag, { type: "string" } as const])),
    config: { type: "string" } as const,
    ...command.options,
  };
  const { values, positionals } = parseWords(program.words, command, options);
  const words = positionals.slice(command.name.split(" ").length);
  const [min, max] = command.words;
  if (words.length < min) throw new UsageError("something is missing");
  if (words.length > max) throw new UsageError(`${JSON.stringify(words[max])} is too much`);
  const flags = settings.flatMap((flag) => {
    const value = values[flag];
    return typeof value === "string" ? [[flag, value] as const] : [];
  });
  const config = values["config"];
  return {
    ...program,
    options: values,
    words,
    flags: Object.fromEntries(flags),
    configFile: typeof config === "string" ? config : undefined,
  };
}

function parseWords(
  words: readonly string[],
  command: Command,
  options: Record<string, { type: "string" | "boolean"; multiple?: true }>,
): { values: CommandOptions; positionals: readonly string[] } {
  const known = Object.keys(options);
  const { tokens } = parseArgs({ args: [...words], options, strict: false, tokens: true, allowPositionals: true });
  for (const token of tokens) {
    if (token.kind === "option" && !known.includes(token.name)) {
      const names = [...Object.keys(command.options), ...known].map((name) => `--${name}`);
      throw new UsageError(`${token.rawName} is no option${suggest(token.rawName, names)}`);
    }
  }
  try {
    const parsed = parseArgs({ args: [...words], options, strict: true, allowPositionals: true });
    const values = Object.entries(parsed.values).map(
      ([name, value]) => [name, Array.isArray(value) ? value.map(String) : value] as const,
    );
    return { values: Object.fromEntries(values), positionals: parsed.positionals };
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** What to tell about an expected error; undefined for a bug. */
function explain({ name, usage }: Command, error: unknown): readonly string[] | undefined {
  if (error instanceof UsageError) return [`parley ${name}: ${error.message}`, `Usage: parley ${name} ${usage}`];
  if (error instanceof ConfigError)
    return [`parley ${name}: the settings must be changed`, ...error.problems.map((problem) => `  ${problem}`)];
  if (
    error instanceof StoreLocked ||
    error instanceof StoreUnusable ||
    error instanceof StoreUnavailable ||
    error instanceof BackupRefused ||
    error instanceof CommandFailed
  ) {
    return [`parley ${name}: ${error.message}`];
  }
  return undefined;
}
