import { parseOffset } from "./entry-event.ts";
import { type Epoch, type LogId, logId, type Seq } from "./log.ts";

/** The last event that a client remembers. */
export interface LastEvent {
  readonly log: LogId;
  readonly epoch: Epoch;
  readonly seq: Seq;
  /** The number of the page of history that it is; null for an entry. */
  readonly page: number | null;
}

/** What a client says to remember, by the offset of it; null for none, and for what no node can have written. */
export function lastEventOf(tenant: string, offset: string | undefined): LastEvent | null {
  const last = offset === undefined ? undefined : parseOffset(offset);
  return last === undefined ? null : { ...last, log: logId(tenant, last.room) };
}

/** No two are the same when there is none. */
export function isSameEvent(one: LastEvent | null, other: LastEvent | null): boolean {
  if (one === null || other === null) return false;
  return one.log === other.log && one.epoch === other.epoch && one.seq === other.seq && one.page === other.page;
}
