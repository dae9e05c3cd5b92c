import { randomBytes } from "node:crypto";
import type { Config } from "./config-schema.ts";

const secretBytesMin = 32;

// Parts of secrets that stand in documentation, tutorials and templates; compared without case and separators.
const sampleSecrets = [
  "changeme",
  "changethis",
  "replaceme",
  "placeholder",
  "yoursecret",
  "yourjwtsecret",
  "your256bitsecret",
  "mysecret",
  "supersecret",
  "topsecret",
  "secretkey",
  "secretatleast",
  "stringsecret",
  "keyboardcat",
  "password",
  "insecure",
  "donotuse",
  "forlocaldevelopment",
  "0123456789abcdef",
  "abcdefghijklmnop",
];

/** What would make it unsafe or impossible to start a node; each problem names its setting. */
export function configProblems(config: Config, ownAuthentication: boolean): readonly string[] {
  return [
    ...portProblems(config),
    ...tokenProblems(config),
    ...busProblems(config),
    ...(config.mode === "development" ? hostProblems(config) : productionProblems(config, ownAuthentication)),
  ];
}

function portProblems({ server, internal }: Config): readonly string[] {
  if (server.port === 0 || server.port !== internal.port) return [];
  return [`server.port and internal.port are both ${server.port}: set PARLEY_SERVER_PORT or PARLEY_INTERNAL_PORT`];
}

// Why: development mode hands tokens to whoever asks, and opens a room to everyone.
function hostProblems({ server, internal }: Config): readonly string[] {
  return [
    { name: "server.host", variable: "PARLEY_SERVER_HOST", host: server.host },
    { name: "internal.host", variable: "PARLEY_INTERNAL_HOST", host: internal.host },
  ].flatMap(({ name, variable, host }) =>
    isLoopback(host)
      ? []
      : [
          `${name} is ${host}, but development mode listens on 127.0.0.1 only: unset ${variable}, or use \`parley start\``,
        ],
  );
}

function tokenProblems({ auth }: Config): readonly string[] {
  const problems: string[] = [];
  if (auth.jwksUrl !== undefined && !isSafeKeySource(auth.jwksUrl)) {
    problems.push(
      "auth.jwksUrl is neither HTTPS nor on a loopback address: set PARLEY_AUTH_JWKS_URL to an https:// address",
    );
  }
  if (auth.jwksUrl !== undefined && auth.algorithms.every(isSymmetric)) {
    problems.push("auth.algorithms has none that a JWKS can verify: add RS256 or ES256 to PARLEY_AUTH_ALGORITHMS");
  }
  if (auth.secret !== undefined && !auth.algorithms.some(isSymmetric)) {
    problems.push(
      "auth.algorithms has none that auth.secret can verify: add HS256 to PARLEY_AUTH_ALGORITHMS, or unset PARLEY_AUTH_SECRET",
    );
  }
  return problems;
}

function busProblems({ bus, store, mode }: Config): readonly string[] {
  if (bus.url.length === 0) return [];
  const problems: string[] = [];
  // Why: nodes that do not share a store have nothing to tell each other, and their users would not meet.
  if (store.url === undefined) {
    problems.push(
      "bus.url is set, but every node has a store of its own: set PARLEY_STORE_URL to a Postgres that all share, or unset PARLEY_BUS_URL",
    );
  }
  const weakness = bus.secret === undefined ? "is not set" : secretWeakness(bus.secret);
  if (weakness !== undefined && (bus.secret === undefined || mode === "production")) {
    problems.push(`bus.secret ${weakness}. All nodes need the same. ${offer("PARLEY_BUS_SECRET")}`);
  }
  if (bus.mode === "single" && bus.url.length > 1) {
    problems.push("bus.url names several servers: set PARLEY_BUS_MODE to sentinel or cluster, or name one");
  }
  if (new Set(bus.url.map((url) => new URL(url).protocol)).size > 1) {
    problems.push("bus.url has redis:// and rediss:// addresses: make all of PARLEY_BUS_URL of one kind");
  }
  return problems;
}

function productionProblems({ auth, api }: Config, ownAuthentication: boolean): readonly string[] {
  const problems: string[] = [];
  if (auth.secret === undefined) {
    if (auth.jwksUrl === undefined && !ownAuthentication) {
      problems.push(
        `auth.secret is not set. Production mode needs a secret of its own, or auth.jwksUrl (PARLEY_AUTH_JWKS_URL). ${offer("PARLEY_AUTH_SECRET")}`,
      );
    }
  } else {
    const weakness = secretWeakness(auth.secret);
    if (weakness !== undefined) problems.push(`auth.secret ${weakness}. ${offer("PARLEY_AUTH_SECRET")}`);
  }
  if (api.keys.some((key) => looksLikeSample(key) || distinctCharacters(key) < 8)) {
    problems.push(`api.keys has one that is easy to guess. ${offer("PARLEY_API_KEYS")}`);
  }
  return problems;
}

function offer(variable: string): string {
  return `This one was generated just now:\n  ${variable}=${randomBytes(48).toString("base64url")}`;
}

/** Why a secret is too weak for production; undefined when it is not. */
export function secretWeakness(secret: string): string | undefined {
  const size = Buffer.byteLength(secret);
  if (size < secretBytesMin) return `has ${size} bytes; production mode needs at least ${secretBytesMin}`;
  if (looksLikeSample(secret)) return "is a sample from a tutorial or template";
  if (distinctCharacters(secret) < 10) return "repeats a few characters";
  return undefined;
}

function looksLikeSample(secret: string): boolean {
  const plain = secret.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
  return sampleSecrets.some((sample) => plain.includes(sample));
}

function distinctCharacters(text: string): number {
  return new Set(text).size;
}

export function isSymmetric(algorithm: string): boolean {
  return algorithm.startsWith("HS");
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

function isSafeKeySource(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === "https:" || (protocol === "http:" && isLoopback(hostname));
}
