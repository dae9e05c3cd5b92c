import { execFileSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { chownSync, existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { connect } from "node:net";
import path from "node:path";
import { repositoryRoot, spawnProgram, type TestProcess } from "./process.ts";
import { createTemporaryFolder, type TemporaryFolder } from "./temporary-folder.ts";

export interface PostgresOptions {
  /** Off by default: what a killed server wrote survives all but a failure of the machine, and tests make many tables. */
  readonly fsync?: boolean;
}

const readyMs = 60_000;
const userName = "parley";

/**
 * A Postgres server of its own, on a free port of loopback, with its data in a temporary folder: disposable, and to be
 * stopped, killed and started again at will. Its one database is open to user `parley` without a password.
 */
export class PostgresServer implements AsyncDisposable {
  readonly #folder: TemporaryFolder;
  readonly #options: PostgresOptions;
  #port: number;
  #process: TestProcess | null = null;

  static async start(options: PostgresOptions = {}): Promise<PostgresServer> {
    const server = new PostgresServer(await createFolder(), options);
    const data = server.#data;
    await run("initdb", ["-D", data, "-U", userName, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
    await server.#startSomewhere();
    return server;
  }

  private constructor(folder: TemporaryFolder, options: PostgresOptions) {
    this.#folder = folder;
    this.#options = options;
    this.#port = 0;
  }

  /** The address of its database, and in it of a store in `schema`. */
  url(schema?: string): string {
    const query = schema === undefined ? "" : `?schema=${schema}`;
    return `postgres://${userName}@127.0.0.1:${this.#port}/postgres${query}`;
  }

  /** Starts the server again after `stop` or `kill`, on its port; resolves when it takes connections. */
  async resume(): Promise<void> {
    const options = [
      `port=${this.#port}`,
      "listen_addresses=127.0.0.1",
      "unix_socket_directories=",
      `fsync=${this.#options.fsync === true ? "on" : "off"}`,
      // In the data's own folder, so that a killed server leaves nothing elsewhere.
      "dynamic_shared_memory_type=mmap",
      "shared_buffers=64MB",
      "max_connections=200",
      "log_min_messages=warning",
    ];
    const words = ["-D", this.#data, ...options.flatMap((option) => ["-c", option])];
    // Its log goes to its standard error.
    const shell = ["-c", 'exec "$0" "$@" 2>&1', program("postgres"), ...words];
    const started = await spawnProgram("/bin/sh", shell, { folder: this.#folder.path, ...asUser() });
    this.#process = started;
    await started.waitForLine(/ready to accept/, readyMs);
  }

  /** Ends all its sessions, and then the server, with a clean shutdown. */
  async stop(): Promise<void> {
    await this.#process?.stop("SIGINT", readyMs);
  }

  /** Every process of the server dies at once. */
  async kill(): Promise<void> {
    const postmaster = this.#process;
    if (postmaster === null) return;
    // Why first: the others would go on until they notice that the first process is gone.
    for (const pid of childrenOf(postmaster.pid)) killQuietly(pid);
    await postmaster.stop("SIGKILL");
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.resume();
  }

  /** A new server that follows this one, asynchronously, and may be promoted. */
  async standby(): Promise<PostgresServer> {
    const standby = new PostgresServer(await createFolder(), this.#options);
    await run("pg_basebackup", ["-d", this.url(), "-D", standby.#data, "-R", "-X", "stream", "-c", "fast"]);
    await standby.#startSomewhere();
    return standby;
  }

  /** A standby becomes a server of its own, with what it has got. */
  async promote(): Promise<void> {
    await run("pg_ctl", ["promote", "-w", "-D", this.#data]);
  }

  /** A promoted standby takes the place of the server that it followed, which is no more: its port, so its address. */
  async replace(former: PostgresServer): Promise<void> {
    await this.stop();
    this.#port = former.#port;
    await this.resume();
  }

  /** Keeps a copy of all data, to which `setBack` returns. */
  async save(): Promise<void> {
    await this.stop();
    await run("cp", ["-a", this.#data, this.#saved]);
    await this.resume();
  }

  /** What a disk's snapshot does that is put back: the data are those of before, and nothing says so. */
  async setBack(): Promise<void> {
    await this.stop();
    await rm(this.#data, { recursive: true });
    await run("cp", ["-a", this.#saved, this.#data]);
    await this.resume();
  }

  /** Runs SQL and gives its rows as lines, their columns separated by `|`. */
  async sql(text: string): Promise<readonly string[]> {
    const lines = await run("psql", ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", this.url(), "-c", text]);
    return lines.split("\n").filter((line) => line !== "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Its quickest end that leaves nothing behind.
    this.#process?.signal("SIGQUIT");
    await this.#process?.waitForExit();
    await this.#process?.[Symbol.asyncDispose]();
    await this.#removeSharedMemory();
    await this.#folder[Symbol.asyncDispose]();
  }

  /** A server that was killed leaves the segment behind by which it would have been known to still run. */
  async #removeSharedMemory(): Promise<void> {
    const file = path.join(this.#data, "postmaster.pid");
    if (!existsSync(file)) return;
    const [, segment] = /^ *\d+ +(\d+)$/m.exec(readFileSync(file, "utf8")) ?? [];
    if (segment === undefined) return;
    await run("ipcrm", ["-m", segment]).catch((error: unknown) => {
      // The server's own processes were quicker.
      if (!String(error).includes("invalid id")) throw error;
    });
  }

  get #data(): string {
    return path.join(this.#folder.path, "data");
  }

  get #saved(): string {
    return path.join(this.#folder.path, "saved");
  }

  async #startSomewhere(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      this.#port = await freePort();
      try {
        return await this.resume();
      } catch (error) {
        const { stdout = "" } = this.#process ?? {};
        await this.#process?.[Symbol.asyncDispose]();
        this.#process = null;
        // Another process was quicker with this port.
        if (!stdout.includes("Address already in use") || tries === 5) {
          await this.#folder[Symbol.asyncDispose]();
          throw error;
        }
      }
    }
  }
}

// Debian keeps the programs of a server outside a user's PATH.
const folders = [
  ...(process.env["PATH"] ?? "").split(path.delimiter),
  "/usr/lib/postgresql/15/bin",
  "/usr/lib/postgresql/17/bin",
];

function program(name: string): string {
  const found = folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
  if (found === undefined) throw new Error(`${name} is not installed: apt-get install postgresql`);
  return found;
}

/** Runs a program to its end; gives what it printed. Errors: rejects with its output when it fails. */
async function run(name: string, words: readonly string[]): Promise<string> {
  await using running = await spawnProgram(program(name), words, { folder: "/", ...asUser() });
  const { code } = await running.waitForExit(readyMs);
  if (code !== 0) throw new Error(`${name} failed (${code})\n${running.stdout}\n${running.stderr}`);
  return running.stdout;
}

/** Postgres refuses to be run by root; Debian's package makes a user for it. */
function asUser(): { user?: { uid: number; gid: number } } {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string): number =>
    Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8", cwd: repositoryRoot }));
  return { user: { uid: id("-u"), gid: id("-g") } };
}

async function createFolder(): Promise<TemporaryFolder> {
  const folder = await createTemporaryFolder();
  const { user } = asUser();
  if (user !== undefined) chownSync(folder.path, user.uid, user.gid);
  return folder;
}

/** Below the ports that systems give to clients, so that a server that is down finds its own free again. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    if (!(await isTaken(port))) return port;
  }
}

function isTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ port, host: "127.0.0.1" });
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
}

function childrenOf(pid: number): readonly number[] {
  const listed = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return listed === "" ? [] : listed.split(" ").map(Number);
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}
