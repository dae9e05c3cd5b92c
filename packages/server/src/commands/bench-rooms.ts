import { RefusalError } from "@parley/protocol";
import { NoNode, remoteRooms } from "./api-rooms.ts";
import type { BenchPlan } from "./bench-plan.ts";
import { CommandFailed } from "./command.ts";

// Each is a commit, and commits go in groups.
const atOnce = 64;

/** The rooms of one run, which every user may read and write. They hold nothing else, and are removed with all that is in them. */
export class BenchRooms {
  readonly names: readonly string[];
  readonly #plan: BenchPlan;
  readonly #rooms: ReturnType<typeof remoteRooms>;
  /** Asked for, and so perhaps made. */
  readonly #asked = new Set<string>();

  constructor(plan: BenchPlan, run: string) {
    this.#plan = plan;
    this.#rooms = remoteRooms(plan.apiUrl, plan.apiKey);
    this.names = Array.from({ length: plan.rooms }, (_, room) => `bench-${run}-${room}`);
  }

  /** Errors: rejects with `CommandFailed`, which says what to change, or with the reason of `stopped`. */
  async make(stopped: AbortSignal): Promise<void> {
    try {
      // Whether rooms can be asked for at all: otherwise some might be suspected to be there.
      await this.#rooms.rooms({ ...this.#tenant, limit: 1 });
      for (let from = 0; from < this.names.length; from += atOnce) {
        stopped.throwIfAborted();
        // Why all of them: a room that is made after its removal would stay.
        const made = await Promise.allSettled(this.names.slice(from, from + atOnce).map((name) => this.#make(name)));
        for (const outcome of made) if (outcome.status === "rejected") throw outcome.reason;
      }
    } catch (error) {
      throw this.#explain(error);
    }
  }

  async #make(roomId: string): Promise<void> {
    this.#asked.add(roomId);
    await this.#rooms.putRoom({ ...this.#tenant, roomId, access: "public" });
  }

  /** Gives the rooms that are still there: when one could not be removed, no further ones are tried. */
  async remove(): Promise<readonly string[]> {
    const names = [...this.#asked];
    for (let from = 0; from < names.length; from += atOnce) {
      const removed = await Promise.all(names.slice(from, from + atOnce).map((name) => this.#remove(name)));
      if (removed.includes(false)) break;
    }
    return [...this.#asked];
  }

  async #remove(roomId: string): Promise<boolean> {
    try {
      await this.#rooms.deleteRoom({ ...this.#tenant, roomId });
    } catch (error) {
      const neverMade = error instanceof RefusalError && error.code === "not_found";
      if (!neverMade) return false;
    }
    return this.#asked.delete(roomId);
  }

  get #tenant(): { readonly tenant?: string } {
    const { tenant } = this.#plan;
    return tenant === undefined ? {} : { tenant };
  }

  #explain(error: unknown): unknown {
    const { apiUrl } = this.#plan;
    const port = "--api-url is the internal port of a node, 3001 unless set otherwise";
    if (error instanceof NoNode) return new CommandFailed(`${error.message}: ${port}`);
    if (!(error instanceof RefusalError)) return error;
    if (error.code === "not_found") return new CommandFailed(`there is no API at ${apiUrl}: ${port}`);
    return error.code === "unauthorized"
      ? new CommandFailed(`${apiUrl} refuses the API key: give one of its PARLEY_API_KEYS, there or with --key`)
      : new CommandFailed(`${apiUrl} makes no rooms: ${error.code}: ${error.message}`);
  }
}
