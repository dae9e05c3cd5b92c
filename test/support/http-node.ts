import { mkdir, writeFile } from "node:fs/promises";
import type { Server } from "node:http";
import path from "node:path";
import { type ConfigOverrides, type Mode, resolveConfig } from "../../packages/server/src/config.ts";
import { systemClock } from "../../packages/server/src/core/clock.ts";
import type { Operations } from "../../packages/server/src/core/operations.ts";
import { createAdminSessions } from "../../packages/server/src/gateway/admin-session.ts";
import { createMetrics } from "../../packages/server/src/http/metrics.ts";
import { startHttp } from "../../packages/server/src/http/server.ts";
import { createLog } from "../../packages/server/src/log.ts";
import { createTemporaryFolder } from "./temporary-folder.ts";

const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
/** An API key of the node. */
export const key = "test-key-0123456789";

export const committed = { id: "m1", seq: 7, repeat: false };
export const description = {
  roomId: "r",
  access: "public",
  retainEntriesMax: 0,
  head: 7,
  floor: 1,
  epoch: "e1",
  createdAt: "2026-01-01T00:00:00.000Z",
} as const;
export const statistics = {
  node: "n1",
  uptimeSeconds: 1,
  connections: 3,
  sockets: 4,
  users: 2,
  feeds: 1,
  subscribers: 5,
  detachedSessions: 0,
  appendedTotal: 7,
  deliveredTotal: 21,
};

/** Stands for core: notes each call, and answers as it is told. */
function createOperations() {
  const calls: [string, unknown][] = [];
  let failure: Error | undefined;
  const answer =
    <Value>(name: string, value: Value) =>
    async (argument: unknown): Promise<Value> => {
      calls.push([name, argument]);
      if (failure !== undefined) throw failure;
      return value;
    };
  const operations: Operations = {
    sendMessage: answer("sendMessage", committed),
    publish: answer("publish", committed),
    notifyUser: answer("notifyUser", committed),
    announce: answer("announce", committed),
    putRoom: answer("putRoom", description),
    room: answer("room", description),
    rooms: answer("rooms", [description]),
    deleteRoom: answer("deleteRoom", undefined),
    setMembership: answer("setMembership", committed),
    members: answer("members", [{ userId: "ann", role: "member" as const }]),
    history: answer("history", { messages: [], head: 7, epoch: "e1", more: false }),
    presence: answer("presence", { users: ["ann"], count: 1 }),
    disconnectUser: answer("disconnectUser", 2),
    revokeUser: answer("revokeUser", 1),
    unbanUser: answer("unbanUser", undefined),
    accessChanged: answer("accessChanged", undefined),
    statistics: () => statistics,
  };
  return { operations, calls, fail: (error: Error | undefined) => (failure = error) };
}

/** A request to the internal port. A body that is a text is sent as it is, others as JSON. `key` null: none. */
export interface Call {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly key?: string | null;
}

async function send(url: string, { method = "GET", body, headers = {}, key: callKey = key }: Call) {
  const response = await fetch(url, {
    method,
    headers: {
      ...(callKey === null ? {} : { authorization: `Bearer ${callKey}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const json: unknown = text === "" ? undefined : JSON.parse(text);
  return { status: response.status, json, headers: response.headers };
}

const pages = ["index.html", "admin.html", "assets/app-1234.js", "icon.svg"];

export interface HttpNodeOptions {
  readonly overrides?: ConfigOverrides;
  readonly mode?: Mode;
}

export type HttpNode = Awaited<ReturnType<typeof startHttpNode>>;

/** Both HTTP ports on free ones, over a core and pages that are stand-ins. */
export async function startHttpNode({ overrides = {}, mode = "development" }: HttpNodeOptions = {}) {
  await using opening = new AsyncDisposableStack();
  const folder = opening.use(await createTemporaryFolder());
  await mkdir(path.join(folder.path, "web", "assets"), { recursive: true });
  for (const name of pages) await writeFile(path.join(folder.path, "web", name), `content of ${name}`);
  const config = resolveConfig({
    mode,
    overrides: {
      ...overrides,
      server: { port: 0, host: "127.0.0.1", ...overrides.server },
      internal: { port: 0, ...overrides.internal },
      store: { path: folder.path },
      auth: { secret },
      api: { keys: [key, "another-key-0123456789"], ...overrides.api },
    },
  });
  const core = createOperations();
  const lines: string[] = [];
  const attached: Server[] = [];
  const metrics = opening.adopt(createMetrics("1.2.3"), (opened) => opened.close());
  metrics.follow(() => core.operations.statistics());
  const adminSessions = createAdminSessions(secret, systemClock);
  let unready: string | undefined;
  const servers = await startHttp({
    config,
    clock: systemClock,
    log: createLog({ level: "info", format: "json" }, (line) => lines.push(line)),
    metrics,
    operations: core.operations,
    adminSessions,
    version: "1.2.3",
    attachPublic: (server) => attached.push(server),
    attachInternal: (server) => attached.push(server),
    readiness: async () => (unready === undefined ? { ready: true } : { ready: false, reason: unready }),
    webFolder: path.join(folder.path, "web"),
  });
  opening.use(servers);
  const opened = opening.move();
  return {
    ...core,
    config,
    folder: folder.path,
    publicUrl: servers.public.url,
    internalUrl: servers.internal.url,
    /** Lines of the log. */
    lines,
    attached,
    metrics,
    adminSessions,
    setUnready: (reason: string) => (unready = reason),
    call: (route: string, options: Call = {}) => send(`${servers.internal.url}${route}`, options),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
