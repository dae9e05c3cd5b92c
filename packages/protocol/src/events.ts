import { z } from "zod";
import type { Refusal } from "./errors.ts";
import {
  bounds,
  clientIdSchema,
  type JsonValue,
  jsonSchema,
  messageIdSchema,
  type Position,
  positionSchema,
  roomIdSchema,
  seqSchema,
  sessionIdSchema,
  userIdSchema,
} from "./names.ts";

const roomOnly = z.strictObject({ roomId: roomIdSchema });
export const messageTextSchema = z
  .string()
  .min(1, "text is empty")
  .max(bounds.messageTextLength, `text is longer than ${bounds.messageTextLength} characters`)
  .refine((text) => text.isWellFormed(), "text has a lone surrogate");

/** Payload of each event that a client may send to `/`. Every one also takes an acknowledgement. */
export const clientEvents = {
  /** `roomId` alone, or with the position to continue from, or with the number of messages wanted. */
  join_room: z.union([
    roomIdSchema,
    z.strictObject({
      roomId: roomIdSchema,
      after: positionSchema.optional(),
      history: z.int().min(0).max(bounds.historyLimit).optional(),
    }),
  ]),
  leave_room: z.union([roomIdSchema, roomOnly]),
  send_message: z.strictObject({
    roomId: roomIdSchema,
    text: messageTextSchema,
    clientId: clientIdSchema.optional(),
    replyTo: messageIdSchema.optional(),
    data: jsonSchema.optional(),
  }),
  room_history: z
    .strictObject({
      roomId: roomIdSchema,
      before: seqSchema.optional(),
      after: seqSchema.optional(),
      limit: z.int().min(1).max(bounds.historyLimit).default(50),
    })
    .refine(({ before, after }) => before === undefined || after === undefined, "give before or after, not both"),
  typing: z.strictObject({ roomId: roomIdSchema }),
  /** Asks who is in the room; answered in the acknowledgement. */
  presence: roomOnly,
  refresh_token: z.strictObject({ token: z.string().min(1).max(16_384) }),
} as const;

export type ClientEventName = keyof typeof clientEvents;
export type ClientEventPayload<Name extends ClientEventName> = z.input<(typeof clientEvents)[Name]>;

const userOnly = z.strictObject({ userId: userIdSchema });
const nothing = z.strictObject({}).optional();

/** Payload of each event that an administrator may send to `/admin`. */
export const adminEvents = {
  /** Any JSON; every client gets it as `announcement`. */
  broadcast_announcement: jsonSchema,
  /** Answered with the node's figures. */
  statistics: nothing,
  /** Ends the user's connections, on all nodes; clients come back by themselves. */
  kick: userOnly,
  /** As `kick`, and refuses every token of the user's, until `unban`. */
  ban: userOnly,
  /** Tokens issued from the ban on are good again; those from before stay revoked. */
  unban: userOnly,
  /** The node that is asked takes no more clients, and moves those there are to other nodes, until `undrain`. */
  drain: nothing,
  undrain: nothing,
} as const;

export type AdminEventName = keyof typeof adminEvents;

/** What a client gives with CONNECT to `/`. Other fields are the app's own, for its `authenticate`. */
export const connectAuthSchema = z.looseObject({
  token: z.string().max(16_384).optional(),
  resume: z
    .record(
      z
        .string()
        .min(1)
        .max(bounds.roomIdLength + 8),
      positionSchema,
    )
    .refine(
      (rooms) => Object.keys(rooms).length <= bounds.resumeRooms,
      `resume names more than ${bounds.resumeRooms} rooms`,
    )
    .optional(),
  /** `false` turns position arguments off, for clients whose handlers take exactly an event's own arguments. */
  recovery: z.boolean().optional(),
  pid: sessionIdSchema.optional(),
  offset: z.string().max(512).optional(),
});
export type ConnectAuth = z.infer<typeof connectAuthSchema>;

