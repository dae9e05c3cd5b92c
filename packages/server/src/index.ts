export {
  type ErrorCode,
  type JsonValue,
  type Message,
  type Position,
  type Refusal,
  RefusalError,
  type Role,
  type RoomAccess,
} from "@parley/protocol";
export { ConfigError, type ConfigOverrides, type Mode } from "./config.ts";
export type { AccessFunction, Rights } from "./core/access.ts";
export type { Committed, HistoryPage, NodeStatistics, Operations, RoomDescription } from "./core/operations.ts";
export type { AuthenticatedUser, AuthenticateFunction, ClientHandshake } from "./gateway/authenticate.ts";
export type { User } from "./gateway/connection.ts";
export type { ClientSocket } from "./gateway/events.ts";
export type { Log } from "./log.ts";
export { createParley, type Parley, type ParleyOptions, type TokenOptions, type WriteOptions } from "./parley.ts";
export { StoreLocked, StoreUnavailable, StoreUnusable } from "./store/store.ts";
