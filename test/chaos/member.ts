import type { Roamer } from "../support/roamer.ts";
import { until } from "./crowd.ts";
import { RoomRecord } from "./room-record.ts";

/** How long after a join its first page may come again after a kill: a ping, a second, a write, on a busy machine. */
const pageStoredMs = 5_000;

/** A stock client that leaves all to connection state recovery, and what it got. */
export class Member {
  readonly roamer: Roamer;
  /** By room joined. */
  readonly records = new Map<string, RoomRecord>();
  /** Times that it came back as another socket. */
  unrecovered = 0;
  #welcomedAt = 0;
  readonly #joinedAt = new Map<string, number>();

  constructor(roamer: Roamer) {
    this.roamer = roamer;
    const { socket } = roamer.client;
    const { id } = socket;
    socket.on("connect", () => {
      this.#welcomedAt = performance.now();
      if (!socket.recovered || socket.id !== id) this.unrecovered += 1;
    });
    socket.on("room_history", (messages: readonly { seq: number; text: string }[], offset: string) => {
      const [, room = "", head = ""] = /^([^:]+):.*:(\d+)\/\d+$/.exec(offset) ?? [];
      this.records.get(room)?.page(Number(head), messages);
    });
    socket.on("new_message", ({ roomId, seq, text }: { roomId: string; seq: number; text: string }) => {
      this.records.get(roomId)?.entry(seq, text);
    });
  }

  async join(room: string): Promise<void> {
    this.records.set(room, new RoomRecord(`${this.roamer.userId} in ${room}`));
    const { ok, error } = await this.roamer.client.request("join_room", room);
    if (!ok) throw new Error(`join_room: ${error?.code}`);
    this.#joinedAt.set(room, performance.now());
  }

  /** Its node is about to be killed. */
  killed(): void {
    const now = performance.now();
    for (const [room, record] of this.records) record.killed(now - (this.#joinedAt.get(room) ?? 0) < pageStoredMs);
  }

  /** Milliseconds from `since` until it was welcomed. Errors: rejects after a minute. */
  async welcomedAfter(since: number): Promise<number> {
    await until(`${this.roamer.userId} to be back`, () => this.#welcomedAt > since);
    return this.#welcomedAt - since;
  }

  hasAll(heads: ReadonlyMap<string, number>): boolean {
    return [...this.records].every(([room, { reached = -1 }]) => reached >= (heads.get(room) ?? 0));
  }

  describe(heads: ReadonlyMap<string, number>): string {
    const places = [...this.records].map(([room, { reached }]) => `${reached} of ${heads.get(room)} in ${room}`);
    return `${this.roamer.userId} at node ${this.roamer.at}: ${places.join(", ")}`;
  }
}
