import { expect, test } from "vitest";
import { ConfigError, type ConfigSources, explainConfig, resolveConfig } from "./config.ts";
import { listSettings } from "./config-settings.ts";

/** What a timer holds, here and in a client. */
const timerMsMax = 2 ** 31 - 1;
const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";

function problemsOf(sources: ConfigSources): readonly string[] {
  try {
    resolveConfig(sources);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

test("flags outrank the environment, which outranks the file, which outranks the defaults", () => {
  const file = {
    name: "parley.config.json",
    content: { server: { port: 1 }, internal: { port: 2 }, limits: { catchUpMax: 3 } },
  };
  const env = { PARLEY_SERVER_PORT: "11", PARLEY_INTERNAL_PORT: "12" };
  const config = resolveConfig({ mode: "development", file, env, flags: { "server-port": "21" } });
  expect(config.server.port).toBe(21);
  expect(config.internal.port).toBe(12);
  expect(config.limits.catchUpMax).toBe(3);
  expect(config.limits.windowBytes).toBe(262_144);
  const overridden = resolveConfig({ mode: "development", env, overrides: { server: { port: 31 } } });
  expect(overridden.server.port).toBe(31);
});

test("each value says where it comes from", () => {
  const { settings } = explainConfig({
    mode: "development",
    env: { PARLEY_ORIGINS: "https://a.example, https://b.example" },
  });
  const sources = new Map(settings.map(({ setting, value, source }) => [setting.name, { value, source }]));
  expect(sources.get("origins")).toEqual({
    value: ["https://a.example", "https://b.example"],
    source: "the environment",
  });
  expect(sources.get("server.host")).toEqual({ value: "127.0.0.1", source: "development mode" });
  expect(sources.get("server.port")).toEqual({ value: 3000, source: "default" });
});

test("the configuration cannot be changed after it was made", () => {
  const config = resolveConfig({ mode: "development" });
  expect(Object.isFrozen(config.auth.algorithms)).toBe(true);
  expect(Object.isFrozen(config.limits)).toBe(true);
});

test.each([
  [{ env: { PARLEY_SERVER_PRT: "1" } }, "PARLEY_SERVER_PRT is no setting; did you mean PARLEY_SERVER_PORT?"],
  [{ env: { PARLEY_LIMITS_WINDOW: "1" } }, "did you mean PARLEY_LIMITS_WINDOW_BYTES?"],
  [{ flags: { prt: "1" } }, "--prt is no setting; did you mean --server-port?"],
  [{ flags: { "auth-secret": secret } }, "--auth-secret is no setting"],
  [
    { file: { name: "c.json", content: { server: { prt: 1 } } } },
    "server.prt in c.json is no setting; did you mean server.port?",
  ],
  [{ file: { name: "c.json", content: { autth: {} } } }, "autth in c.json is no setting; did you mean auth?"],
  [
    { file: { name: "c.json", content: JSON.parse('{"__proto__": {"port": 1}}') } },
    "__proto__ in c.json is no setting",
  ],
  [{ file: { name: "c.json", content: [] } }, "c.json holds no JSON object"],
  [{ file: { name: "c.json", content: { server: 3000 } } }, "server in c.json is no setting"],
])("an unknown name is an error that names the nearest: %j", (sources, message) => {
  expect(problemsOf({ mode: "development", ...sources })).toEqual([expect.stringContaining(message)]);
});

test.each([
  [{ PARLEY_SERVER_PORT: "abc" }, 'PARLEY_SERVER_PORT (server.port): "abc" is no whole number'],
  [{ PARLEY_SERVER_PORT: "65536" }, "set it as PARLEY_SERVER_PORT"],
  [{ PARLEY_LIMITS_EVENTS_PER_SECOND: "fast" }, '"fast" is no number'],
  [{ PARLEY_AUTH_EXPIRY_REQUIRED: "yes" }, "neither true nor false"],
  [{ PARLEY_AUTH_ALGORITHMS: "HS256,none" }, "set it as PARLEY_AUTH_ALGORITHMS"],
  [{ PARLEY_ORIGINS: "app.example.com" }, "no origin like https://app.example.com"],
  [{ PARLEY_ORIGINS: "https://app.example.com/path" }, "no origin like https://app.example.com"],
  [{ PARLEY_AUTH_JWKS_URL: "file:///etc/passwd" }, "set it as PARLEY_AUTH_JWKS_URL"],
  [{ PARLEY_AUTH_JWKS_URL: "http://idp.example/keys" }, "neither HTTPS nor on a loopback address"],
  [{ PARLEY_INTERNAL_PORT: "3000" }, "PARLEY_INTERNAL_PORT"],
  [{ PARLEY_AUTH_ALGORITHMS: "RS256", PARLEY_AUTH_SECRET: secret }, "add HS256 to PARLEY_AUTH_ALGORITHMS"],
  [{ PARLEY_AUTH_ALGORITHMS: "HS256", PARLEY_AUTH_JWKS_URL: "https://idp.example/keys" }, "add RS256 or ES256"],
  [{ PARLEY_API_KEYS: "short" }, "set it as PARLEY_API_KEYS"],
])("a bad value is an error that names its setting: %j", (env, message) => {
  expect(problemsOf({ mode: "development", env }).join("\n")).toContain(message);
});

test("a secret never stands in a message", () => {
  for (const sources of [
    { env: { PARLEY_AUTH_SECRET: "hunter2-hunter2" } },
    { env: { PARLEY_AUTH_SECRET: secret, PARLEY_API_KEYS: "hunter2" } },
  ]) {
    const problems = problemsOf(sources).join("\n");
    expect(problems).not.toBe("");
    expect(problems).not.toContain("hunter2");
  }
});

test("an empty variable counts as unset, and others than PARLEY_ are not looked at", () => {
  expect(
    problemsOf({
      mode: "development",
      env: { PARLEY_SERVER_PORT: "", PATH: "/bin", PARLEYVU: "1", PARLEY_CONFIG: "x.json" },
    }),
  ).toEqual([]);
});

test("variables that Kubernetes sets for a service called parley are no settings", () => {
  const env = {
    PARLEY_SERVICE_HOST: "10.0.0.1",
    PARLEY_SERVICE_PORT: "3000",
    PARLEY_SERVICE_PORT_HTTP: "3000",
    PARLEY_PORT: "tcp://10.0.0.1:3000",
    PARLEY_PORT_3000_TCP: "tcp://10.0.0.1:3000",
    PARLEY_PORT_3000_TCP_ADDR: "10.0.0.1",
    PARLEY_INTERNAL_PORT: "tcp://10.0.0.1:3001",
  };
  expect(resolveConfig({ mode: "development", env }).internal.port).toBe(3001);
});

test("production refuses to start without a secret, and offers a generated one", () => {
  const [problem = ""] = problemsOf({});
  expect(problem).toContain("PARLEY_AUTH_JWKS_URL");
  const offered = /PARLEY_AUTH_SECRET=(\S{64})/.exec(problem)?.[1];
  expect(offered).toBeDefined();
  expect(problemsOf({ env: { PARLEY_AUTH_SECRET: offered } })).toEqual([]);
});

test.each([
  ["tooshort", "at least 32"],
  ["a-string-secret-at-least-256-bits-long", "sample"],
  ["your-256-bit-secret-your-256-bit-secret", "sample"],
  ["CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME", "sample"],
  ["ababababababababababababababababababab", "repeats"],
])("production refuses the secret %s", (weak, why) => {
  expect(problemsOf({ env: { PARLEY_AUTH_SECRET: weak } })).toEqual([expect.stringContaining(why)]);
});

test("production starts with a JWKS, or with the app's own authentication", () => {
  expect(problemsOf({ env: { PARLEY_AUTH_JWKS_URL: "https://idp.example/keys" } })).toEqual([]);
  expect(problemsOf({ ownAuthentication: true })).toEqual([]);
  expect(resolveConfig({ env: { PARLEY_AUTH_SECRET: secret } }).server.host).toBe("0.0.0.0");
});

test("development mode listens on loopback only", () => {
  expect(resolveConfig({ mode: "development" }).server.host).toBe("127.0.0.1");
  expect(problemsOf({ mode: "development", flags: { host: "0.0.0.0" } })).toEqual([
    expect.stringContaining("PARLEY_SERVER_HOST"),
  ]);
  expect(problemsOf({ mode: "development", flags: { "internal-host": "::" } })).toEqual([
    expect.stringContaining("PARLEY_INTERNAL_HOST"),
  ]);
});

function busProblems(env: Readonly<Record<string, string>>): readonly string[] {
  const problems = problemsOf({ env: { PARLEY_AUTH_SECRET: secret, PARLEY_BUS_URL: "redis://localhost", ...env } });
  return problems.filter((problem) => problem.startsWith("bus."));
}

const sharedStore = { PARLEY_STORE_URL: "postgres://localhost/parley" };

test("a bus needs a store that all nodes share, and a secret of its own", () => {
  expect(busProblems({ PARLEY_BUS_SECRET: secret })).toEqual([
    expect.stringMatching(/^bus\.url is set, but .* set PARLEY_STORE_URL/),
  ]);
  expect(busProblems(sharedStore)).toEqual([expect.stringMatching(/^bus\.secret is not set.*PARLEY_BUS_SECRET=/s)]);
  expect(busProblems({ ...sharedStore, PARLEY_BUS_SECRET: "short" })).toEqual([expect.stringMatching(/has 5 bytes/)]);
  expect(busProblems({ ...sharedStore, PARLEY_BUS_SECRET: secret })).toEqual([]);
});

test("several addresses of Redis need a mode, and are all of one kind", () => {
  const two = { ...sharedStore, PARLEY_BUS_SECRET: secret, PARLEY_BUS_URL: "redis://a:1,redis://b:2" };
  expect(busProblems(two)).toEqual([expect.stringContaining("PARLEY_BUS_MODE")]);
  expect(busProblems({ ...two, PARLEY_BUS_MODE: "cluster" })).toEqual([]);
  const mixed = { ...two, PARLEY_BUS_MODE: "sentinel", PARLEY_BUS_URL: "redis://a:1,rediss://b:2" };
  expect(busProblems(mixed)).toEqual([expect.stringContaining("redis:// and rediss://")]);
});

test.each(["http://a", "redis:", "redis://a/5", "redis://a?db=1", "redis://u:%zz@a", "a:6379"])(
  "%s is no address of Redis",
  (url) => {
    expect(busProblems({ PARLEY_BUS_URL: url })).toEqual([expect.stringContaining("no address like redis://")]);
  },
);

test("times that are waited for one after another fit into one timer, however long they are set", () => {
  const longest = (...names: readonly string[]): number =>
    listSettings()
      .filter(({ name }) => names.includes(name))
      .reduce((sum, { maximum }) => sum + (maximum ?? Number.NaN), 0);
  expect(longest("heartbeat.pingIntervalMs", "heartbeat.pingTimeoutMs")).toBeLessThan(timerMsMax);
  // What a primary waits for its workers, which finish for a few seconds more.
  const stop = longest("drain.drainMs", "drain.moveMs", "server.shutdownTimeoutMs");
  expect(stop + 60_000).toBeLessThan(timerMsMax);
});
