import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { resolveConfig } from "../packages/server/src/config.ts";
import { goodSecrets, readVariables, refusedSettings, stopMs } from "./support/deploy-settings.ts";
import { repositoryRoot } from "./support/process.ts";

const folder = path.join(repositoryRoot, "deploy");
const text = readFileSync(path.join(folder, "compose.yaml"), "utf8");
const variables = readVariables(readFileSync(path.join(folder, ".env.example"), "utf8"));

const secondsSchema = z
  .string()
  .regex(/^[0-9]+s$/)
  .transform((duration) => Number.parseInt(duration, 10));
const conditionSchema = z.enum(["service_healthy", "service_started"]);
const networkSchema = z.strictObject({ ipv4_address: z.string() }).nullable();
// Strict, so that a key in the wrong place, or misspelt, is found.
const serviceSchema = z.strictObject({
  image: z.string(),
  build: z.strictObject({ context: z.string(), dockerfile: z.string() }).optional(),
  command: z.array(z.string()).optional(),
  restart: z.literal("unless-stopped"),
  stop_grace_period: secondsSchema.optional(),
  stop_signal: z.string().optional(),
  read_only: z.boolean().optional(),
  tmpfs: z.array(z.string()).optional(),
  cap_drop: z.array(z.string()).optional(),
  security_opt: z.array(z.string()).optional(),
  ulimits: z.strictObject({ nofile: z.int() }).optional(),
  environment: z.record(z.string(), z.string()).default({}),
  depends_on: z.record(z.string(), z.strictObject({ condition: conditionSchema })).default({}),
  healthcheck: z.strictObject({
    test: z.tuple([z.literal("CMD")]).rest(z.string()),
    interval: secondsSchema,
    timeout: secondsSchema,
    retries: z.int(),
    start_period: secondsSchema.optional(),
  }),
  networks: z.union([z.array(z.string()), z.record(z.string(), networkSchema)]),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
});
const composeSchema = z.strictObject({
  name: z.string(),
  "x-node": z.unknown(),
  services: z.record(z.string(), serviceSchema),
  networks: z.record(
    z.string(),
    z.strictObject({
      internal: z.boolean().optional(),
      ipam: z.strictObject({ config: z.array(z.strictObject({ subnet: z.string() })) }).optional(),
    }),
  ),
  volumes: z.record(z.string(), z.null()),
});

const { services, networks, volumes } = composeSchema.parse(parse(text, { merge: true }));
const nodes = Object.entries(services).filter(([name]) => name.startsWith("parley-"));

function networksOf({ networks: own }: z.output<typeof serviceSchema>): readonly string[] {
  return Array.isArray(own) ? own : Object.keys(own);
}

/** As compose fills variables in. Errors: throws for one that is needed and empty. */
function interpolate(value: string, given: Readonly<Record<string, string>>): string {
  return value.replaceAll(/\$\{([A-Z_]+)(:\?|:-([^}]*))?\}/g, (_, name: string, kind = "", fallback = "") => {
    const found = given[name] ?? "";
    if (found === "" && kind === ":?") throw new Error(`${name} is needed`);
    return found === "" ? String(fallback) : found;
  });
}

function environmentOf(name: string, given: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const environment = Object.entries(services[name]?.environment ?? {});
  return Object.fromEntries(environment.map(([variable, value]) => [variable, interpolate(value, given)]));
}

const filledIn = { ...variables, ...goodSecrets, POSTGRES_PASSWORD: "0123456789abcdef" };

