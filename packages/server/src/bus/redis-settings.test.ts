import { expect, test } from "vitest";
import { createCertificate } from "../../../../test/support/certificate.ts";
import { findFreePort } from "../../../../test/support/free-port.ts";
import { RedisServer } from "../../../../test/support/redis.ts";
import { RedisBusNetwork } from "../../../../test/support/redis-bus.ts";
import { createTemporaryFolder } from "../../../../test/support/temporary-folder.ts";
import { Recorder } from "./bus.contract.ts";
import { type RedisOptions, redisSettings } from "./redis-settings.ts";

const options: RedisOptions = {
  url: ["redis://anna:p%40ss@redis.example:7000"],
  mode: "single",
  sentinelName: "mymaster",
  prefix: "parley",
  secret: "secret",
};

test("an address holds host, port and credentials, which settings of their own outrank", () => {
  expect(redisSettings("node-1", options)).toMatchObject({
    addresses: [{ host: "redis.example", port: 7_000 }],
    login: { username: "anna", password: "p@ss", tls: null },
  });
  const { login } = redisSettings("node-1", { ...options, username: "bob", password: "other" });
  expect(login).toEqual({ username: "bob", password: "other", tls: null });
});

test("ports and certificates have defaults", () => {
  const url = ["rediss://[::1]", "rediss://redis-2"];
  expect(redisSettings("node-1", { ...options, url, mode: "sentinel", sentinelPassword: "s" })).toMatchObject({
    addresses: [
      { host: "::1", port: 26_379 },
      { host: "redis-2", port: 26_379 },
    ],
    login: { username: undefined, password: undefined, tls: { ca: undefined } },
    sentinelLogin: { username: undefined, password: "s", tls: { ca: undefined } },
  });
  expect(redisSettings("node-1", { ...options, url, mode: "cluster" }).addresses[0]?.port).toBe(6_379);
  expect(() => redisSettings("node-1", { ...options, url, tlsCaFile: "/no/such" })).toThrow(/bus\.tlsCaFile/);
});

test("over TLS, Redis is believed by its certificate alone", async () => {
  await using folder = await createTemporaryFolder();
  const { key, certificate } = await createCertificate(folder.path);
  const port = await findFreePort();
  const files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate];
  await using server = await RedisServer.start({
    options: ["--tls-port", `${port}`, ...files, "--tls-auth-clients", "no"],
  });
  await using network = new RedisBusNetwork({ mode: "single", urls: [server.url], ports: () => [server.port] });
  const { addresses, login } = redisSettings("node-1", {
    ...options,
    url: [`rediss://127.0.0.1:${port}`],
    tlsCaFile: certificate,
  });
  const received = new Recorder();
  await network.join("node-1", { addresses, login }).start(received);
  expect(received.states).toEqual(["down", "up"]);
  await network.settle();
  const doubtful = new Recorder();
  await network.join("node-2", { addresses, login: { ...login, tls: { ca: undefined } } }).start(doubtful);
  expect(doubtful.states).toEqual(["down"]);
  expect(String(network.troubles("node-2")[0])).toMatch(/self-signed/);
});