/** A message as clients see it, in its present state. `createdAt`, `editedAt`, `deletedAt`: ISO 8601, server's clock. */
export interface Message {
  readonly id: string;
  readonly roomId: string;
  readonly seq: number;
  readonly userId: string;
  readonly text: string;
  readonly createdAt: string;
  readonly clientId?: string;
  readonly editedAt?: string;
  readonly deletedAt?: string;
  readonly replyTo?: string;
  readonly data?: JsonValue;
}

/** Follows the data of every entry that an app or an administrator named itself. `at`: ISO 8601, server's clock. */
export interface EntryMeta {
  readonly id: string;
  readonly seq: number;
  readonly at: string;
}

export const roomGapReasonSchema = z.enum(["epoch", "floor", "too_far", "ahead"]);
export type RoomGapReason = z.infer<typeof roomGapReasonSchema>;

/** `too_many_rooms`: a room of `resume` beyond `limits.roomsPerConnectionMax`. */
export type RoomClosedReason = "forbidden" | "deleted" | "too_many_rooms";

/** Arguments of each event that the server sends on `/`; entries are followed by their offset, `roomId:epoch:seq`. */
export interface ServerEvents {
  room_history: [messages: readonly Message[]];
  new_message: [message: Message];
  message_edited: [
    edit: {
      id: string;
      roomId: string;
      seq: number;
      messageSeq: number;
      userId: string;
      text: string;
      editedAt: string;
    },
  ];
  message_deleted: [
    deletion: { id: string; roomId: string; seq: number; messageSeq: number; userId: string; deletedAt: string },
  ];
  membership_changed: [change: { roomId: string; seq: number; userId: string; role: string | null; at: string }];
  /** The place of an entry whose body was erased for good; with `entrySeq`, the erasure of that entry. */
  entry_erased: [tombstone: { roomId: string; seq: number; entrySeq?: number }];
  user_joined: [who: { roomId: string; userId: string }];
  user_left: [who: { roomId: string; userId: string }];
  user_typing: [who: { roomId: string; userId: string }];
  announcement: [announcement: JsonValue, meta: EntryMeta];
  room_gap: [gap: { roomId: string; reason: RoomGapReason; epoch: string; head: number }];
  room_closed: [closed: { roomId: string; reason: RoomClosedReason }];
  token_expiring: [expiry: { expiresAt: string; inMs: number }];
  server_draining: [drain: { withinMs: number }];
  error: [error: Refusal & { event?: string }];
}

/** Events of the contract, refused as names for `notifyUser` and `publish`; Socket.IO's own reserved names included. */
export const reservedEvents: ReadonlySet<string> = new Set([
  ...Object.keys(clientEvents),
  "room_history",
  "new_message",
  "message_edited",
  "message_deleted",
  "membership_changed",
  "entry_erased",
  "entry",
  "user_joined",
  "user_left",
  "user_typing",
  "announcement",
  "room_gap",
  "room_closed",
  "token_expiring",
  "server_draining",
  "error",
  "presence",
  "read",
  "mark_read",
  "react",
  "edit_message",
  "delete_message",
  "parley:position",
  "connect",
  "connect_error",
  "connection",
  "disconnect",
  "disconnecting",
  "newListener",
  "removeListener",
]);

type Acknowledged<Fields> = ({ ok: true } & Fields) | { ok: false; error: Refusal };

/** Acknowledgement of each client event. */
export interface Acknowledgements {
  /** `epoch` and `seq`: the position from which entries follow. */
  join_room: Acknowledged<{ roomId: string; epoch: string; seq: number }>;
  leave_room: Acknowledged<{ roomId: string }>;
  send_message: Acknowledged<{ id: string; seq: number }>;
  /** Oldest first. `more`: messages lie beyond this page in the direction asked for. */
  room_history: Acknowledged<{ messages: readonly Message[]; head: number; epoch: string; more: boolean }>;
  typing: Acknowledged<object>;
  /** `users` is cut to `presenceListMax`; `count` is the whole. */
  presence: Acknowledged<{ roomId: string; users: readonly string[]; count: number }>;
  refresh_token: Acknowledged<{ expiresAt: string | null }>;
}

export type { Position };