describe("the compose file", () => {
  test("has three nodes, a store, a bus and a balancer", () => {
    expect(Object.keys(services)).toEqual(["parley-1", "parley-2", "parley-3", "nginx", "postgres", "redis"]);
  });

  test("services wait for services that exist, and share a network with them", () => {
    for (const service of Object.values(services)) {
      for (const needed of Object.keys(service.depends_on)) {
        expect(Object.keys(services)).toContain(needed);
        const theirs = services[needed] === undefined ? [] : networksOf(services[needed]);
        expect(theirs.filter((network) => networksOf(service).includes(network))).not.toEqual([]);
      }
      for (const network of networksOf(service)) expect(Object.keys(networks)).toContain(network);
    }
    expect(networks["back"]?.internal).toBe(true);
  });

  test("every file that is mounted is there, and every volume is declared", () => {
    const mounted = Object.values(services).flatMap((service) => service.volumes);
    const sources = mounted.map((mount) => mount.split(":")[0] ?? "");
    const paths = sources.filter((source) => source.startsWith("."));
    expect(paths.filter((source) => !existsSync(path.join(folder, source)))).toEqual([]);
    expect(sources.filter((source) => !paths.includes(source))).toEqual(Object.keys(volumes));
    for (const [, { build }] of nodes) {
      expect(build).toBeDefined();
      expect(existsSync(path.join(folder, build?.context ?? "", build?.dockerfile ?? ""))).toBe(true);
    }
  });

  test("nginx passes on to the nodes' addresses", () => {
    const subnet = networks["front"]?.ipam?.config[0]?.subnet ?? "";
    expect(subnet).toMatch(/\.0\/24$/);
    const { server } = resolveConfig({ env: environmentOf("parley-1", filledIn) });
    const addresses = nodes.map(([, service]) => {
      const own = Array.isArray(service.networks) ? undefined : service.networks["front"];
      return `${own?.ipv4_address}:${server.port}`;
    });
    for (const address of addresses) expect(address.startsWith(subnet.replace("0/24", ""))).toBe(true);
    const named = readFileSync(path.join(folder, "nginx/parley.conf"), "utf8").matchAll(/^ {2}server (\S+) /gm);
    expect(new Set(Array.from(named, ([, address]) => address))).toEqual(new Set(addresses));
    expect(services["nginx"]?.ports).toEqual(["${PARLEY_PUBLISHED_PORT:-8080}:80"]);
  });

  test("nodes are asked on their internal port, which is published to the machine itself alone", () => {
    for (const [name, { healthcheck, ports }] of nodes) {
      const { internal } = resolveConfig({ env: environmentOf(name, filledIn) });
      expect(internal.host).toBe("0.0.0.0");
      expect(healthcheck.test.at(-1)).toContain(`http://127.0.0.1:${internal.port}/health/ready`);
      for (const port of ports) expect(port).toBe(`127.0.0.1:${internal.port}:${internal.port}`);
    }
  });

  test("[OUT-1] the drain is over before a node is killed", () => {
    for (const [name, { stop_grace_period: graceSeconds = 0 }] of nodes) {
      expect(graceSeconds * 1_000).toBeGreaterThan(stopMs(resolveConfig({ env: environmentOf(name, filledIn) })));
    }
  });

  test("nodes open as many files as they take connections", () => {
    for (const [name, { ulimits }] of nodes) {
      const { limits } = resolveConfig({ env: environmentOf(name, filledIn) });
      expect(ulimits?.nofile).toBeGreaterThanOrEqual(limits.connectionsMax + 1_024);
    }
  });

  test("what must be filled in is in the example, empty, and is asked for", () => {
    const needed = new Set(Array.from(text.matchAll(/\$\{([A-Z_]+):\?/g), ([, name]) => name));
    const named = Array.from(text.matchAll(/\$\{([A-Z_]+)/g), ([, name]) => name);
    expect(new Set(Object.keys(variables))).toEqual(new Set(named));
    expect([...needed].filter((name) => variables[name ?? ""] !== "")).toEqual([]);
    expect(() => environmentOf("parley-1", variables)).toThrow("is needed");
    expect(refusedSettings(environmentOf("parley-1", filledIn))).toEqual([]);
    const weak = { ...filledIn, PARLEY_AUTH_SECRET: "changeme", PARLEY_BUS_SECRET: "changeme" };
    expect(refusedSettings(environmentOf("parley-1", weak))).toEqual(["auth.secret", "bus.secret"]);
  });

  test("nodes find the store and the bus under their services' names", () => {
    for (const [name] of nodes) {
      const { PARLEY_STORE_URL: store = "", PARLEY_BUS_URL: bus = "" } = environmentOf(name, filledIn);
      const database = environmentOf("postgres", filledIn);
      expect(new URL(store)).toMatchObject({
        hostname: "postgres",
        username: database["POSTGRES_USER"],
        password: database["POSTGRES_PASSWORD"],
        pathname: `/${database["POSTGRES_DB"]}`,
      });
      expect(new URL(bus).hostname).toBe("redis");
    }
  });
});
