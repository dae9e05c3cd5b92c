import {
  httpBodies,
  httpQueries,
  roleSchema,
  roomAccessSchema,
  roomDescriptionSchema,
  roomIdSchema,
  userIdSchema,
} from "@parley/protocol";
import { z } from "zod";
import type { Operations } from "../core/operations.ts";
import { tenantSchema } from "../gateway/token-claims.ts";
import { type ApiRoute, defineRoute, noBody } from "./api-route.ts";

const tenant = { tenant: tenantSchema.optional() };
const tenantQuery = z.strictObject(tenant);
const pageQuery = httpQueries.page.extend(tenant);
const noParams = z.strictObject({});
const roomParams = z.strictObject({ room: roomIdSchema });
const memberParams = z.strictObject({ room: roomIdSchema, user: userIdSchema });
const userParams = z.strictObject({ user: userIdSchema });

const committed = z.object({ id: z.string(), seq: z.int(), roomId: z.string().optional(), repeat: z.boolean() });
const historyPage = z.object({
  messages: z.array(z.looseObject({ id: z.string(), seq: z.int(), userId: z.string(), text: z.string() })),
  head: z.int(),
  epoch: z.string(),
  more: z.boolean(),
});
const nextName = z.string().nullable().describe("Give it as `after` for the next page; null at the end");
const connections = z.object({ connections: z.int().describe("Connections that were ended") });

/** Every route of the API, as a thin layer over `operations`. */
export function apiRoutes(operations: Operations): readonly ApiRoute[] {
  const groups = [writeRoutes, roomRoutes, roomContentRoutes, memberRoutes, userRoutes];
  return groups.flatMap((routes) => routes(operations));
}

function writeRoutes(operations: Operations): readonly ApiRoute[] {
  const write = { method: "POST", tag: "messages", query: tenantQuery, idempotent: true, answer: committed } as const;
  return [
    defineRoute({
      ...write,
      path: "/rooms/:room/publish",
      summary: "Append an event of the app's own to a room",
      params: roomParams,
      body: httpBodies.publish,
      handle: ({ params, query, body, idempotency }) =>
        operations.publish({ ...given(query), roomId: params.room, ...body, ...idempotency }),
    }),
    defineRoute({
      ...write,
      path: "/rooms/:room/messages",
      summary: "Send a message into a room in the name of a user",
      params: roomParams,
      body: httpBodies.message,
      handle: ({ params, query, body: { userId, text, data }, idempotency }) =>
        operations.sendMessage({ ...given({ ...query, data }), roomId: params.room, userId, text, ...idempotency }),
    }),
    defineRoute({
      ...write,
      path: "/users/:user/notify",
      summary: "Notify a user, also one who is away",
      params: userParams,
      body: httpBodies.notify,
      handle: ({ params, query, body, idempotency }) =>
        operations.notifyUser({ ...given(query), userId: params.user, ...body, ...idempotency }),
    }),
    defineRoute({
      ...write,
      path: "/announce",
      summary: "Announce to every client",
      params: noParams,
      body: httpBodies.announce,
      handle: ({ query, body, idempotency }) => operations.announce({ ...given(query), ...body, ...idempotency }),
    }),
  ];
}

function roomRoutes(operations: Operations): readonly ApiRoute[] {
  const one = { tag: "rooms", path: "/rooms/:room", params: roomParams, query: tenantQuery } as const;
  return [
    defineRoute({
      ...one,
      method: "PUT",
      summary: "Create a room, or change its settings",
      body: z
        .strictObject({
          access: roomAccessSchema.optional(),
          retainEntriesMax: httpBodies.room.shape.retainEntriesMax.unwrap().optional(),
        })
        .nullish(),
      answer: roomDescriptionSchema,
      handle: ({ params, query, body }) => operations.putRoom({ ...given({ ...query, ...body }), roomId: params.room }),
    }),
    defineRoute({
      ...one,
      method: "GET",
      summary: "Describe a room",
      body: noBody,
      answer: roomDescriptionSchema,
      handle: ({ params, query }) => operations.room({ ...given(query), roomId: params.room }),
    }),
    defineRoute({
      ...one,
      method: "DELETE",
      summary: "Delete a room with all that is in it",
      body: noBody,
      answer: null,
      handle: ({ params, query }) => operations.deleteRoom({ ...given(query), roomId: params.room }),
    }),
    defineRoute({
      method: "GET",
      tag: "rooms",
      path: "/rooms",
      summary: "List rooms by name",
      params: noParams,
      query: pageQuery,
      body: noBody,
      answer: z.object({ rooms: z.array(roomDescriptionSchema), next: nextName }),
      async handle({ query }) {
        const rooms = await operations.rooms(given(query));
        return { rooms, next: rooms.length < query.limit ? null : (rooms.at(-1)?.roomId ?? null) };
      },
    }),
  ];
}

