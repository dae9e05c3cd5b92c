import path from "node:path";
import { z } from "zod";
import { repositoryRoot, spawnNode, type TestProcess } from "./process.ts";
import { createTemporaryFolder } from "./temporary-folder.ts";

const main = path.join(repositoryRoot, "packages/server/src/main.ts");
const readyLimitMs = 20_000;
const sessionSchema = z.object({
  roomId: z.string(),
  users: z.array(z.object({ userId: z.string(), token: z.string() })),
});

/** Where a running node is reached. The admin link works once. */
interface Addresses {
  readonly publicUrl: string;
  readonly internalUrl: string;
  readonly adminLink: string;
  readonly apiKey: string;
}

/**
 * `parley dev` in a folder of its own, killed at the end of the scope. It can die and come back in between: on the same
 * ports, with the same data.
 */
export class DevelopmentServer implements AsyncDisposable {
  readonly #folder: Awaited<ReturnType<typeof createTemporaryFolder>>;
  readonly #environment: Readonly<Record<string, string>>;
  #child: TestProcess | undefined;
  #addresses: Addresses = { publicUrl: "", internalUrl: "", adminLink: "", apiKey: "" };

  private constructor(
    folder: Awaited<ReturnType<typeof createTemporaryFolder>>,
    environment: Readonly<Record<string, string>>,
  ) {
    this.#folder = folder;
    this.#environment = environment;
  }

  static async start(environment: Readonly<Record<string, string>> = {}): Promise<DevelopmentServer> {
    const server = new DevelopmentServer(await createTemporaryFolder(), environment);
    try {
      await server.start();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  get publicUrl(): string {
    return this.#addresses.publicUrl;
  }

  get adminLink(): string {
    return this.#addresses.adminLink;
  }

  /** On free ports the first time, then on those. */
  async start(): Promise<void> {
    const { publicUrl, internalUrl } = this.#addresses;
    const ports = { PARLEY_SERVER_PORT: portOf(publicUrl), PARLEY_INTERNAL_PORT: portOf(internalUrl) };
    const environment = { ...ports, ...this.#environment };
    this.#child = await spawnNode([main, "dev"], { folder: this.#folder.path, environment });
    this.#addresses = await readAddresses(this.#child);
  }

  async kill(): Promise<void> {
    await this.#child?.stop("SIGKILL");
  }

  /** A token that the development page gets. */
  async token(userId: string): Promise<string> {
    const response = await fetch(`${this.publicUrl}/dev/session`);
    const { users } = sessionSchema.parse(await response.json());
    const user = users.find((one) => one.userId === userId);
    if (user === undefined) throw new Error(`There is no ${userId} in development mode`);
    return user.token;
  }

  /** Puts messages into a room over the HTTP API, in order. */
  async fill(roomId: string, texts: readonly string[]): Promise<void> {
    for (const text of texts) await this.post(`/rooms/${roomId}/messages`, { userId: "carol", text });
  }

  post(route: string, body?: object): Promise<void> {
    return this.call("POST", route, body);
  }

  /** Calls the HTTP API with its key. `route` begins after `/api/v1`. Errors: rejects with the answer, unless it is a success. */
  async call(method: "POST" | "PUT" | "DELETE", route: string, body?: object): Promise<void> {
    const { internalUrl, apiKey } = this.#addresses;
    const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
    const response = await fetch(`${internalUrl}/api/v1${route}`, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${route}: ${response.status} ${await response.text()}`);
  }

  /** A token that ends after `expires`, as `3s`. */
  async mintToken(userId: string, expires: string): Promise<string> {
    const words = ["token", "create", "--user", userId, "--expires", expires];
    await using child = await spawnNode([main, ...words], {
      folder: this.#folder.path,
      environment: this.#environment,
    });
    await child.waitForExit();
    return child.stdout.trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }
}

function portOf(url: string): string {
  return url === "" ? "0" : new URL(url).port;
}

async function readAddresses(child: TestProcess): Promise<Addresses> {
  const [, publicUrl = ""] = await child.waitForLine(/Chat +(http:\S+)\/$/, readyLimitMs);
  const [, adminLink = "", internalUrl = ""] = await child.waitForLine(/Admin +((http:\S+)\/admin#ticket=\S+)$/);
  const [, apiKey = ""] = await child.waitForLine(/authorization: Bearer ([^'"\s]+)/i);
  return { publicUrl, internalUrl, adminLink, apiKey };
}
