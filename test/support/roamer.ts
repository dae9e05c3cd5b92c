import type { ManagerOptions } from "socket.io-client";
import type { Cluster } from "./cluster.ts";
import { StockClient, transportOptions } from "./stock-client.ts";
import { TcpProxy } from "./tcp-proxy.ts";

export interface RoamerOptions extends Partial<ManagerOptions> {
  /** Beside its token. */
  readonly auth?: object;
}

const strikeMs = 20;

/** A stock client behind a proxy of its own, which leads it from node to node. */
export class Roamer implements AsyncDisposable {
  readonly client: StockClient;
  readonly userId: string;
  readonly #proxy: TcpProxy;
  readonly #cluster: Cluster;
  /** The node that it goes to. */
  at: number;

  private constructor(cluster: Cluster, at: number, userId: string, client: StockClient, proxy: TcpProxy) {
    this.#cluster = cluster;
    this.at = at;
    this.userId = userId;
    this.client = client;
    this.#proxy = proxy;
  }

  /** Connected to node `at`. */
  static async start(cluster: Cluster, at: number, userId: string, options: RoamerOptions = {}): Promise<Roamer> {
    const proxy = await TcpProxy.before(cluster.node(at).server.url);
    const client = new StockClient(proxy.url, {
      ...transportOptions.websocket,
      ...options,
      auth: { token: await cluster.tokenFor(userId), ...options.auth },
    });
    const roamer = new Roamer(cluster, at, userId, client, proxy);
    try {
      await client.welcomed(1);
      return roamer;
    } catch (error) {
      await roamer[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Its next connection leads to this node. */
  lead(at: number): void {
    this.at = at;
    this.#proxy.lead(this.#cluster.node(at).server.url);
  }

  /** Its connection is lost, on both sides unless it is `abandon`ed; it stays away while `meanwhile` goes on. */
  async away(how: "cut" | "abandon", meanwhile: () => Promise<unknown>): Promise<void> {
    this.#proxy.refuses = true;
    await this.lose(how);
    await meanwhile();
    this.#proxy.refuses = false;
  }

  /** Resolves when it has noticed. */
  async lose(how: "cut" | "abandon"): Promise<void> {
    await this.client.settled();
    const before = this.client.losses;
    // Why again and again: over polling there is no connection between two requests.
    const again = setInterval(() => this.#proxy[how](), strikeMs);
    this.#proxy[how]();
    try {
      await this.client.until("the loss of the connection", () => this.client.losses > before);
    } finally {
      clearInterval(again);
    }
  }

  /** Whether it is the same socket as at first, welcomed `times` in all. */
  async isRecovered(times: number): Promise<boolean> {
    await this.client.welcomed(times);
    const { welcomes } = this.client;
    return welcomes.slice(1).every(({ id, recovered }) => recovered && id === welcomes[0]?.id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]();
    await this.#proxy[Symbol.asyncDispose]();
  }
}
