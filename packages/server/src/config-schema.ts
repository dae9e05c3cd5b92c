import { z } from "zod";

/** `development`: loopback only, kept secrets, an open demo room. `production`: refuses what would be unsafe. */
export type Mode = "development" | "production";

export interface SettingNotes {
  /** Never printed, never a flag: other users of the machine see a process's arguments. */
  readonly secret?: true;
  /** The default of development mode, where it differs. */
  readonly development?: string | number | boolean;
}

function setting<Schema extends z.ZodType>(schema: Schema, description: string, notes: SettingNotes = {}): Schema {
  return schema.meta({ description, ...notes });
}

const port = (fallback: number) => z.int().min(0).max(65_535).default(fallback);
const milliseconds = (fallback: number, min = 1, max = 2_147_483_647) => z.int().min(min).max(max).default(fallback);
// Why no more: these are waited for one after another by one timer, here or in the client, and what a timer cannot hold it
// does not wait for at all.
const addedMilliseconds = (fallback: number, min = 1) => milliseconds(fallback, min, 86_400_000);
const count = (fallback: number, max = 100_000_000) => z.int().min(1).max(max).default(fallback);
const bytes = (fallback: number, min: number) => z.int().min(min).max(1_073_741_824).default(fallback);
const perSecond = (fallback: number) => z.number().positive().max(1_000_000).default(fallback);

/** Algorithms that a token may be signed with. `none` is not among them and never will be. */
const tokenAlgorithms = [
  "HS256",
  "HS384",
  "HS512",
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
] as const;

function isOrigin(text: string): boolean {
  return text === "*" || (URL.canParse(text) && new URL(text).origin === text);
}

// Why a path is refused: channels belong to no database, and a number there would promise otherwise.
function isRedisUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, pathname, search, hash, username, password } = new URL(text);
  const named = /^rediss?:$/.test(protocol) && hostname !== "" && !/%(?![\da-f]{2})/i.test(username + password);
  return named && /^\/?0?$/.test(pathname) && search === "" && hash === "";
}

function isPostgresUrl(text: string): boolean {
  return URL.canParse(text) && /^postgres(ql)?:$/.test(new URL(text).protocol);
}

const serverSection = z.strictObject({
  port: setting(port(3000), "Public port: `/` and `/socket.io/` with all namespaces. 0 takes a free one."),
  host: setting(
    z.string().min(1).default("0.0.0.0"),
    "Address that the public port listens on. Development mode accepts a loopback address only.",
    { development: "127.0.0.1" },
  ),
  workers: setting(
    count(1, 64),
    "Processes that serve clients, on the one public port; above 1 each is a node, and one more process owns the embedded store and the internal port. Limits count per process. Linux, and other systems whose kernel spreads connections (`SO_REUSEPORT`).",
  ),
  shutdownTimeoutMs: setting(
    addedMilliseconds(10_000),
    "After SIGINT or SIGTERM: what has not finished by then is cut off. Commits under way are always finished.",
  ),
});

const internalSection = z.strictObject({
  port: setting(port(3001), "Internal port: admin page, API, metrics, health. 0 takes a free one."),
  host: setting(z.string().min(1).default("127.0.0.1"), "Address that the internal port listens on."),
});

const storeSection = z.strictObject({
  path: setting(
    z.string().min(1).default(".parley"),
    "Folder of the embedded store, relative to the working directory. One running node per folder.",
  ),
  url: setting(
    z.string().refine(isPostgresUrl, "no address like postgres://user:password@host:5432/database").optional(),
    "Postgres 15 or later, which any number of nodes share: `postgres://user:password@host:port/database`, with `?schema=` for another schema than `parley`, and libpq's `sslmode`. The schema is made and brought up to date by the node. Unset: the embedded store in `store.path`.",
    { secret: true },
  ),
});

