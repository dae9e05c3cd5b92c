import { spawn, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";

export const repositoryRoot = fileURLToPath(new URL("../..", import.meta.url));

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface SpawnOptions {
  /** Working directory; the repository's root by default. */
  readonly folder?: string;
  /** Added to the test's own environment; `undefined` removes a variable. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Who runs it; this process's own user by default. */
  readonly user?: { readonly uid: number; readonly gid: number };
}

/**
 * A child process of a test, leader of its own process group. Leaving the scope of `await using` kills the group and
 * waits for its end, so that nothing outlives the test, not even what the child started itself.
 */
export interface TestProcess extends AsyncDisposable {
  readonly pid: number;
  /** Everything written so far to stdout, and to stderr. */
  readonly stdout: string;
  readonly stderr: string;
  /**
   * The first whole line of stdout that matches, also one that was written before the call.
   * Errors: rejects, with the output, when the process ends or `limitMs` (20 s by default) passes without such a line.
   */
  waitForLine(pattern: RegExp, limitMs?: number): Promise<RegExpExecArray>;
  /** The end of the process. Errors: rejects, with the output, when it still runs after `limitMs` (20 s by default). */
  waitForExit(limitMs?: number): Promise<ProcessExit>;
  /** Sends a signal to the process alone, and returns at once: for SIGSTOP, SIGCONT and the like. */
  signal(name: NodeJS.Signals): void;
  /** Sends a signal to the process alone (SIGTERM by default) and waits for its end. */
  stop(name?: NodeJS.Signals, limitMs?: number): Promise<ProcessExit>;
  writeInput(text: string): void;
}

const limitMsDefault = 20_000;
const outputAfterExitMs = 1_000;
const running = new Set<number>();

/** Runs a file of the repository on this Node, from source, as in development. */
export function spawnNode(programArguments: readonly string[], options: SpawnOptions = {}): Promise<TestProcess> {
  return spawnProgram(process.execPath, ["--conditions=parley-source", ...programArguments], options);
}

/** Runs any program. Errors: rejects when it cannot be started. */
export async function spawnProgram(
  program: string,
  programArguments: readonly string[],
  options: SpawnOptions = {},
): Promise<TestProcess> {
  const child = spawn(program, programArguments, {
    cwd: options.folder ?? repositoryRoot,
    env: { ...process.env, ...options.environment },
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
    ...options.user,
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  return superviseProcess(child, [program, ...programArguments].join(" "));
}

/** What is known of a child, and who waits to hear more. */
interface ProcessState {
  readonly command: string;
  stdout: string;
  stderr: string;
  exit: ProcessExit | undefined;
  readonly listeners: Set<() => void>;
}

function superviseProcess(child: ChildProcess, command: string): TestProcess {
  const pid = child.pid ?? 0;
  running.add(pid);
  const state = watchProcess(child, command);
  const waitForExit = (limitMs = limitMsDefault): Promise<ProcessExit> =>
    waitFor(state, "its end", limitMs, () => state.exit);
  return {
    pid,
    get stdout() {
      return state.stdout;
    },
    get stderr() {
      return state.stderr;
    },
    waitForLine: (pattern, limitMs = limitMsDefault) =>
      waitFor(state, `a line like ${pattern}`, limitMs, () => findLine(state.stdout, pattern)),
    waitForExit,
    signal: (name) => void child.kill(name),
    stop: (name = "SIGTERM", limitMs) => {
      child.kill(name);
      return waitForExit(limitMs);
    },
    writeInput: (text) => void child.stdin?.write(text),
    async [Symbol.asyncDispose]() {
      killGroup(pid);
      await waitForExit();
      running.delete(pid);
    },
  };
}

function watchProcess(child: ChildProcess, command: string): ProcessState {
  const state: ProcessState = { command, stdout: "", stderr: "", exit: undefined, listeners: new Set() };
  const notify = (): void => state.listeners.forEach((listen) => listen());
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    state.stdout += text;
    notify();
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (state.stderr += text));
  // Why: a child that is killed closes its input under a pending write.
  child.stdin?.on("error", () => undefined);
  child.once("exit", (code, signal) => {
    const settle = (): void => {
      clearTimeout(limit);
      state.exit = { code, signal };
      notify();
    };
    // "close" comes when all output was read; never, while something that the child started holds its pipes.
    const limit = setTimeout(settle, outputAfterExitMs);
    child.once("close", settle);
  });
  return state;
}

async function waitFor<Found>(
  state: ProcessState,
  what: string,
  limitMs: number,
  look: () => Found | undefined,
): Promise<Found> {
  const { promise, resolve, reject } = Promise.withResolvers<Found>();
  const fail = (reason: string): void => {
    const output = `--- stdout\n${state.stdout}\n--- stderr\n${state.stderr}`;
    reject(new Error(`${state.command}: ${reason} ${what}\n${output}`));
  };
  const check = (): void => {
    const found = look();
    if (found !== undefined) resolve(found);
    else if (state.exit !== undefined) {
      fail(`ended (code ${state.exit.code}, signal ${state.exit.signal}) without`);
    }
  };
  const limit = setTimeout(() => fail(`waited ${limitMs} ms for`), limitMs);
  state.listeners.add(check);
  check();
  try {
    return await promise;
  } finally {
    clearTimeout(limit);
    state.listeners.delete(check);
  }
}

function findLine(text: string, pattern: RegExp): RegExpExecArray | undefined {
  // The last part is a line still being written, or nothing.
  const lines = text.split(/\r?\n/).slice(0, -1);
  const plain = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""));
  for (const line of lines) {
    const match = plain.exec(line);
    if (match !== null) return match;
  }
  return undefined;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The whole group has ended already.
  }
}

// Why: a test run that is interrupted or times out never reaches the end of the test's scope.
function killAll(): void {
  for (const pid of running) killGroup(pid);
}
process.once("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    killAll();
    process.kill(process.pid, signal);
  });
}
