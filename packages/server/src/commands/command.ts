import type { Config } from "../config.ts";
import type { Operations } from "../core/operations.ts";
import { tenantSchema } from "../gateway/token-claims.ts";
import type { Log } from "../log.ts";

/** What commands need of `compose.ts`, the only file that names implementations. */
export interface Composition {
  /**
   * Starts a node. Errors: rejects with `ConfigError`, `StoreLocked` or `StoreUnusable`, which name the setting, and
   * leaves nothing open.
   */
  readonly startNode: (
    config: Config,
    options: { readonly log: Log; readonly adminSecret: string },
  ) => Promise<RunningNode>;
  /** Copies a store, running or not, into a new file. Errors: rejects with `BackupRefused`. */
  readonly backupStore: (config: Config, target: string) => Promise<void>;
  /**
   * Makes the store from a copy, under a new generation, in a folder that holds none. In Postgres, which was restored by
   * its own means, it only begins the generation, and takes no copy.
   * Errors: rejects with `BackupRefused`, `StoreLocked` or `StoreUnusable`.
   */
  readonly restoreStore: (config: Config, source: string | undefined) => Promise<void>;
  /** Brings the store's schema up to date, creating the store when there is none. Errors: as `startNode`. */
  readonly migrateStore: (config: Config) => Promise<void>;
  /** Where the store is, without a password. Errors: throws `StoreUnusable`. */
  readonly showStore: (config: Config) => string;
  /** The server that holds the store, and whether it writes through to the disk; undefined for an embedded one. Errors: rejects with `StoreUnusable`. */
  readonly probeStore: (config: Config) => Promise<{ readonly version: string; readonly fsync: boolean } | undefined>;
}

export interface RunningNode {
  readonly publicUrl: string;
  readonly internalUrl: string;
  readonly operations: Operations;
  /** Finishes what is acknowledged or under way, and closes. */
  stop(): Promise<void>;
}

/** What a command is run with. Nothing else reaches it: no environment, no argument of the process. */
export interface CommandContext {
  /** What a command line begins with, to be printed before another command. */
  readonly program: string;
  readonly options: CommandOptions;
  /** Words after the command's name. */
  readonly words: readonly string[];
  /** Flags that are settings, for `loadConfig`. */
  readonly flags: Readonly<Record<string, string>>;
  readonly configFile: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The working directory. */
  readonly folder: string;
  readonly print: (line: string) => void;
  /** For what is no part of the answer. */
  readonly printError: (line: string) => void;
  readonly compose: () => Promise<Composition>;
  /** Ends when the process is told to (SIGINT, SIGTERM). */
  readonly stopped: AbortSignal;
}

export type CommandOptions = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

/** Gives the exit code. Errors: `UsageError`, `ConfigError` and the store's are explained, others are bugs. */
export type Run = (context: CommandContext) => Promise<number>;

export interface Command {
  /** One or two words. */
  readonly name: string;
  /** What follows the name, for help. */
  readonly usage: string;
  readonly summary: string;
  readonly options: Readonly<Record<string, { readonly type: "string" | "boolean"; readonly multiple?: true }>>;
  /** Bounds of the number of words after the name. */
  readonly words: readonly [min: number, max: number];
  /** Whether settings are taken as flags. */
  readonly settings: boolean;
  readonly load: () => Promise<Run>;
}

/** The command was not given as it must be. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What the command wanted was refused; `message` says why. */
export class CommandFailed extends Error {
  override readonly name = "CommandFailed";
}

export function textOption(options: CommandOptions, name: string): string | undefined {
  const value = options[name];
  return typeof value === "string" ? value : undefined;
}

/** `--tenant`. Errors: throws `UsageError` for what no tenant can be called. */
export function tenantOption(options: CommandOptions): string | undefined {
  const tenant = tenantSchema.optional().safeParse(textOption(options, "tenant"));
  if (!tenant.success) throw new UsageError("--tenant is no name of a tenant");
  return tenant.data;
}

export function textsOption(options: CommandOptions, name: string): readonly string[] {
  const value = options[name];
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}