function roomContentRoutes(operations: Operations): readonly ApiRoute[] {
  const read = { method: "GET", tag: "rooms", params: roomParams, body: noBody } as const;
  return [
    defineRoute({
      ...read,
      path: "/rooms/:room/history",
      summary: "Read messages, oldest first",
      query: httpQueries.history
        .extend(tenant)
        .refine(({ before, after }) => before === undefined || after === undefined, "give before or after, not both"),
      answer: historyPage,
      handle: ({ params, query }) => operations.history({ ...given(query), roomId: params.room }),
    }),
    defineRoute({
      ...read,
      path: "/rooms/:room/presence",
      summary: "Say who is in a room",
      query: tenantQuery,
      answer: z.object({ users: z.array(z.string()), count: z.int() }),
      handle: ({ params, query }) => operations.presence({ ...given(query), roomId: params.room }),
    }),
  ];
}

function memberRoutes(operations: Operations): readonly ApiRoute[] {
  const one = { tag: "members", path: "/rooms/:room/members/:user", params: memberParams, query: tenantQuery } as const;
  return [
    defineRoute({
      ...one,
      method: "PUT",
      summary: "Make a user a member of a room, or change the role",
      body: httpBodies.membership,
      idempotent: true,
      answer: committed,
      handle: ({ params, query, body, idempotency }) =>
        operations.setMembership({
          ...given(query),
          roomId: params.room,
          userId: params.user,
          role: body.role,
          ...idempotency,
        }),
    }),
    defineRoute({
      ...one,
      method: "DELETE",
      summary: "End a membership, and delivery with it",
      body: noBody,
      idempotent: true,
      answer: committed,
      handle: ({ params, query, idempotency }) =>
        operations.setMembership({
          ...given(query),
          roomId: params.room,
          userId: params.user,
          role: null,
          ...idempotency,
        }),
    }),
    defineRoute({
      method: "GET",
      tag: "members",
      path: "/rooms/:room/members",
      summary: "List the members of a room by id",
      params: roomParams,
      query: pageQuery,
      body: noBody,
      answer: z.object({ members: z.array(z.object({ userId: z.string(), role: roleSchema })), next: nextName }),
      async handle({ params, query }) {
        const members = await operations.members({ ...given(query), roomId: params.room });
        return { members, next: members.length < query.limit ? null : (members.at(-1)?.userId ?? null) };
      },
    }),
  ];
}

function userRoutes(operations: Operations): readonly ApiRoute[] {
  const one = { method: "POST", tag: "users", params: userParams, query: tenantQuery } as const;
  return [
    defineRoute({
      ...one,
      path: "/users/:user/disconnect",
      summary: "End a user's connections; clients come back by themselves",
      body: noBody,
      answer: connections,
      handle: async ({ params, query }) => ({
        connections: await operations.disconnectUser({ ...given(query), userId: params.user }),
      }),
    }),
    defineRoute({
      ...one,
      path: "/users/:user/revoke",
      summary: "End all tokens of a user that were issued until now; `banned` refuses newer ones, too",
      body: z.strictObject({ banned: z.boolean().optional() }).nullish(),
      answer: connections,
      handle: async ({ params, query, body }) => ({
        connections: await operations.revokeUser({ ...given({ ...query, ...body }), userId: params.user }),
      }),
    }),
    defineRoute({
      ...one,
      path: "/users/:user/unban",
      summary: "End a ban; tokens from before it stay revoked",
      body: noBody,
      answer: null,
      handle: ({ params, query }) => operations.unbanUser({ ...given(query), userId: params.user }),
    }),
    defineRoute({
      ...one,
      path: "/users/:user/access-changed",
      summary: "Ask the app's own policy again about a user (and a room)",
      body: z.strictObject({ roomId: roomIdSchema.optional() }).nullish(),
      answer: null,
      handle: ({ params, query, body }) =>
        operations.accessChanged({ ...given({ ...query, ...body }), userId: params.user }),
    }),
    defineRoute({
      method: "GET",
      tag: "node",
      path: "/statistics",
      summary: "Figures of the node that answers",
      params: noParams,
      query: noParams,
      body: noBody,
      answer: z.looseObject({ node: z.string(), uptimeSeconds: z.number(), connections: z.int() }),
      handle: () => operations.statistics(),
    }),
  ];
}

type Given<Values> = { [Key in keyof Values]: Exclude<Values[Key], undefined> };

/** Without the fields that are undefined: operations tell a missing field from an undefined one. */
function given<Values extends object>(values: Values): Partial<Given<Values>> {
  const result: Partial<Given<Values>> = { ...values };
  for (const key in result) if (result[key] === undefined) delete result[key];
  return result;
}
