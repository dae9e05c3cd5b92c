import type { JsonValue, Message, Role, RoomAccess } from "@parley/protocol";

/**
 * What an app's backend may do, in process and over HTTP. Every method rejects with `RefusalError` for an expected
 * refusal (its code says whether to retry). `tenant` is `default` unless set. `key` makes a write idempotent
 * (LOG-3): a repeat under the same key by the same caller gets the first one's result.
 */
export interface Operations {
  /** Sends a message into a room as a user, whose right to send is not asked. */
  sendMessage(message: {
    tenant?: string;
    roomId: string;
    userId: string;
    text: string;
    data?: JsonValue;
    key?: string;
  }): Promise<Committed>;
  /** Appends the app's own event to a room; its subscribers get `event` with `data`, then `{id, seq, at}`. */
  publish(event: { tenant?: string; roomId: string; event: string; data: JsonValue; key?: string }): Promise<Committed>;
  /** Durable: a user who is offline gets it on return. */
  notifyUser(notice: {
    tenant?: string;
    userId: string;
    event: string;
    data: JsonValue;
    key?: string;
  }): Promise<Committed>;
  /** To every client of the tenant. */
  announce(announcement: { tenant?: string; message: JsonValue; by?: string; key?: string }): Promise<Committed>;

  /** Creates a room or changes its settings. */
  putRoom(room: {
    tenant?: string;
    roomId: string;
    access?: RoomAccess;
    retainEntriesMax?: number;
  }): Promise<RoomDescription>;
  room(room: { tenant?: string; roomId: string }): Promise<RoomDescription>;
  rooms(page: { tenant?: string; after?: string; limit?: number }): Promise<readonly RoomDescription[]>;
  deleteRoom(room: { tenant?: string; roomId: string }): Promise<void>;
  /** Stores a membership (`role`) or removes it (`null`, which ends delivery at once); an entry of the room says so. */
  setMembership(change: {
    tenant?: string;
    roomId: string;
    userId: string;
    role: Role | null;
    key?: string;
  }): Promise<Committed>;
  members(page: {
    tenant?: string;
    roomId: string;
    after?: string;
    limit?: number;
  }): Promise<readonly { userId: string; role: Role }[]>;
  history(range: {
    tenant?: string;
    roomId: string;
    before?: number;
    after?: number;
    limit?: number;
  }): Promise<HistoryPage>;
  /** Users whose connections follow the room, cut to `presenceListMax`, and the whole count. */
  presence(room: { tenant?: string; roomId: string }): Promise<{ users: readonly string[]; count: number }>;

  /**
   * Ends the user's connections; the client comes back by itself unless it is banned. Gives the number of those that the
   * node asked has closed: other nodes close theirs within a second, and nobody waits for them to be counted.
   */
  disconnectUser(user: { tenant?: string; userId: string }): Promise<number>;
  /** Ends all tokens issued until now, and the connections that came with them. `banned` refuses newer ones too. Gives a number as `disconnectUser` does. */
  revokeUser(user: { tenant?: string; userId: string; banned?: boolean }): Promise<number>;
  /** Ends a ban: tokens issued since then are taken again, those from before stay revoked. Harmless when there is none. */
  unbanUser(user: { tenant?: string; userId: string }): Promise<void>;
  /** The app's own policy would answer otherwise now: asked again for this user (and room), at once here and within a second on other nodes. */
  accessChanged(change: { tenant?: string; userId: string; roomId?: string }): Promise<void>;
  statistics(): NodeStatistics;
}

export interface Committed {
  readonly id: string;
  readonly seq: number;
  readonly roomId?: string;
  /** True when the same key had been committed before. */
  readonly repeat: boolean;
}

export interface RoomDescription {
  readonly roomId: string;
  readonly access: RoomAccess;
  readonly retainEntriesMax: number;
  readonly head: number;
  readonly floor: number;
  readonly epoch: string;
  readonly createdAt: string;
}

export interface HistoryPage {
  readonly messages: readonly Message[];
  readonly head: number;
  readonly epoch: string;
  readonly more: boolean;
}

/** Figures of one node; of a machine's workers, their sums under the primary's `node`. */
export interface NodeStatistics {
  readonly node: string;
  readonly uptimeSeconds: number;
  /** Connections that are on `/`; those that have joined `/admin` or an app's own namespace alone are not counted. */
  readonly connections: number;
  /** Sockets on `/`: one for each of these. */
  readonly sockets: number;
  /** Users with a connection. */
  readonly users: number;
  readonly feeds: number;
  readonly subscribers: number;
  readonly detachedSessions: number;
  readonly appendedTotal: number;
  readonly deliveredTotal: number;
}
