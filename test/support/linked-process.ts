import { spawn } from "node:child_process";
import { once } from "node:events";
import { Socket } from "node:net";
import path from "node:path";
import { Link, type LinkEvents } from "../../packages/server/src/workers/link.ts";
import { repositoryRoot } from "./process.ts";

/** The first of the child's pipes, as a file descriptor. */
const firstPipe = 3;

/** A child process that runs a file of `test/support/`, joined to this one by pipes. Killed at the end of the scope. */
export class LinkedProcess implements AsyncDisposable {
  readonly #child;

  constructor(file: string, pipes: number, words: readonly string[] = []) {
    const program = path.join(repositoryRoot, "test/support", file);
    this.#child = spawn(process.execPath, ["--conditions=parley-source", program, ...words], {
      stdio: ["ignore", "inherit", "inherit", ...Array.from({ length: pipes }, () => "pipe" as const)],
    });
  }

  /** This end of a pipe, from 0. */
  link<Out, In>(pipe: number, events: LinkEvents<In>): Link<Out, In> {
    const socket = this.#child.stdio[firstPipe + pipe];
    if (!(socket instanceof Socket)) throw new Error(`there is no pipe ${pipe}`);
    return new Link(socket, events);
  }

  /** `kill -9`. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, "exit");
  }
}

/** The other end of a pipe, in the child. The process ends with its parent. */
export function linkToParent<Out, In>(pipe: number, onMessage: (message: In) => void): Link<Out, In> {
  return new Link(new Socket({ fd: firstPipe + pipe }), { onMessage, onLost: () => process.exit() });
}