const busSection = z.strictObject({
  url: setting(
    z
      .array(z.string().refine(isRedisUrl, "no address like redis://host:6379 or rediss://user:password@host:6379"))
      .max(100)
      .default([]),
    "Redis 7 or Valkey, by which several nodes tell each other what is new: `redis://host:port`, or `rediss://` for TLS. For Sentinel the sentinels, for Cluster some of its servers, separated by commas. Unset: this node is alone.",
    { secret: true },
  ),
  mode: setting(
    z.enum(["single", "sentinel", "cluster"]).default("single"),
    "What `bus.url` names: one Redis, sentinels, or servers of a Redis Cluster.",
  ),
  secret: setting(
    z.string().min(1).optional(),
    "Signs what nodes tell each other, so that nobody else who can reach Redis can; at least 32 bytes, the same on all nodes. Required with `bus.url`.",
    { secret: true },
  ),
  username: setting(z.string().min(1).optional(), "User at Redis, where the address names none."),
  password: setting(z.string().min(1).optional(), "Password at Redis, where the address has none.", { secret: true }),
  sentinelName: setting(z.string().min(1).default("mymaster"), "Name under which the sentinels know the master."),
  sentinelPassword: setting(z.string().min(1).optional(), "Password at the sentinels.", { secret: true }),
  tlsCaFile: setting(
    z.string().min(1).optional(),
    "File with the certificates (PEM) of those who signed the certificate of Redis. Unset: the well-known ones.",
  ),
  prefix: setting(
    z
      .string()
      .regex(/^[\w.:-]{1,64}$/, "has other characters than letters, digits, and . : _ -")
      .default("parley"),
    "Begins the name of every channel: two clusters of nodes on one Redis need two.",
  ),
});

const authSection = z.strictObject({
  secret: setting(
    z.string().min(1).optional(),
    "Shared secret of tokens signed with HS256, HS384 or HS512; at least 32 bytes. Development mode keeps a generated one in the store's folder.",
    { secret: true },
  ),
  jwksUrl: setting(
    z.url({ protocol: /^https?$/ }).optional(),
    "Where the public keys of your identity provider are (JWKS). HTTPS, or HTTP on a loopback address.",
  ),
  issuer: setting(z.string().min(1).optional(), "Required value of the token's `iss`. Unset: not checked."),
  audience: setting(z.string().min(1).optional(), "Value that the token's `aud` must contain. Unset: not checked."),
  algorithms: setting(
    z.array(z.enum(tokenAlgorithms)).min(1).default(["HS256", "RS256", "PS256", "ES256", "EdDSA"]),
    "Accepted signature algorithms. The HS ones are verified with the secret alone, the others with the JWKS alone.",
  ),
  clockToleranceSeconds: setting(
    z.int().min(0).max(600).default(5),
    "How far the clocks of issuer and server may differ when `exp`, `nbf` and `iat` are checked.",
  ),
  expiryRequired: setting(z.boolean().default(true), "Refuse tokens without `exp`."),
  userIdClaim: setting(
    z.string().min(1).default("sub"),
    "Claim that holds the user's id. A dot reaches into an object.",
  ),
  rolesClaim: setting(
    z.array(z.string().min(1)).min(1).max(10).default(["role", "roles"]),
    "Claims that hold the user's roles, as a text or a list of texts; all that exist count. A dot reaches into an object.",
  ),
  tenantClaim: setting(
    z.string().min(1).optional(),
    "Claim that holds the user's tenant; tokens without it are refused. Unset: everyone is in tenant `default`.",
  ),
  expiringNoticeMs: setting(milliseconds(60_000, 0), "How long before a token ends its client gets `token_expiring`."),
  authenticateTimeoutMs: setting(
    milliseconds(5_000),
    "Time for the app's own `authenticate` function, and for fetching the JWKS.",
  ),
  verifiedTokensMax: setting(
    count(100_000, 1_000_000),
    "Verified tokens remembered for some minutes, the newest half of so many at least, for storms of reconnects.",
  ),
});

const apiSection = z.strictObject({
  keys: setting(
    z.array(z.string().min(16, "an API key has at least 16 characters").max(512)).max(100).default([]),
    "Keys of the HTTP API. Without one the API refuses all. Development mode keeps a generated one in the store's folder.",
    { secret: true },
  ),
});

const limitsSection = z.strictObject({
  payloadBytesMax: setting(bytes(1_000_000, 1_024), "Bytes of one packet of a client, and of one HTTP body."),
  windowBytes: setting(bytes(262_144, 16_384), "Bytes written to a connection beyond its last answered ping."),
  roomsPerConnectionMax: setting(count(100, 100_000), "Rooms that one connection may have joined."),
  connectionsPerUserMax: setting(count(20), "Connections that one user may have on a node."),
  connectionsMax: setting(count(100_000), "Connections that a node takes."),
  eventsPerSecond: setting(perSecond(50), "Events that one connection may send per second, on average."),
  eventsBurst: setting(count(200), "Events that one connection may send at once."),
  userEventsPerSecond: setting(
    perSecond(100),
    "Events that all connections of one user may send per second, on average.",
  ),
  userEventsBurst: setting(count(400), "Events that all connections of one user may send at once."),
  pendingRequestsMax: setting(count(1_024, 1_000_000), "Requests of one connection that may wait at once."),
  tailBytesMax: setting(bytes(262_144, 65_536), "Bytes of recent entries that a node keeps ready per room."),
  catchUpMax: setting(count(100_000), "Entries that a returning client may be behind in a room before it starts over."),
  presenceListMax: setting(count(100, 10_000), "Users that presence lists by id; above it a count is given."),
  historyPageBytesMax: setting(bytes(65_536, 4_096), "Bytes of one page of history, about; at least one message."),
});

