import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tokensOf } from "../../../../bench/token.ts";
import { gather } from "./crowd.ts";
import { closedLoop, openLoop } from "./loops.ts";
import { Traffic } from "./traffic.ts";

const secret = "a-secret-of-this-test-alone-32-bytes";
const plan = { warmUpMs: 50, measureMs: 200, textLength: 100 };
const window = { begin: () => undefined, end: () => undefined };
const script = fileURLToPath(new URL("../../../../bench/peers/socketio-server.mjs", import.meta.url));

/** The generator against the real protocol: Socket.IO's own server. */
describe("a client of the generator", () => {
  let server: ChildProcessByStdio<null, Readable, null>;
  let port = 0;

  beforeAll(async () => {
    server = spawn(process.execPath, [script], {
      env: { ...process.env, BENCH_SECRET: secret },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line]: unknown[] = await once(server.stdout, "data");
    port = Number(/"port":(\d+)/.exec(String(line))?.[1]);
  });

  afterAll(async () => {
    const exited = once(server, "exit");
    server.kill();
    await exited;
  });

  test.each(["websocket", "default"] as const)(
    "arrives by %s, joins, sends, and gets every message once",
    async (arrival) => {
      const traffic = new Traffic(false);
      const room = traffic.addRoom(`by-${arrival}`);
      const gathering = {
        traffic,
        nodes: [{ host: "127.0.0.1", port }],
        tokenOf: tokensOf(secret),
        arrival,
        atOnce: 8,
      };
      using crowd = await gather(
        gathering,
        Array.from({ length: 20 }, () => [room]),
      );
      expect(crowd.failures).toEqual(new Map());
      const [client] = crowd.clients;
      if (client === undefined) throw new Error("nobody joined");
      await openLoop(traffic, [{ client, room }], 100, plan, window);
      await closedLoop(traffic, [{ client, room }], 4, "delivered", plan, window);
      const { sends, acknowledged, deliveries, skipped, repeated, unmarked, strayAcknowledgements } = traffic;
      expect(sends).toBeGreaterThan(25);
      expect(acknowledged).toBe(sends);
      expect(deliveries).toBe(sends * 20);
      expect({ skipped, repeated, unmarked, strayAcknowledgements }).toEqual({
        skipped: 0,
        repeated: 0,
        unmarked: 0,
        strayAcknowledgements: 0,
      });
      expect(traffic.lostConnections).toEqual(new Map());
    },
  );

  test.each(["websocket", "default"] as const)(
    "that is refused counts as a failure with its reason, by %s",
    async (arrival) => {
      const traffic = new Traffic(false);
      const gathering = {
        traffic,
        nodes: [{ host: "127.0.0.1", port }],
        tokenOf: tokensOf("another secret"),
        arrival,
        atOnce: 4,
      };
      using crowd = await gather(gathering, [[], []]);
      expect(crowd.clients).toEqual([]);
      expect([...crowd.failures.values()]).toEqual([2]);
      expect([...crowd.failures.keys()][0]).toMatch(/CONNECT/);
    },
  );
});
