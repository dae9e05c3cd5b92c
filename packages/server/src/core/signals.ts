import { RefusalError } from "@parley/protocol";
import type { Bus } from "../bus/bus.ts";
import type { Clock } from "./clock.ts";
import type { Confirmation } from "./confirmation.ts";
import type { Feeds } from "./feeds.ts";
import { eventFrame } from "./frame.ts";
import { type LogId, logId, roomOf } from "./log.ts";
import type { Session } from "./session.ts";
import { TypingPace } from "./typing-pace.ts";

/** Comings and goings in one second of which everyone is told at once. */
const toldAtOnceMax = 100;
/** How long those beyond it wait for others, and for what else is written. */
const gatherMs = 1_000;
/** How long at most, while more sessions wait to be told than so many a second. */
const gatherMsMax = 3_000;
const toldPerSecond = 1_000;

/** What the users of a room are told beside its entries: who types, comes and goes. Best effort. */
export class Signals {
  readonly #clock: Clock;
  readonly #feeds: Feeds;
  readonly #bus: Bus;
  readonly #confirmation: Confirmation;
  readonly #typingPace: TypingPace;
  /** Sessions that have something to be told of later. */
  readonly #gathering = new Set<Session>();
  /** By the monotonic clock. */
  #gatheringSince = 0;
  /** Comings and goings since then. */
  #changes = 0;
  #changesSince = 0;

  /** `crowd`: in rooms of more subscribers here, not everyone who types is told of. */
  constructor(parts: { clock: Clock; feeds: Feeds; bus: Bus; confirmation: Confirmation; crowd: number }) {
    this.#clock = parts.clock;
    this.#feeds = parts.feeds;
    this.#bus = parts.bus;
    this.#confirmation = parts.confirmation;
    this.#typingPace = new TypingPace(parts.clock, parts.crowd);
  }

  /** Tells the others, on every node, that the user types; the right to send was checked before. Throws `not_joined`. */
  typing(session: Session, roomId: string): void {
    const log = logId(session.user.tenant, roomId);
    if (session.find(log) === undefined) throw new RefusalError("not_joined", "join the room before typing in it");
    const userId = session.user.id;
    if (this.onTyping(log, userId) && !this.#bus.alone)
      this.#bus.signal(log, { kind: "event", event: "user_typing", roomId, userId });
  }

  /** The user types, here or on another node. False when the room has heard of too many already. */
  onTyping(log: LogId, userId: string): boolean {
    const subscribers = this.#feeds.get(log)?.subscribers.length ?? 0;
    if (!this.#typingPace.take(log, subscribers)) return false;
    this.tell(log, "user_typing", userId, (otherId) => otherId === userId);
    return true;
  }

  /** Tells the room's users on this node of another; `except` are those who know. */
  tell(
    log: LogId,
    event: "user_typing" | "user_joined" | "user_left",
    userId: string,
    except: (otherId: string) => boolean,
  ): void {
    const feed = this.#feeds.get(log);
    // Why: who has lost the right to hear it may not be known.
    if (feed === undefined || !this.#confirmation.holds) return;
    const frame = eventFrame(event, { roomId: roomOf(log), userId });
    const waits = event !== "user_typing" && this.#isStorm();
    for (const { session } of feed.subscribers) {
      if (except(session.user.id)) continue;
      if (waits) this.#gather(session, frame);
      else session.signal(frame);
    }
  }

  /** Why: a write for each who comes, to everyone in the room, would be the largest cost of a storm of connections. */
  #isStorm(): boolean {
    const now = this.#clock.monotonic();
    if (now - this.#changesSince >= gatherMs) {
      this.#changesSince = now;
      this.#changes = 0;
    }
    this.#changes += 1;
    return this.#changes > toldAtOnceMax;
  }

  #gather(session: Session, frame: Buffer): void {
    if (!session.signalLater(frame)) return;
    if (this.#gathering.size === 0) {
      this.#gatheringSince = this.#clock.monotonic();
      this.#clock.after(gatherMs, () => this.#tellGathered());
    }
    this.#gathering.add(session);
  }

  #tellGathered(): void {
    const waitedMs = this.#clock.monotonic() - this.#gatheringSince;
    // Why: thousands of writes a second, each of a name or two, would be what holds up those who come.
    if (this.#gathering.size * 1_000 > toldPerSecond * waitedMs && waitedMs < gatherMsMax) {
      this.#clock.after(gatherMs, () => this.#tellGathered());
      return;
    }
    for (const session of this.#gathering) this.#feeds.flusher.sessionDue(session);
    this.#gathering.clear();
  }
}
