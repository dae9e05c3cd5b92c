import { textFrame } from "../core/frame.ts";
import type { TimerWheel, WheelItem } from "./heartbeat.ts";
import type { GatewaySettings } from "./settings.ts";

export const closeFrame = textFrame("1");
const closeFrames: readonly Buffer[] = [closeFrame];
/** What is counted for a connection beside its frames: the records of it. */
const recordBytes = 512;

/**
 * Closed polling connections whose clients have yet to fetch the rest: last words, and then that it was closed.
 *
 * Bound: `lingeringBytesMax`; the oldest are forgotten first. Who is forgotten gets 400, and comes back by itself.
 */
export class Lingering {
  readonly #wheel: TimerWheel;
  readonly #lingerTicks: number;
  readonly #bytesMax: number;
  readonly #closed = new Map<string, Closed>();
  #bytes = 0;

  constructor(wheel: TimerWheel, { lingerMs, lingeringBytesMax }: GatewaySettings) {
    this.#wheel = wheel;
    this.#lingerTicks = wheel.ticksBeyond(lingerMs);
    this.#bytesMax = lingeringBytesMax;
  }

  keep(sid: string, unfetched: readonly Buffer[]): void {
    const closed = new Closed(unfetched, () => this.#forget(sid));
    this.#closed.set(sid, closed);
    this.#bytes += closed.bytes;
    this.#wheel.schedule(closed, this.#wheel.now() + this.#lingerTicks);
    for (const oldest of this.#closed.keys()) {
      if (this.#bytes <= this.#bytesMax) break;
      this.#forget(oldest);
    }
  }

  /** What the next GET of the connection gets. Undefined: nothing is known of it. */
  take(sid: string): readonly Buffer[] | undefined {
    const closed = this.#closed.get(sid);
    if (closed === undefined) return undefined;
    const { unfetched } = closed;
    this.#forget(sid);
    if (unfetched.length === 0) return closeFrames;
    this.keep(sid, []);
    return unfetched;
  }

  clear(): void {
    for (const sid of this.#closed.keys()) this.#forget(sid);
  }

  #forget(sid: string): void {
    const closed = this.#closed.get(sid);
    if (closed === undefined) return;
    this.#closed.delete(sid);
    this.#bytes -= closed.bytes;
    this.#wheel.remove(closed);
  }
}

class Closed implements WheelItem {
  wheelSlot = -1;
  wheelIndex = 0;
  dueTick = 0;
  readonly unfetched: readonly Buffer[];
  readonly bytes: number;
  readonly #forget: () => void;

  constructor(unfetched: readonly Buffer[], forget: () => void) {
    this.unfetched = unfetched;
    this.bytes = unfetched.reduce((sum, { length }) => sum + length, recordBytes);
    this.#forget = forget;
  }

  onDue(): void {
    this.#forget();
  }

  onStalled(): void {}
}
