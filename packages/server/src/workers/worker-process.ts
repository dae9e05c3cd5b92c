import { type ChildProcess, fork } from "node:child_process";
import { Socket } from "node:net";
import { z } from "zod";
import { type Handover, stopReading } from "./handover.ts";
import { Link, type LinkEvents } from "./link.ts";

/** In the child, the file descriptor of its end of the link. Node's own channel, for sockets, is before it. */
export const linkDescriptor = 4;
/**
 * What a worker says over Node's channel when it has a connection. Why not over the link: only on the same way it comes
 * after Node's own word for it, without which the next one would wait in Node's channel.
 */
export const takenMessage = "taken";
/** Connections that wait to be given to one worker. */
const waitingMax = 1_000;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface WorkerProcessEvents<In> extends Omit<LinkEvents<In>, "onLost"> {
  /** It gives away a connection that is another worker's. */
  onHandover(handover: Handover, socket: Socket): void;
  onExit(exit: Exit): void;
}

const handoverSchema = z.object({ to: z.int(), bytes: z.instanceof(Uint8Array) }) satisfies z.ZodType<Handover>;

/** A worker as the primary sees it: a child process, a link for messages, and Node's channel for sockets. */
export class WorkerProcess<Out, In> {
  /** From 0; of one that replaces another, the same. */
  readonly number: number;
  readonly link: Link<Out, In>;
  readonly #child: ChildProcess;
  /** The first one is under way. */
  #waiting: { readonly handover: Handover; readonly socket: Socket }[] = [];
  #ended = false;

  /** Errors: throws when the system begins no process just now, as without memory or file descriptors for it. */
  constructor(number: number, program: URL, events: WorkerProcessEvents<In>) {
    this.number = number;
    // Its settings come over the link: other users of the machine see arguments.
    this.#child = fork(program, [], {
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc", "pipe"],
    });
    // Why before all else: of a process that was not begun the error is told later, and may be all that there is of it.
    this.#child.on("error", () => {});
    if (this.#child.pid === undefined) throw new Error("a process could not be begun");
    const pipe = this.#child.stdio[linkDescriptor];
    if (!(pipe instanceof Socket)) throw new Error("a child process has no link");
    this.link = new Link(pipe, {
      onMessage: (message) => events.onMessage(message),
      // Why: without its link it can do nothing, and would not end by itself if it hangs.
      onLost: () => this.kill(),
    });
    const end = (exit: Exit): void => {
      if (this.#ended) return;
      this.#ended = true;
      for (const { socket } of this.#waiting) socket.destroy();
      this.#waiting = [];
      events.onExit(exit);
    };
    this.#child.on("exit", (code, signal) => end({ code, signal }));
    this.#child.on("message", (message, handle) => {
      if (message === takenMessage) this.#taken();
      if (!(handle instanceof Socket)) return;
      stopReading(handle);
      const handover = handoverSchema.safeParse(message);
      if (handover.success) events.onHandover(handover.data, handle);
      else handle.destroy();
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** `kill -9`. Harmless when it has ended. */
  kill(): void {
    if (!this.#ended) this.#child.kill("SIGKILL");
  }

  /** Gives it a connection that is its. One that would wait too long is closed, and its client tries again. */
  give(handover: Handover, socket: Socket): void {
    socket.on("error", () => {});
    if (this.#ended || this.#waiting.length >= waitingMax) {
      socket.destroy();
      return;
    }
    this.#waiting.push({ handover, socket });
    if (this.#waiting.length === 1) this.#giveNext();
  }

  #taken(): void {
    this.#waiting.shift()?.socket.destroy();
    if (this.#waiting.length > 0) this.#giveNext();
  }

  // Why one at a time: Node's channel does so anyway, and here is known which are left when the process ends.
  #giveNext(): void {
    const [next] = this.#waiting;
    if (next === undefined) return;
    // Why kept open until it is taken: of a process that ends before, Node never closes it, and its client would wait for
    // an answer until it misses a ping.
    this.#child.send(next.handover, next.socket, { keepOpen: true }, () => {});
  }
}
