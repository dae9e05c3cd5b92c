import type { Granted, Requests } from "./requests.ts";
import { type Backoff, backoffMs, type Timers } from "./timers.ts";

interface PeopleWatchSettings {
  readonly requests: Requests;
  readonly timers: Timers;
  readonly backoff: Backoff;
  /** Entries follow now. Why asked: a room that was left or lost has nobody to show. */
  readonly joined: () => boolean;
}

/** Who is in one room: one question at a time, however many come and go, repeated until it is answered. */
export class PeopleWatch {
  readonly #roomId: string;
  readonly #settings: PeopleWatchSettings;
  readonly #listener: (people: Granted<"presence">) => void;
  /** `wanted`: somebody came or went while it was asked. */
  #state: "idle" | "asked" | "wanted" | "stopped" = "idle";
  #attempt = 0;
  #cancelRetry: () => void = () => undefined;

  constructor(roomId: string, settings: PeopleWatchSettings, listener: (people: Granted<"presence">) => void) {
    this.#roomId = roomId;
    this.#settings = settings;
    this.#listener = listener;
  }

  /** Somebody may have come or gone. */
  readonly changed = (): void => {
    if (this.#state === "idle") this.#ask();
    else if (this.#state === "asked") this.#state = "wanted";
  };

  /** The room has ended: nothing is asked until `changed`. */
  readonly pause = (): void => {
    this.#cancelRetry();
    this.#state = "idle";
  };

  stop(): void {
    this.#cancelRetry();
    this.#state = "stopped";
  }

  #ask(): void {
    const { requests, timers, backoff, joined } = this.#settings;
    this.#state = joined() ? "asked" : "idle";
    if (this.#state === "idle") return;
    requests.call(
      "presence",
      { roomId: this.#roomId },
      (people) => {
        if (this.#state !== "stopped" && joined()) this.#listener(people);
        this.#end();
      },
      ({ code, retry, retryAfterMs = 0 }) => {
        if (this.#state === "stopped") return;
        // Why: the next connection joins, which asks.
        if (retry === "never" || code === "disconnected") {
          this.#end();
          return;
        }
        const waitMs = Math.max(retryAfterMs, backoffMs(backoff, this.#attempt, timers.random()));
        this.#attempt += 1;
        this.#cancelRetry = timers.after(waitMs, () => this.#ask());
      },
    );
  }

  #end(): void {
    this.#attempt = 0;
    const isWanted = this.#state === "wanted";
    if (this.#state !== "stopped") this.#state = "idle";
    if (isWanted) this.#ask();
  }
}
