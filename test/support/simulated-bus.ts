import type { Bus, BusReceiver, Digest, Hint, Signal } from "../../packages/server/src/bus/bus.ts";
import type { LogId } from "../../packages/server/src/core/log.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

/** What befalls packets between nodes. Shares are 0 to 1; delays in milliseconds. */
export interface BusFaults {
  lost: number;
  repeated: number;
  delayMaxMs: number;
}

/** A bus between simulated nodes that loses, repeats, delays and so reorders what it carries, from a seed. */
export class SimulatedBusNetwork {
  readonly faults: BusFaults = { lost: 0, repeated: 0, delayMaxMs: 1 };
  /** Packets that were carried to a node, by kind. */
  readonly carried = { hint: 0, signal: 0, digest: 0, message: 0 };
  readonly #clock: SimulatedClock;
  readonly #random: () => number;
  readonly #members = new Set<Member>();
  readonly #byBus = new WeakMap<Bus, Member>();

  constructor(clock: SimulatedClock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
  }

  join(node: string): Bus {
    const member: Member = { node, receiver: null, followed: new Map() };
    const send = (kind: keyof typeof this.carried, log: LogId | null, give: (receiver: BusReceiver) => void) =>
      this.#send(member, kind, log, give);
    const bus: Bus = {
      alone: false,
      start: async (receiver) => {
        member.receiver = receiver;
        this.#members.add(member);
      },
      hint: (hint: Hint) => send("hint", hint.log, (receiver) => receiver.onHint(hint)),
      signal: (log: LogId, signal: Signal) => send("signal", log, (receiver) => receiver.onSignal(log, signal)),
      send: (to, message) => this.#send(member, "message", null, (receiver) => receiver.onMessage(message), to),
      digest: (digest: Digest) => send("digest", null, (receiver) => receiver.onDigest(digest)),
      follow: (log) => void member.followed.set(log, (member.followed.get(log) ?? 0) + 1),
      unfollow: (log) => {
        const times = (member.followed.get(log) ?? 0) - 1;
        if (times > 0) member.followed.set(log, times);
        else member.followed.delete(log);
      },
      [Symbol.asyncDispose]: async () => void this.#members.delete(member),
    };
    this.#byBus.set(bus, member);
    return bus;
  }

  /** The node behind `bus` is dead: nothing that it sends or is sent arrives any more. */
  cut(bus: Bus): void {
    const member = this.#byBus.get(bus);
    if (member !== undefined) this.#members.delete(member);
  }

  /** Every node learns that the transport is gone, or back. While it is gone all packets are lost. */
  setDown(down: boolean): void {
    this.#down = down;
    for (const { receiver } of this.#members) receiver?.onState(down ? "down" : "up");
  }

  #down = false;

  #send(
    from: Member,
    kind: keyof typeof this.carried,
    log: LogId | null,
    give: (receiver: BusReceiver) => void,
    to: string | null = null,
  ): void {
    if (!this.#members.has(from)) return;
    for (const member of this.#members) {
      if (member === from || (to !== null && member.node !== to) || (log !== null && !member.followed.has(log)))
        continue;
      const copies = this.#random() < this.faults.repeated ? 2 : 1;
      for (let copy = 0; copy < copies; copy += 1) {
        if (this.#down || this.#random() < this.faults.lost) continue;
        this.carried[kind] += 1;
        this.#clock.after(Math.floor(this.#random() * this.faults.delayMaxMs), () => {
          if (this.#members.has(member) && member.receiver !== null) give(member.receiver);
        });
      }
    }
  }
}

interface Member {
  readonly node: string;
  receiver: BusReceiver | null;
  /** How often each log is followed. */
  readonly followed: Map<LogId, number>;
}
