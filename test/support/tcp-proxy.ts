import { createServer, connect, type Server, type Socket } from "node:net";

/**
 * How a link treats what the server sends: at once, at so many bytes per second, or not at all. What is not passed on
 * waits here without a bound, as in a network with large buffers: so the server never meets a full socket, and what
 * `heldBytes` counts is what it wrote beyond what the client has got.
 */
export type Pace = { readonly bytesPerSecond: number } | "at_once" | "stalled";

const paceTickMs = 10;

/** One TCP connection of a client, through the proxy. */
export class Link {
  readonly #client: Socket;
  readonly #server: Socket;
  #pace: Pace;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #heldBytesMax = 0;
  #passedBytes = 0;
  #allowance = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  /** What is held back of what the client sends. */
  #requests: Buffer[] | null = null;
  #holdFrom: string | null = null;

  constructor(client: Socket, server: Socket, pace: Pace, onClosed: () => void) {
    this.#client = client;
    this.#server = server;
    this.#pace = pace;
    client.setNoDelay(true);
    server.setNoDelay(true);
    client.on("data", (chunk) => this.#send(Buffer.from(chunk)));
    server.on("data", (chunk) => this.#take(Buffer.from(chunk)));
    client.on("error", () => {});
    server.on("error", () => {});
    client.on("close", () => this.#clientClosed());
    server.on("close", () => this.#serverClosed(onClosed));
    this.setPace(pace);
  }

  /** Whether the client's side is open. */
  get open(): boolean {
    return !this.#client.destroyed;
  }

  /** Bytes that the server wrote and the client has not got. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  get heldBytesMax(): number {
    return this.#heldBytesMax;
  }

  get passedBytes(): number {
    return this.#passedBytes;
  }

  /** From the first part with this text in it, what the client sends is held back until `passRequests`. */
  holdRequests(from: string): void {
    this.#holdFrom = from;
  }

  get holdsRequests(): boolean {
    return this.#requests !== null;
  }

  /** What was held back goes to the server, also when the client is no more. */
  passRequests(): void {
    const held = Buffer.concat(this.#requests ?? []);
    this.#requests = null;
    this.#holdFrom = null;
    if (this.#client.destroyed) this.#server.end(held);
    else this.#server.write(held);
  }

  setPace(pace: Pace): void {
    this.#pace = pace;
    this.#allowance = 0;
    clearInterval(this.#timer);
    if (pace === "at_once") this.#pass(Number.POSITIVE_INFINITY);
    else if (pace !== "stalled") this.#timer = setInterval(() => this.#passPaced(pace.bytesPerSecond), paceTickMs);
  }

  /** Both sides lose the connection: TCP ends without a word of any protocol above it. */
  cut(): void {
    this.#client.destroy();
    this.#server.destroy();
  }

  /** The client loses its connection and the server hears nothing of it, until its heartbeat does. */
  abandon(): void {
    this.#client.removeAllListeners("close");
    this.#client.destroy();
    this.setPace("stalled");
  }

  #clientClosed(): void {
    clearInterval(this.#timer);
    if (this.#requests === null) this.#server.destroy();
  }

  #send(chunk: Buffer): void {
    if (this.#holdFrom !== null && chunk.includes(this.#holdFrom)) this.#requests ??= [];
    if (this.#requests === null) this.#server.write(chunk);
    else this.#requests.push(chunk);
  }

  #serverClosed(onClosed: () => void): void {
    this.#closed = true;
    if (this.#pace === "at_once" || this.#pace === "stalled" || this.#client.destroyed) this.#client.destroy();
    onClosed();
  }

  #take(chunk: Buffer): void {
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    if (this.#pace === "at_once") this.#pass(Number.POSITIVE_INFINITY);
    this.#heldBytesMax = Math.max(this.#heldBytesMax, this.#heldBytes);
  }

  #passPaced(bytesPerSecond: number): void {
    // Why a bound: what was not used while there was nothing to pass is no credit.
    this.#allowance = Math.min(this.#allowance, bytesPerSecond / 10) + (bytesPerSecond * paceTickMs) / 1_000;
    this.#allowance -= this.#pass(this.#allowance);
    if (this.#closed && this.#heldBytes === 0) this.#client.destroy();
  }

  /** Passes at most so many bytes on; gives their number. */
  #pass(bytesMax: number): number {
    let passed = 0;
    for (let first = this.#held[0]; first !== undefined && passed < bytesMax; first = this.#held[0]) {
      const part = first.subarray(0, bytesMax - passed);
      if (part.length === 0) break;
      if (!this.#client.destroyed) this.#client.write(part);
      passed += part.length;
      if (part.length === first.length) this.#held.shift();
      else this.#held[0] = first.subarray(part.length);
    }
    this.#heldBytes -= passed;
    this.#passedBytes += passed;
    return passed;
  }
}

/** A TCP proxy before one port of loopback, whose links a test may slow, stall and cut. */
export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #targetPort: number;
  /** Pace of the links to come. */
  pace: Pace = "at_once";
  /** While it is true, clients cannot connect. */
  refuses = false;

  private constructor(targetPort: number) {
    this.#targetPort = targetPort;
    this.#server = createServer((client) => {
      if (this.refuses) {
        client.resetAndDestroy();
        return;
      }
      const link = new Link(client, connect(this.#targetPort, "127.0.0.1"), this.pace, () => this.#links.delete(link));
      this.#links.add(link);
    });
  }

  static async before(url: string): Promise<TcpProxy> {
    const proxy = new TcpProxy(Number(new URL(url).port));
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  }

  /** The links to come lead there. */
  lead(url: string): void {
    this.#targetPort = Number(new URL(url).port);
  }

  /** Those whose client is still there. */
  get links(): readonly Link[] {
    return [...this.#links].filter((link) => link.open);
  }

  cut(): void {
    for (const link of this.links) link.cut();
  }

  abandon(): void {
    for (const link of this.links) link.abandon();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const link of this.#links) link.cut();
    await closed;
  }
}
