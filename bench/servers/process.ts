import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { type Cores, pinned } from "../machine/pin.ts";

export interface ProcessPlan {
  readonly cores: Cores;
  /** Another runtime than this Node; it reports its memory by itself. */
  readonly runtime?: string;
  /** Arguments after the runtime. */
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly directory: string;
}

/** Bytes, after a forced collection. */
const memorySchema = z.object({
  rss: z.number(),
  heapUsed: z.number(),
  /** What V8 holds for its heap, used or not. */
  heapTotal: z.number(),
  /** What objects hold outside of the heap: buffers, mostly. */
  external: z.number(),
});
export type Memory = z.infer<typeof memorySchema>;

/** How late the server's event loop ran; both include the 10 ms at which it is looked at. */
const loopDelaySchema = z.object({ p99Ms: z.number(), maxMs: z.number() });
export type LoopDelay = z.infer<typeof loopDelaySchema>;

const readyTimeoutMs = 20_000;
const stopTimeoutMs = 10_000;
const complaintsMax = 40;
const root = fileURLToPath(new URL("../../", import.meta.url));
const selfReport = fileURLToPath(new URL("self-report.ts", import.meta.url));

/** A server as a child process: its lines of JSON, its memory, its end. */
export class ServerProcess implements AsyncDisposable {
  readonly command: string;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #lines: ((line: Record<string, unknown>) => void)[] = [];
  readonly #complaints: string[] = [];
  #ended: string | undefined;

  constructor(plan: ProcessPlan) {
    const runtime = plan.runtime ?? process.execPath;
    const ownReport = plan.runtime === undefined ? ["--expose-gc", "--import", selfReport, ...profiling()] : [];
    const command = pinned(plan.cores, [runtime, ...ownReport, ...plan.arguments]);
    this.command = command.join(" ").replaceAll(process.execPath, "node").replaceAll(root, "");
    const [program = "", ...rest] = command;
    const child = spawn(program, rest, {
      cwd: plan.directory,
      env: { PATH: process.env["PATH"], NODE_ENV: "production", ...plan.environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    this.pid = child.pid ?? 0;
    createInterface({ input: child.stdout }).on("line", (line) => this.#onLine(line));
    createInterface({ input: child.stderr }).on("line", (line) => this.#complain(line));
    child.on("error", (error) => this.#onEnd(error.message));
    child.on("exit", (code, signal) => this.#onEnd(`exit ${code ?? signal}`));
  }

  get ended(): string | undefined {
    return this.#ended;
  }

  #onLine(text: string): void {
    // Cheap on purpose: a server's log lines come here too, in the generator's own process.
    if (!text.startsWith('{"ready":') && !text.startsWith('{"bench')) {
      if (!text.startsWith('{"level":30')) this.#complain(text);
      return;
    }
    const line = parseObject(text);
    for (const listener of [...this.#lines]) listener(line);
  }

  #complain(text: string): void {
    this.#complaints.push(text);
    if (this.#complaints.length > complaintsMax) this.#complaints.shift();
  }

  #onEnd(reason: string): void {
    this.#ended ??= reason;
    for (const listener of [...this.#lines]) listener({ ended: reason });
  }

  /** The first line that has `key`. Errors: rejects when the process ends first, with what it printed, or after `timeoutMs`. */
  line(key: string, timeoutMs: number): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#lines.splice(this.#lines.indexOf(listener), 1);
        act();
      };
      const listener = (line: Record<string, unknown>) => {
        if (key in line) settle(() => resolve(line));
        else if ("ended" in line) settle(() => reject(this.complaint(`ended (${this.#ended})`)));
      };
      const timer = setTimeout(
        () => settle(() => reject(this.complaint(`gave no ${key} line in ${timeoutMs} ms`))),
        timeoutMs,
      );
      this.#lines.push(listener);
      if (this.#ended !== undefined) listener({ ended: this.#ended });
    });
  }

  /** The port of the ready line. Errors: as `line`; the process is gone then. */
  async readyPort(): Promise<number> {
    try {
      return Number((await this.line("ready", readyTimeoutMs))["port"]);
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw error;
    }
  }

  complaint(what: string): Error {
    return new Error(`${this.command}\n${what}\n${this.#complaints.join("\n")}`);
  }

  async memory(): Promise<Memory> {
    const line = this.line("benchMemory", 30_000);
    this.#child.kill("SIGUSR2");
    const memory = memorySchema.safeParse((await line)["benchMemory"]);
    if (memory.success) return memory.data;
    throw this.complaint("gave no memory figures");
  }

  /** Begins to watch the event loop; resolves when it does. Only Node's servers can. */
  async watchLoop(): Promise<void> {
    const line = this.line("benchLoop", 30_000);
    this.#child.kill("SIGWINCH");
    await line;
  }

  /** Ends the watch. */
  async loopDelay(): Promise<LoopDelay> {
    const line = this.line("benchLoop", 60_000);
    this.#child.kill("SIGWINCH");
    return loopDelaySchema.parse((await line)["benchLoop"]);
  }

  /** SIGKILL; its end is no fault of its own then. */
  async kill(): Promise<void> {
    if (this.#ended !== undefined) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended !== undefined) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), stopTimeoutMs);
    await exited;
    clearTimeout(timer);
  }
}

/** With BENCH_PROFILE each server leaves a CPU profile of each of its threads in that folder when it ends. */
function profiling(): readonly string[] {
  const folder = process.env["BENCH_PROFILE"];
  return folder === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${folder}`];
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}
