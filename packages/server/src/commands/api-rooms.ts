import { type ErrorCode, errorCodes, RefusalError, roomDescriptionSchema } from "@parley/protocol";
import { z } from "zod";
import type { Operations } from "../core/operations.ts";

export type RoomOperations = Pick<Operations, "putRoom" | "rooms" | "deleteRoom">;

/** Nothing answers at the address. */
export class NoNode extends Error {
  override readonly name = "NoNode";
}

const pageSchema = z.object({ rooms: z.array(roomDescriptionSchema) });
const codes = Object.keys(errorCodes);
const refusalSchema = z.object({
  error: z.object({ code: z.custom<ErrorCode>((code) => codes.includes(String(code))), message: z.string() }),
});

const timeoutMs = 10_000;

/**
 * The operations on rooms of a running node, over its HTTP API.
 * Errors: reject with `RefusalError`, or `NoNode` when nothing answers there.
 */
export function remoteRooms(url: string, key: string): RoomOperations {
  const call = (method: string, route: string, query: object, body?: object) =>
    request(url, key, { method, route, query, body });
  return {
    async putRoom({ tenant, roomId, ...settings }) {
      return roomDescriptionSchema.parse(
        await call("PUT", `/rooms/${encodeURIComponent(roomId)}`, { tenant }, settings),
      );
    },
    async rooms({ tenant, after, limit }) {
      return pageSchema.parse(await call("GET", "/rooms", { tenant, after, limit })).rooms;
    },
    async deleteRoom({ tenant, roomId }) {
      await call("DELETE", `/rooms/${encodeURIComponent(roomId)}`, { tenant });
    },
  };
}

interface ApiRequest {
  readonly method: string;
  readonly route: string;
  readonly query: object;
  readonly body: object | undefined;
}

async function request(url: string, key: string, { method, route, query, body }: ApiRequest): Promise<unknown> {
  const address = new URL(`/api/v1${route}`, url);
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) address.searchParams.set(name, String(value));
  const response = await fetch(address, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { "content-type": "application/json" }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(timeoutMs),
  }).catch((error: unknown) => {
    throw new NoNode(`nothing answers at ${url}`, { cause: error });
  });
  const text = await response.text();
  if (response.ok) return text === "" ? undefined : JSON.parse(text);
  const refusal = refusalSchema.safeParse(parseJson(text));
  if (!refusal.success) throw new NoNode(`what answers at ${url} is no Parley node (status ${response.status})`);
  throw new RefusalError(refusal.data.error.code, refusal.data.error.message);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
