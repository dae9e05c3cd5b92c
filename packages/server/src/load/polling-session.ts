import type { Socket } from "node:net";
import { authorityOf, openSocket, type Target } from "./target.ts";

/**
 * A stock client's first steps: Engine.IO over HTTP long polling, on two kept-alive connections (one for the poll that
 * hangs, one for posts), until the client moves to WebSocket.
 */
export class PollingSession implements Disposable {
  readonly #polls: HttpConnection;
  readonly #posts: HttpConnection;
  #id = "";

  constructor(target: Target) {
    this.#polls = new HttpConnection(target);
    this.#posts = new HttpConnection(target);
  }

  get id(): string {
    return this.#id;
  }

  async open(): Promise<void> {
    const body = await this.#polls.request("GET", this.#path());
    const id = /"sid":"([^"]+)"/.exec(body)?.[1];
    if (!body.startsWith("0{") || id === undefined) throw new Error("polling: no open packet");
    this.#id = id;
  }

  /** Packets of one poll, apart by U+001E. */
  async poll(): Promise<readonly string[]> {
    return (await this.#polls.request("GET", this.#path())).split("\u001e");
  }

  async post(packet: string): Promise<void> {
    await this.#posts.request("POST", this.#path(), packet);
  }

  #path(): string {
    const session = this.#id === "" ? "" : `&sid=${this.#id}`;
    return `/socket.io/?EIO=4&transport=polling${session}`;
  }

  [Symbol.dispose](): void {
    this.#polls.close();
    this.#posts.close();
  }
}

/** HTTP/1.1 with keep-alive, one request at a time, bodies by Content-Length: what an Engine.IO server answers with. */
class HttpConnection {
  readonly #target: Target;
  readonly #socket: Socket;
  #received = "";
  #waiting: { resolve(body: string): void; reject(error: Error): void } | undefined;

  constructor(target: Target) {
    this.#target = target;
    this.#socket = openSocket(target);
    this.#socket.setEncoding("latin1");
    this.#socket.on("data", (text: string) => {
      this.#received += text;
      this.#answer();
    });
    this.#socket.on("error", (error: NodeJS.ErrnoException) => this.#fail(`polling: ${error.code ?? error.message}`));
    this.#socket.on("close", () => this.#fail("polling: closed"));
  }

  request(method: "GET" | "POST", path: string, body = ""): Promise<string> {
    const head = `${method} ${path} HTTP/1.1\r\nHost: ${authorityOf(this.#target)}\r\n`;
    const length =
      method === "POST" ? `Content-Type: text/plain;charset=UTF-8\r\nContent-Length: ${body.length}\r\n` : "";
    this.#socket.write(`${head}${length}\r\n${body}`, "latin1");
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  #answer(): void {
    const headEnd = this.#received.indexOf("\r\n\r\n");
    if (headEnd === -1) return;
    const head = this.#received.slice(0, headEnd);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length === undefined) {
      this.#fail("polling: an answer without a length");
      return;
    }
    const bodyStart = headEnd + 4;
    const bodyEnd = bodyStart + Number(length);
    if (this.#received.length < bodyEnd) return;
    const body = this.#received.slice(bodyStart, bodyEnd);
    this.#received = this.#received.slice(bodyEnd);
    const status = /^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? "?";
    if (status !== "200") {
      this.#fail(`polling: status ${status}`);
      return;
    }
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve(body);
  }

  #fail(reason: string): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(new Error(reason));
  }

  close(): void {
    this.#socket.destroy();
  }
}
