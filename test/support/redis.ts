import { createClient } from "redis";
import { findFreePort } from "./free-port.ts";
import { spawnProgram, type TestProcess } from "./process.ts";
import { createTemporaryFolder, type TemporaryFolder } from "./temporary-folder.ts";

export interface RedisOptions {
  /** `redis-server` arguments beside those that every one of a test gets. */
  readonly options?: readonly string[];
  readonly port?: number;
  readonly password?: string;
}

/** A disposable Redis on a free port of loopback, with nothing on disk. Valkey and Redis 7 take the same arguments. */
export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly #folder: TemporaryFolder;
  readonly #options: readonly string[];
  readonly #password: string | undefined;
  #process: TestProcess | null = null;

  private constructor(port: number, folder: TemporaryFolder, { options = [], password }: RedisOptions) {
    this.port = port;
    this.#folder = folder;
    this.#options = options;
    this.#password = password;
  }

  static async start(options: RedisOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(options.port ?? (await findFreePort()), await createTemporaryFolder(), options);
    await server.restart();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it anew, on the same port and with nothing in it; one that runs is killed first. */
  async restart(): Promise<void> {
    await this.kill();
    const settings = ["--port", `${this.port}`, "--bind", "127.0.0.1", "--dir", this.#folder.path];
    const ephemeral = ["--save", "", "--appendonly", "no", "--daemonize", "no"];
    const password = this.#password === undefined ? [] : ["--requirepass", this.#password];
    this.#process = await spawnProgram("redis-server", [...settings, ...ephemeral, ...password, ...this.#options]);
    await this.#process.waitForLine(/Ready to accept connections/);
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = null;
    if (running === null) return;
    running.signal("SIGCONT");
    await running.stop("SIGKILL");
    await running[Symbol.asyncDispose]();
  }

  /** It stands still (SIGSTOP): its connections stay, and nothing answers. */
  pause(): void {
    this.#process?.signal("SIGSTOP");
  }

  resume(): void {
    this.#process?.signal("SIGCONT");
  }

  async flush(): Promise<void> {
    await this.command("FLUSHALL");
  }

  /** Errors: rejects with what the server says. */
  command(...words: readonly (string | Buffer)[]): Promise<unknown> {
    return askRedis(this.port, words, this.#password);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#folder[Symbol.asyncDispose]();
  }
}

/** One command, on a connection of its own. Errors: rejects with what the server says. */
export async function askRedis(port: number, words: readonly (string | Buffer)[], password?: string): Promise<unknown> {
  const client = createClient({
    socket: { host: "127.0.0.1", port, reconnectStrategy: false },
    ...(password === undefined ? {} : { password }),
    maintNotifications: "disabled",
  });
  client.on("error", () => {});
  try {
    await client.connect();
    return await client.sendCommand([...words]);
  } finally {
    client.destroy();
  }
}
