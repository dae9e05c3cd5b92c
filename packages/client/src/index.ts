export { type AdminClient, connectAdmin, type AdminOptions } from "./admin.ts";
export { type Announcement, type Client, type ClientEvents, connect, type ConnectOptions } from "./client.ts";
export type { ConnectionState, TransportName } from "./connection.ts";
export { ParleyError, type ParleyErrorCode } from "./errors.ts";
export type { OutboxBounds, OutgoingMessage, OutgoingState, Sending, SendOptions, SendOutcome } from "./outbox.ts";
export {
  type KeyValueStorage,
  type OutboxStorage,
  type UnsentMessage,
  webStorageOutbox,
} from "./outbox-storage.ts";
export type { NodeStatistics } from "./requests.ts";
export type { AppEvent, HistoryRange, Room, RoomEvents } from "./room.ts";
export type { ResetReason, RoomReset } from "./subscription.ts";
export type { Backoff, Timers } from "./timers.ts";
export type { EntryMeta, JsonValue, Message, Position } from "@parley/protocol";