const heartbeatSection = z.strictObject({
  pingIntervalMs: setting(addedMilliseconds(25_000, 100), "Time between two pings of a connection."),
  pingTimeoutMs: setting(addedMilliseconds(20_000, 100), "Time for the answer to a ping."),
  connectTimeoutMs: setting(milliseconds(45_000, 100), "Time for a new connection to join its first namespace."),
  upgradeTimeoutMs: setting(milliseconds(10_000, 100), "Time for an upgrade from polling to WebSocket."),
});

const recoverySection = z.strictObject({
  maxDisconnectionDurationMs: setting(
    milliseconds(120_000, 0),
    "How long a connection that was lost may recover as the same socket (`socket.recovered`). 0 turns it off; positions still work.",
  ),
  detachedSessionsMax: setting(count(50_000), "Lost connections that a node keeps for their recovery."),
});

const accessSection = z.strictObject({
  accessTtlMs: setting(milliseconds(30_000, 0), "How long an answer of the access policy is kept."),
  accessTimeoutMs: setting(
    milliseconds(5_000),
    "Time for an answer of the access policy; after it: refused, retryable.",
  ),
  cacheMax: setting(count(100_000), "Answers of the access policy that a node keeps."),
});

const flushSection = z.strictObject({
  flushBudgetMs: setting(
    milliseconds(1),
    "Time for writing to sockets in one turn of the event loop; the rest follows in the next.",
  ),
});

const presenceSection = z.strictObject({
  leaveGraceMs: setting(milliseconds(5_000, 0), "Time in which a user's return is no leave (`user_left`)."),
});

const drainSection = z.strictObject({
  drainMs: setting(
    addedMilliseconds(10_000, 0),
    "After SIGTERM a node among others tells its clients to move, evenly over this time. A node that is alone stops at once.",
  ),
  moveMs: setting(
    addedMilliseconds(5_000, 0),
    "Time that a client has to move once it was told, before its connection is closed.",
  ),
});

const logSection = z.strictObject({
  level: setting(
    z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info"),
    "Least severity that is logged.",
  ),
  format: setting(z.enum(["json", "text"]).default("json"), "One JSON object or one line of text per event.", {
    development: "text",
  }),
});

/** Every setting: its bounds, its default and its documentation. */
export const configSchema = z.strictObject({
  server: serverSection,
  internal: internalSection,
  store: storeSection,
  bus: busSection,
  auth: authSection,
  origins: setting(
    z.array(z.string().refine(isOrigin, "no origin like https://app.example.com, nor *")).max(1_000).default([]),
    "Origins whose pages may connect, beside the server's own. `*` allows all. Development mode also allows localhost on any port.",
  ),
  api: apiSection,
  limits: limitsSection,
  heartbeat: heartbeatSection,
  recovery: recoverySection,
  access: accessSection,
  flush: flushSection,
  presence: presenceSection,
  drain: drainSection,
  clientIdKeepDays: setting(
    z.int().min(1).max(3_650).default(7),
    "Days for which a send that is repeated under its `clientId` is recognised.",
  ),
  log: logSection,
});

type DeepReadonly<Value> = Value extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : Value extends object
    ? { readonly [Key in keyof Value]: DeepReadonly<Value[Key]> }
    : Value;

type DeepPartial<Value> = Value extends readonly unknown[]
  ? Value
  : Value extends object
    ? { readonly [Key in keyof Value]?: DeepPartial<Value[Key]> | undefined }
    : Value;

/** What a node runs by; frozen. Milliseconds and bytes as the names say. */
export type Config = DeepReadonly<z.output<typeof configSchema>> & { readonly mode: Mode };

/** Settings as an embedding app or a test gives them: any of them, at any depth. */
export type ConfigOverrides = DeepPartial<DeepReadonly<z.input<typeof configSchema>>>;
