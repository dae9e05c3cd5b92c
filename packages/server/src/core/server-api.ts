import {
  bounds,
  clientIdSchema,
  eventNameSchema,
  jsonSchema,
  messageTextSchema,
  parse,
  type JsonValue,
  RefusalError,
  reservedEvents,
  roomIdSchema,
  userIdSchema,
} from "@parley/protocol";
import type { AppendEffect, Room } from "../store/store.ts";
import { newEntryId } from "./ids.ts";
import { announcementsRoom, defaultTenant, inboxOf, type LogId, logId, type LogState, roomOf } from "./log.ts";
import type { ParleyNode } from "./node.ts";
import type { Committed, NodeStatistics, Operations, RoomDescription } from "./operations.ts";

/** Who wrote an entry that no user wrote. */
const serverActor = "@server";
const pageDefault = 100;

/** The server-side API on a node: every argument is validated here, whoever calls. */
export function createOperations(node: ParleyNode): Operations {
  return {
    ...writes(node),
    ...rooms(node),
    ...users(node),
    statistics: () => statisticsOf(node),
  };
}

function writes(node: ParleyNode): Pick<Operations, "sendMessage" | "publish" | "notifyUser" | "announce"> {
  return {
    async sendMessage({ tenant = defaultTenant, roomId, userId, text, data, key }) {
      const log = await existingRoom(node, tenant, roomId);
      const fields = {
        text: parse(messageTextSchema, text, "text"),
        data: data === undefined ? undefined : parse(jsonSchema, data, "data"),
      };
      return commit(node, { log, type: "message", actor: parse(userIdSchema, userId, "userId"), fields, key });
    },
    async publish({ tenant = defaultTenant, roomId, event, data, key }) {
      const log = await existingRoom(node, tenant, roomId);
      return commit(node, { log, type: "event", actor: serverActor, fields: named(event, data), key });
    },
    async notifyUser({ tenant = defaultTenant, userId, event, data, key }) {
      const log = inboxOf(tenant, parse(userIdSchema, userId, "userId"));
      return commit(node, { log, type: "notification", actor: serverActor, fields: named(event, data), key });
    },
    async announce({ tenant = defaultTenant, message, by, key }) {
      const log = logId(tenant, announcementsRoom);
      const fields = { message: parse(jsonSchema, message, "message") };
      return commit(node, { log, type: "announcement", actor: by ?? serverActor, fields, key });
    },
  };
}

function rooms(
  node: ParleyNode,
): Pick<
  Operations,
  "putRoom" | "room" | "rooms" | "deleteRoom" | "setMembership" | "members" | "history" | "presence" | "accessChanged"
> {
  const { store } = node;
  return {
    async putRoom({ tenant = defaultTenant, roomId, access, retainEntriesMax }) {
      const log = logId(tenant, parse(roomIdSchema, roomId, "roomId"));
      const before = await store.room(log);
      await store.putRoom({
        log,
        access: access ?? before?.access ?? "members",
        retainEntriesMax: retainEntriesMax ?? before?.retainEntriesMax ?? 0,
        createdAt: node.clock.now(),
      });
      await node.control.announce({ kind: "room_changed", tenant, roomId });
      return describe(node, log);
    },
    room: async ({ tenant = defaultTenant, roomId }) => describe(node, await existingRoom(node, tenant, roomId)),
    async rooms({ tenant = defaultTenant, after = "", limit = pageDefault }) {
      const found = await store.rooms(tenant, after, limit);
      const states = await store.states(found.map(({ log }) => log));
      return found.map((room, index) => description(room, states[index]));
    },
    async deleteRoom({ tenant = defaultTenant, roomId }) {
      const log = await existingRoom(node, tenant, roomId);
      await store.deleteRoom(log);
      await node.control.announce({ kind: "room_deleted", tenant, roomId });
    },
    setMembership: (change) => setMembership(node, change),
    async members({ tenant = defaultTenant, roomId, after = "", limit = pageDefault }) {
      const members = await store.members(await existingRoom(node, tenant, roomId), after, limit);
      return members.map(({ userId, role }) => ({ userId, role }));
    },
    async history({ tenant = defaultTenant, roomId, before, after, limit = 50 }) {
      await existingRoom(node, tenant, roomId);
      const { bytes: _, ...page } = await node.rooms.pages.range(tenant, { roomId, before, after, limit });
      return page;
    },
    presence: async ({ tenant = defaultTenant, roomId }) => node.presence.in(await existingRoom(node, tenant, roomId)),
    async accessChanged({ tenant = defaultTenant, userId, roomId }) {
      await node.control.announce({
        kind: "access_changed",
        tenant,
        userId: parse(userIdSchema, userId, "userId"),
        roomId: roomId === undefined ? null : parse(roomIdSchema, roomId, "roomId"),
      });
    },
  };
}

