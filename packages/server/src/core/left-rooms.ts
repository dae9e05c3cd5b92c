import type { Position } from "@parley/protocol";
import type { Epoch, LogId, Seq } from "./log.ts";

/**
 * Rooms that a session is not in any more, each with the place up to which its client may remember an offset of it.
 * `many`: of any room, any offset. Null: none, as nearly always.
 */
export type LeftRooms = Map<LogId, Position> | "many" | null;

/** Rooms are remembered one by one up to so many. */
const leftMax = 100;

/** As before, and the room `log`; the list that was given may be changed. */
export function withLeft(left: LeftRooms, log: LogId, { epoch, seq }: Position): LeftRooms {
  if (left === "many" || seq === Infinity) return "many";
  const rooms = left ?? new Map<LogId, Position>();
  const known = rooms.get(log);
  rooms.set(log, { epoch, seq: known?.epoch === epoch ? Math.max(seq, known.seq) : seq });
  return rooms.size > leftMax ? "many" : rooms;
}

/** Up to where the client may remember an offset of this life of the room: 0 when of an empty page; null when of none. */
export function leftUpTo(left: LeftRooms, log: LogId, epoch: Epoch): Seq | null {
  if (left === "many") return Infinity;
  const place = left?.get(log);
  return place?.epoch === epoch ? place.seq : null;
}
