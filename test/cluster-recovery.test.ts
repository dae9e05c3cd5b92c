import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { runRecoveries } from "./chaos/recoveries.ts";
import { Cluster } from "./support/cluster.ts";
import { eventually } from "./support/eventually.ts";
import { Roamer, type RoamerOptions } from "./support/roamer.ts";
import { StockClient, type StockTransport, transportOptions } from "./support/stock-client.ts";
import { noFaults } from "./support/transcript.ts";

const transports: readonly StockTransport[] = ["websocket", "polling", "upgrade"];

describe("stock clients of three nodes", () => {
  let cluster: Cluster;
  /** What a test opens. */
  let opened: AsyncDisposableStack;
  let users = 0;

  beforeAll(async () => {
    // A leave shows soon, but not before a return.
    cluster = await Cluster.start({ nodes: 3, environment: { PARLEY_PRESENCE_LEAVE_GRACE_MS: "1500" } });
    for (const room of ["a", "b"]) await cluster.makeRoom(room);
  }, 120_000);
  afterAll(() => cluster[Symbol.asyncDispose]());
  beforeEach(() => {
    opened = new AsyncDisposableStack();
  });
  afterEach(() => opened.disposeAsync());

  /** A new user on node 0, in rooms of its own. */
  async function arrive(options: RoamerOptions = {}): Promise<{ roamer: Roamer; rooms: readonly [string, string] }> {
    users += 1;
    const rooms = [`red-${users}`, `blue-${users}`] as const;
    for (const room of rooms) await cluster.makeRoom(room);
    const roamer = opened.use(await Roamer.start(cluster, 0, `user-${users}`, options));
    for (const room of rooms) await roamer.client.join(room);
    return { roamer, rooms };
  }

  async function say(at: number, room: string, text: string): Promise<void> {
    await cluster.node(at).server.api("POST", `/rooms/${room}/messages`, { userId: "server", text });
  }

  /** All that it has of the rooms came once, in order, live or after it was away. */
  async function expectAll({ client }: Roamer, room: string, texts: readonly string[]): Promise<void> {
    await client.until(`${texts.at(-1)} in ${room}`, () => client.textsOf(room).includes(texts.at(-1) ?? ""));
    expect(client.textsOf(room)).toEqual(texts);
    expect(client.transcript(room).faults).toEqual(noFaults);
  }

  test.each(transports)(
    "[REC-2] over %s: the same socket on another node, with its rooms and what it missed, once",
    async (transport) => {
      const { roamer, rooms } = await arrive(transportOptions[transport]);
      const [red, blue] = rooms;
      await say(1, red, "before");
      await expectAll(roamer, red, ["before"]);
      await roamer.away("cut", async () => {
        await say(0, red, "missed 1");
        await say(1, blue, "missed 2");
        await say(2, red, "missed 3");
        roamer.lead(1);
      });
      expect(await roamer.isRecovered(2)).toBe(true);
      await say(2, red, "after");
      await expectAll(roamer, red, ["before", "missed 1", "missed 3", "after"]);
      await expectAll(roamer, blue, ["missed 2"]);
    },
  );

  test.each(transports)(
    "[REC-2] over %s: the old connection is half open, the old node gives way, and nobody has left",
    async (transport) => {
      const { roamer, rooms } = await arrive(transportOptions[transport]);
      const [red] = rooms;
      const witness = opened.use(
        new StockClient(cluster.node(2).server.url, {
          ...transportOptions.websocket,
          auth: { token: await cluster.tokenFor(`witness-${users}`) },
        }),
      );
      await witness.join(red);
      const left: unknown[] = [];
      witness.socket.on("user_left", (who: unknown) => left.push(who));
      await roamer.away("abandon", async () => {
        await say(0, red, "missed 1");
        await say(2, red, "missed 2");
        roamer.lead(1);
      });
      expect(await roamer.isRecovered(2)).toBe(true);
      await say(0, red, "after");
      await expectAll(roamer, red, ["missed 1", "missed 2", "after"]);
      await roamer.client.request("leave_room", red);
      await witness.until("the leave", () => left.length > 0);
      expect(left).toEqual([{ roomId: red, userId: roamer.userId }]);
    },
  );

  test("[REC-2] two hops in a row, and round and round, as soon as it is back", async () => {
    const { roamer, rooms } = await arrive();
    const [red, blue] = rooms;
    const texts: string[] = [];
    for (let hop = 1; hop <= 12; hop += 1) {
      await say(hop % 3, red, `hop ${hop}`);
      texts.push(`hop ${hop}`);
      roamer.lead(hop % 3);
      await roamer.lose(hop % 2 === 0 ? "cut" : "abandon");
      expect(await roamer.isRecovered(hop + 1)).toBe(true);
    }
    await say(0, blue, "the end");
    await say(0, red, "the end");
    await expectAll(roamer, red, [...texts, "the end"]);
    await expectAll(roamer, blue, ["the end"]);
  });

  test("[REC-2] its node is stopped, and wakes later as one that has lost the session", async () => {
    const { roamer, rooms } = await arrive();
    const [red, blue] = rooms;
    await say(1, red, "before");
    await expectAll(roamer, red, ["before"]);
    const { child } = cluster.node(0).server;
    child.signal("SIGSTOP");
    try {
      await roamer.away("abandon", async () => {
        await say(1, red, "missed");
        roamer.lead(1);
      });
      expect(await roamer.isRecovered(2)).toBe(true);
      await say(2, red, "during");
      // Nothing repeated, although nobody answers: what it remembers of this room says where it stands.
      await expectAll(roamer, red, ["before", "missed", "during"]);
    } finally {
      child.signal("SIGCONT");
    }
    await say(2, red, "awake");
    await expectAll(roamer, red, ["before", "missed", "during", "awake"]);
    // What it does on the new node is not undone by the old one, which still has an older state of it.
    await roamer.client.request("leave_room", blue);
    await roamer.away("cut", async () => {
      await say(1, red, "missed again");
      await say(1, blue, "not for who left");
      roamer.lead(0);
    });
    expect(await roamer.isRecovered(3)).toBe(true);
    await say(0, red, "the end");
    await expectAll(roamer, red, ["before", "missed", "during", "awake", "missed again", "the end"]);
    expect(roamer.client.textsOf(blue)).toEqual([]);
  });

  test("[REC-2] 1,000 drops under load: recovered each time, nothing missed, nothing repeated", async () => {
    const room = "crowded";
    await cluster.makeRoom(room);
    const roamers = await Promise.all(
      Array.from({ length: 50 }, (_, index) => Roamer.start(cluster, index % 3, `drop-${index}`)),
    );
    for (const roamer of roamers) opened.use(roamer);
    await Promise.all(roamers.map(({ client }) => client.join(room)));
    let sent = 0;
    const saying: Promise<void>[] = [];
    const load = setInterval(() => saying.push(say((sent += 1) % 3, room, `message ${sent}`)), 50);
    opened.defer(() => clearInterval(load));
    const drop = async (roamer: Roamer, index: number): Promise<void> => {
      for (let time = 1; time <= 20; time += 1) {
        roamer.lead((index + time) % 3);
        await roamer.lose((index + time) % 4 === 0 ? "abandon" : "cut");
        await roamer.client.welcomed(time + 1);
      }
    };
    await Promise.all(roamers.map(drop));
    clearInterval(load);
    await Promise.all(saying);
    const { length } = saying;
    expect(length).toBeGreaterThan(20);
    for (const { client } of roamers) await client.until("all", () => client.transcript(room).reached === length);
    for (const roamer of roamers) {
      expect(await roamer.isRecovered(21)).toBe(true);
      expect(roamer.client.transcript(room).faults).toEqual(noFaults);
      expect(roamer.client.events.filter((event) => event === "room_history")).toHaveLength(1);
    }
  }, 120_000);

  test("[REC-3] on another node as on its own: a right that was lost is not recovered", async () => {
    const { roamer, rooms } = await arrive();
    const [red] = rooms;
    const { server } = cluster.node(0);
    const room = `closed-${users}`;
    await server.api("PUT", `/rooms/${room}`, { access: "members" });
    await server.api("PUT", `/rooms/${room}/members/${roamer.userId}`, { role: "member" });
    await roamer.client.join(room);
    await roamer.away("cut", async () => {
      await say(2, room, "still a member");
      await cluster.node(2).server.api("DELETE", `/rooms/${room}/members/${roamer.userId}`);
      await say(2, room, "secret");
      await say(2, red, "open");
      roamer.lead(1);
    });
    expect(await roamer.isRecovered(2)).toBe(true);
    await roamer.client.until("the end of the room", () => roamer.client.events.includes("room_closed"));
    await say(0, room, "another secret");
    await say(0, red, "the end");
    await expectAll(roamer, red, ["open", "the end"]);
    expect(roamer.client.textsOf(room)).toEqual([]);
  });

  test("[REC-3] on another node as on its own: a revoked token recovers nothing", async () => {
    const { roamer, rooms } = await arrive();
    const [red] = rooms;
    const verdicts: unknown[] = [];
    roamer.client.socket.on("connect_error", (error) => {
      // A transport that failed is tried again by the client; a verdict has data.
      if ("data" in error) verdicts.push(error.data);
    });
    await roamer.away("cut", async () => {
      await cluster.node(2).server.api("POST", `/users/${roamer.userId}/revoke`, {});
      await say(0, red, "secret");
      roamer.lead(1);
    });
    await eventually("the verdict", () => verdicts.length > 0 || undefined);
    expect(verdicts).toMatchObject([{ code: "token_revoked" }]);
    expect(roamer.client.welcomes).toHaveLength(1);
    expect(roamer.client.textsOf(red)).toEqual([]);
  });

  test("[REC-3] on another node as on its own: a session is its user's alone", async () => {
    const { roamer, rooms } = await arrive();
    const [red] = rooms;
    const pid: unknown = Reflect.get(roamer.client.socket, "_pid");
    const offset: unknown = Reflect.get(roamer.client.socket, "_lastOffset");
    const { userId, client } = opened.use(await Roamer.start(cluster, 1, "mallory", { auth: { pid, offset } }));
    expect(userId).toBe("mallory");
    expect(client.welcomes).toEqual([
      { id: expect.not.stringMatching(roamer.client.socket.id ?? ""), recovered: false },
    ]);
    await roamer.away("cut", async () => {
      await say(0, red, "for its user");
      roamer.lead(2);
    });
    expect(await roamer.isRecovered(2)).toBe(true);
    await expectAll(roamer, red, ["for its user"]);
    expect(client.events.filter((event) => event !== "parley:position")).toEqual([]);
  });
});

// The long form is `npm run chaos -- --recoveries --kills 20 --clients 50`.
test("[REC-2] nodes are killed under load, some just after a join: all recover elsewhere, nothing is missed", async () => {
  const lines: string[] = [];
  const { unrecovered, faults, killed, early, welcomeSeconds } = await runRecoveries({
    ...{ kills: 3, seed: 5, clients: 20, sendsPerSecond: 10, calmMsMax: 1_500 },
    print: (line) => lines.push(line),
  });
  console.log(lines.join("\n"));
  expect({ unrecovered, faults, killed }).toEqual({ unrecovered: 0, faults: [], killed: 60 });
  expect(early).toBeGreaterThan(0);
  expect(welcomeSeconds).toHaveLength(60);
}, 120_000);