async function setMembership(
  node: ParleyNode,
  { tenant = defaultTenant, roomId, userId, role, key }: Parameters<Operations["setMembership"]>[0],
): Promise<Committed> {
  const log = await existingRoom(node, tenant, roomId);
  const change = { userId: parse(userIdSchema, userId, "userId"), role };
  const told = { kind: "access_changed", tenant, userId: change.userId, roomId } as const;
  const write = async (): Promise<Committed> => {
    const effect = { kind: "membership", ...change } as const;
    const committed = await commit(node, { log, type: "membership", actor: serverActor, fields: change, key, effect });
    node.control.act(told);
    return committed;
  };
  // Why at once: both are appended in one turn, so that no crash comes between them.
  const [committed] = await Promise.all([write(), node.control.tell(told)]);
  return committed;
}

function users(node: ParleyNode): Pick<Operations, "disconnectUser" | "revokeUser" | "unbanUser"> {
  return {
    async disconnectUser({ tenant = defaultTenant, userId }) {
      return disconnect(node, tenant, parse(userIdSchema, userId, "userId"), false);
    },
    async revokeUser({ tenant = defaultTenant, userId, banned = false }) {
      const issuedBefore = Math.floor(node.clock.now() / 1_000) + 1;
      await node.store.putRevocation({ tenant, userId: parse(userIdSchema, userId, "userId"), issuedBefore, banned });
      return disconnect(node, tenant, userId, true);
    },
    async unbanUser({ tenant = defaultTenant, userId }) {
      const id = parse(userIdSchema, userId, "userId");
      // Why no question first: what was revoked before stays so, whatever is written here.
      await node.store.putRevocation({ tenant, userId: id, issuedBefore: 0, banned: false });
    },
  };
}

function disconnect(node: ParleyNode, tenant: string, userId: string, forGood: boolean): Promise<number> {
  return node.control.announce({ kind: "user_disconnected", tenant, userId, forGood });
}

interface ServerAppend {
  readonly log: LogId;
  readonly type: string;
  readonly actor: string;
  /** `data` of the entry. */
  readonly fields: object;
  /** Under which it is committed once. */
  readonly key: string | undefined;
  readonly effect?: AppendEffect;
}

async function commit(node: ParleyNode, { log, type, actor, fields, key, effect }: ServerAppend): Promise<Committed> {
  const data = JSON.stringify(fields);
  if (Buffer.byteLength(data) > bounds.entryBytes)
    throw new RefusalError("payload_too_large", `an entry has at most ${bounds.entryBytes} bytes`);
  const clientId = key === undefined ? null : parse(clientIdSchema, key, "key");
  const appended = await node.sequencer.append({
    log,
    id: newEntryId(),
    type,
    actor,
    at: node.clock.now(),
    v: 1,
    data,
    clientId,
    effect: effect ?? null,
  });
  return { id: appended.id, seq: appended.seq, repeat: appended.repeat };
}

function named(event: string, data: JsonValue): { event: string; data: JsonValue } {
  const name = parse(eventNameSchema, event, "event");
  if (reservedEvents.has(name))
    throw new RefusalError(
      "reserved_event",
      `${JSON.stringify(name)} is an event of Parley or Socket.IO; choose another name`,
    );
  return { event: name, data: parse(jsonSchema, data, "data") };
}

async function existingRoom(node: ParleyNode, tenant: string, roomId: string): Promise<LogId> {
  const log = logId(tenant, parse(roomIdSchema, roomId, "roomId"));
  if (!node.access.namesRooms && !node.openRooms.has(log) && (await node.store.room(log)) === undefined) {
    throw new RefusalError(
      "not_found",
      `there is no room ${JSON.stringify(roomId)}; create it with PUT /api/v1/rooms/{roomId} or parley room create`,
    );
  }
  return log;
}

async function describe(node: ParleyNode, log: LogId): Promise<RoomDescription> {
  const [room, [state]] = await Promise.all([node.store.room(log), node.store.states([log])]);
  return description(room ?? { log, access: "public", retainEntriesMax: 0, createdAt: 0 }, state);
}

function description(room: Room, state: LogState | undefined): RoomDescription {
  return {
    roomId: roomOf(room.log),
    access: room.access,
    retainEntriesMax: room.retainEntriesMax,
    head: state?.head ?? 0,
    floor: state?.floor ?? 1,
    epoch: state?.epoch ?? "",
    createdAt: new Date(room.createdAt).toISOString(),
  };
}

function statisticsOf(node: ParleyNode): NodeStatistics {
  let subscribers = 0;
  for (const feed of node.feeds.all()) subscribers += feed.subscribers.length;
  return {
    node: node.id,
    uptimeSeconds: Math.round((node.clock.now() - node.startedAt) / 1_000),
    connections: node.sessions.connected.size,
    sockets: node.sessions.connected.size,
    users: node.sessions.userCount,
    feeds: node.feeds.size,
    subscribers,
    detachedSessions: node.sessions.detachedCount,
    appendedTotal: node.sequencer.appendedTotal,
    deliveredTotal: node.counts.deliveredTotal,
  };
}
