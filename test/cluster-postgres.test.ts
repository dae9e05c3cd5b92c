import { errorCodes } from "@parley/protocol";
import { describe, expect, test } from "vitest";
import { Cluster } from "./support/cluster.ts";
import { eventually } from "./support/eventually.ts";
import { Roamer } from "./support/roamer.ts";
import { message, Sender } from "./support/sender.ts";
import { StockClient, transportOptions } from "./support/stock-client.ts";
import { noFaults } from "./support/transcript.ts";

const room = "town";

async function connectTo(cluster: Cluster, at: number, userId: string, auth: object = {}): Promise<StockClient> {
  const client = new StockClient(cluster.node(at).server.url, {
    ...transportOptions.websocket,
    auth: { token: await cluster.tokenFor(userId), ...auth },
  });
  await client.welcomed(1);
  return client;
}

describe("Postgres behind several nodes", { timeout: 120_000 }, () => {
  test("[LOG-1] [LOG-3] killed and restarted under load: sends wait or are refused for now, nothing is lost or repeated", async () => {
    await using cluster = await Cluster.start({
      environment: { PARLEY_LIMITS_EVENTS_PER_SECOND: "10000", PARLEY_LIMITS_USER_EVENTS_PER_SECOND: "10000" },
    });
    await cluster.makeRoom(room);
    using clients = new DisposableStack();
    const members: StockClient[] = [];
    for (const at of [0, 1, 0, 1]) members.push(clients.use(await connectTo(cluster, at, `user-${members.length}`)));
    for (const member of members) await member.join(room);
    const senders = members.map((member) => new Sender(member, room));
    let over = false;
    let acknowledged = 0;
    const sending = senders.map(async (sender, index) => {
      for (let number = 1; !over; number += 1) {
        await sender.sendUntilAcknowledged(message(`${index} ${number}`));
        acknowledged += 1;
      }
    });
    const more = (): Promise<unknown> => {
      const enough = acknowledged + 100;
      return eventually("more acknowledgements", () => acknowledged >= enough || undefined);
    };
    const { postgres } = cluster;
    await more();
    for (const end of ["kill", "stop", "kill"] as const) {
      await postgres[end]();
      await postgres.resume();
      await more();
    }
    for (const { toPostgres } of cluster.nodes) toPostgres.cut();
    await more();
    over = true;
    await Promise.all(sending);
    const refusals = new Set(senders.flatMap((sender) => sender.refusals));
    console.log(`${acknowledged} messages; refused for now: ${[...refusals].join(", ") || "none"}`);
    const passing = Object.entries(errorCodes).flatMap(([code, { retry }]) => (retry === "later" ? [code] : []));
    expect(passing).toEqual(expect.arrayContaining([...refusals]));
    const seqs = senders.flatMap((sender) => [...sender.acknowledged.values()]);
    expect(seqs.toSorted((one, other) => one - other)).toEqual(seqs.map((_, index) => index + 1));
    for (const member of members) {
      await member.until("all", () => member.textsOf(room).length >= seqs.length);
      expect(member.transcript(room).faults).toEqual(noFaults);
      expect(member.textsOf(room)).toEqual(members[0]?.textsOf(room));
      expect(member.losses).toBe(0);
    }
  });

  test("[IN-1] text that Postgres cannot hold is refused before others' calls are made with it", async () => {
    await using cluster = await Cluster.start({ nodes: 1, redis: "none" });
    const { server } = cluster.node(0);
    const refusal = Promise.withResolvers<Error>();
    using client = new StockClient(server.url, { auth: { token: await cluster.tokenFor("mallory"), pid: "a\0" } });
    client.socket.once("connect_error", refusal.resolve);
    expect(await refusal.promise).toMatchObject({ data: { code: "bad_request" } });
    for (const route of ["/rooms?after=%00", "/rooms/town/members?after=a%00"])
      await expect(server.api("GET", route)).rejects.toThrow("400");
  });

  test("[LOG-1] [FEED-1] [REC-2] a promoted standby lacks commits: every client starts over, and is told so", async () => {
    await using cluster = await Cluster.start({ nodes: 3 });
    for (const one of [room, "village"]) await cluster.makeRoom(one);
    const { postgres } = cluster;
    using clients = new DisposableStack();
    const here = clients.use(await connectTo(cluster, 0, "here"));
    const there = clients.use(await connectTo(cluster, 1, "there"));
    for (const client of [here, there]) await client.join(room);
    for (const text of ["1", "2", "3"]) await here.send(room, text);
    await using roamer = await Roamer.start(cluster, 2, "roamer");
    await roamer.client.join(room);
    await using standby = await postgres.standby();
    const schema = new URL(cluster.storeUrl).searchParams.get("schema");
    await eventually("the standby to follow", async () =>
      (await standby.sql(`SELECT head FROM ${schema}.log WHERE name = 'default/${room}'`)).find((head) => head === "3"),
    );
    await standby.stop();
    await roamer.client.join("village");
    for (const text of ["lost 4", "lost 5"]) await there.send(room, text);
    for (const client of [here, there]) await client.until("all", () => client.textsOf(room).length === 5);
    const { [room]: before } = here.positions;
    await postgres.kill();
    await cluster.node(2).server.kill();
    roamer.lead(0);
    await standby.resume();
    await standby.promote();
    await standby.replace(postgres);
    // Nobody needs to send anything for that.
    for (const client of [here, there]) {
      await client.until(
        "the page after the gap",
        () => client.events.filter((event) => event === "room_history").length === 2,
      );
      expect(client.transcript(room).gaps).toEqual(["epoch"]);
      expect(client.lastPage.map(({ text }) => text)).toEqual(["1", "2", "3"]);
      expect(client.positions[room]?.epoch).not.toBe(before?.epoch);
    }
    // Who was away meanwhile is told, too; here it presents a position of the epoch before.
    const away = clients.use(await connectTo(cluster, 1, "away", { resume: { [room]: before } }));
    await away.until("the page", () => away.events.includes("room_history"));
    expect(away.transcript(room).gaps).toEqual(["epoch"]);
    // What is left of its session lacks a room that it has joined: it is to join its rooms again.
    await roamer.client.welcomed(2);
    expect(roamer.client.welcomes[1]?.recovered).toBe(false);
    const sender = new Sender(here, room);
    await sender.sendUntilAcknowledged(message("another 4"));
    expect([...sender.acknowledged.values()]).toEqual([4]);
    for (const client of [here, there, away]) {
      await client.until("the next", () => client.textsOf(room).includes("another 4"));
      expect(client.transcript(room).faults).toEqual(noFaults);
      expect(client.transcript(room).reached).toBe(4);
      expect(client.transcript(room).gaps).toEqual(["epoch"]);
    }
  });
});
