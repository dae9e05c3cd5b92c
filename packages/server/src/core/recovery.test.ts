import { describe, expect, test } from "vitest";
import { callsOf, comeBack, createCluster, send, seqsOf } from "../../../../test/support/simulated-recovery.ts";
import { World } from "../../../../test/support/simulation.ts";

describe("on another node", () => {
  test("[REC-2] whose last node answers: the same socket, its rooms, and exactly what it missed", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    world.network.faults.repeated = 1;
    client.drop(false);
    await send(cluster, 2);
    await comeBack(cluster, second);
    await send(cluster, 1);
    expect(seqsOf(client)).toEqual([1, 2, 3, 4, 5]);
    expect(client.transcript.faults).toEqual([]);
    expect(client.transcript.pages).toHaveLength(1);
    expect([...first.sessions.connected]).toEqual([]);
    expect(first.sessions.detachedCount).toBe(0);
    expect(client.transcript.signals.filter(({ event }) => event === "user_left")).toEqual([]);
  });

  test("[REC-2] whose last node was killed: the same socket, its rooms, and all that it missed", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    world.kill(first);
    await send(cluster, 2);
    await comeBack(cluster, second);
    await send(cluster, 1);
    // What it remembers of this room shows that it has the page and both entries, whatever is stored.
    expect(seqsOf(client)).toEqual([1, 2, 3, 4, 5]);
    expect(client.transcript.faults).toEqual([]);
  });

  test("[REC-2] whose last node was killed: of rooms that its offset says nothing of, it may get again what it has", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    await world.until(client.join("beta"));
    await send(cluster, 2, "beta");
    await send(cluster, 1, "alpha");
    client.transcript.mayRepeat = true;
    world.kill(first);
    await send(cluster, 1, "beta");
    await comeBack(cluster, second);
    expect(client.transcript.seen.get("beta")).toMatchObject({ seq: 3 });
    expect(client.transcript.faults).toEqual([]);
  });

  test("[REC-2] a first page that arrived two seconds before its node was killed is not sent again", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    await world.until(client.join("beta"));
    await world.clock.advance(2_000);
    world.kill(first);
    await send(cluster, 2, "beta");
    await comeBack(cluster, second);
    expect(client.transcript.pages.map(({ room }) => room)).toEqual(["alpha", "beta"]);
    expect(seqsOf(client, "beta")).toEqual([1, 2]);
    expect(client.transcript.faults).toEqual([]);
  });

  test("[REC-2] whose last node was killed as the store lost commits: not recovered, so that it joins its rooms again", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    await world.until(world.store.backup("before"));
    await world.until(client.leave("alpha"));
    await world.until(client.join("beta"));
    world.kill(first);
    world.store.restore("before");
    await world.until(client.connect(second, "session"));
    expect(client.recovered).toBe(0);
    await world.clock.advance(1_000);
    await send(cluster, 1, "alpha");
    await send(cluster, 1, "beta");
    expect(seqsOf(client, "alpha")).toEqual([1, 2]);
    expect(seqsOf(client, "beta")).toEqual([1]);
    expect(client.transcript.faults).toEqual([]);
  });

  test("[REC-2] whose last node is there as the store loses commits: the same socket, with what it joined since", async () => {
    const cluster = await createCluster();
    const { world, client, second } = cluster;
    await world.until(world.store.backup("before"));
    await world.until(client.join("beta"));
    world.store.restore("before");
    client.drop(false);
    await comeBack(cluster, second);
    await send(cluster, 1, "beta");
    expect(seqsOf(client, "beta")).toEqual([1]);
    expect(client.transcript.faults).toEqual([]);
  });

  test("[REC-2] whose last node was killed seconds after the store lost commits: the same socket", async () => {
    const cluster = await createCluster();
    const { world, first, second } = cluster;
    const client = world.addClient("otto");
    await world.until(client.connect(first));
    await world.clock.advance(2_000);
    await world.until(world.store.backup("before"));
    world.store.restore("before");
    await world.clock.advance(3_000);
    world.kill(first);
    await comeBack({ ...cluster, client }, second);
    expect(client.recovered).toBe(1);
  });

  test("[REC-2] a room that was left is not in the session any more, whoever goes on with it", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    await world.until(client.leave("alpha"));
    world.kill(first);
    await send(cluster, 1);
    await comeBack(cluster, second);
    await send(cluster, 1);
    expect(seqsOf(client)).toEqual([1, 2]);
    expect(client.transcript.faults).toEqual([]);
  });

  test.each(["was killed", "answers"])(
    "[REC-2] a room that was left before its closing had arrived is not joined again, nor told of, when the node %s",
    async (fate) => {
      const cluster = await createCluster();
      const { world, client, first, second } = cluster;
      const operations = world.operations(second);
      client.connection?.resumeReading(0);
      await world.until(operations.deleteRoom({ roomId: "alpha" }));
      await world.clock.advance(2_000);
      await world.until(client.leave("alpha"));
      if (fate === "was killed") world.kill(first);
      await send(cluster, 1);
      await comeBack(cluster, second);
      await send(cluster, 1);
      expect(client.transcript.closings).toEqual([]);
      expect(client.transcript.faults).toEqual([]);
      expect(seqsOf(client)).toEqual([1, 2]);
    },
  );

  test("[REC-2] a room whose first page did not arrive: it comes on the next node", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    client.connection?.resumeReading(0);
    await world.until(client.join("beta"));
    client.drop(false);
    await comeBack(cluster, second);
    expect(client.transcript.pages.map(({ room }) => room)).toEqual(["alpha", "beta"]);
    await world.until(client.join("beta"));
    client.connection?.resumeReading(0);
    world.kill(second);
    await comeBack(cluster, first);
    await send(cluster, 1, "beta");
    expect(client.transcript.seen.get("beta")).toMatchObject({ seq: 1 });
  });

  test("[REC-2] an announcement that followed a gap comes once, however often its client changes nodes", async () => {
    const world = new World();
    const first = await world.startNode();
    const second = await world.startNode();
    const client = world.addClient("anna", { answerMs: 60_000 });
    await world.until(client.connect(first));
    await world.until(world.store.backup("before"));
    world.store.restore("before");
    await world.until(world.operations(first).announce({ message: "one" }));
    await world.clock.advance(2_500);
    client.drop(false);
    await world.until(world.operations(first).announce({ message: "two" }));
    await world.clock.advance(2_500);
    await world.until(client.connect(second, "session"));
    await world.clock.advance(100);
    await world.until(client.connect(first, "session"));
    await world.until(world.operations(first).announce({ message: "three" }));
    await world.clock.advance(2_500);
    expect(client.transcript.faults).toEqual([]);
    expect(seqsOf(client, "@announcements")).toEqual([2, 3]);
    expect(client.transcript.gaps).toHaveLength(2);
  });

  test("[REC-2] nobody waits for a node that does not answer longer than half a second", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    world.kill(first);
    const since = world.clock.now();
    await world.until(client.connect(second, "session"));
    expect(world.clock.now() - since).toBeLessThanOrEqual(600);
    expect(client.recovered).toBe(1);
  });

  test("[REC-2] a session may be away for as long as it may wait, also when its node was killed", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    const { maxDisconnectionDurationMs } = world.limits;
    await world.clock.advance(10 * 60_000);
    world.kill(first);
    await world.clock.advance(maxDisconnectionDurationMs - 1_000);
    await comeBack(cluster, second);
    client.drop(true);
    await world.clock.advance(5_000);
    world.kill(second);
    await world.clock.advance(maxDisconnectionDurationMs + 5_000);
    await world.until(client.connect(world.pick(world.nodes), "session"));
    expect(client.recovered).toBe(1);
  });
});

describe("one owner", () => {
  test("[REC-2] a node that was not heard gives way as soon as it writes, and delivers nothing more", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    world.cutBus(first);
    const [stale] = first.sessions.connected;
    await comeBack(cluster, second);
    expect(stale?.connection).not.toBe(null);
    await world.clock.advance(61_000);
    expect(stale).toMatchObject({ connection: null, dropped: true, subscribers: [] });
    expect(client.connection?.closed).toBe(false);
    await send(cluster, 1);
    expect(seqsOf(client)).toEqual([1, 2, 3]);
  });

  test("[REC-2] who comes back to a node that had the session before the last one finds what it did meanwhile", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    world.network.faults.lost = 1;
    await comeBack(cluster, second);
    await world.until(client.join("beta"));
    await world.until(client.leave("alpha"));
    world.network.faults.lost = 0;
    await comeBack(cluster, first);
    await send(cluster, 1, "beta");
    await send(cluster, 1, "alpha");
    expect(seqsOf(client, "beta")).toEqual([1]);
    expect(seqsOf(client, "alpha")).toEqual([1, 2]);
    expect(client.transcript.faults).toEqual([]);
  });

  test("[REC-2] of two live connections with one session the older is closed, on whatever node it is", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    const { connection, session } = client;
    const other = world.addClient("anna");
    const back = { pid: client.pid, offset: client.transcript.offset };
    if (connection === null) throw new Error("the client has no connection");
    await world.until(other.connect(second));
    const link = other.connection;
    if (link === null) throw new Error("the other has no connection");
    const taken = await world.until(second.connect(client.user, link, back));
    expect(taken.session.id).toBe(session?.id);
    expect(connection.closed).toBe(true);
    expect(client.closeReasons).toEqual(["superseded"]);
    expect(first.sessions.connected.size).toBe(0);
  });

  test("[IN-1] sessions that wait are no way past the connections that a user may have, and are not lost by it", async () => {
    const cluster = await createCluster({ limits: { connectionsPerUserMax: 1 } });
    const { world, client, first } = cluster;
    client.drop(true);
    const other = world.addClient("anna");
    await world.until(other.connect(first));
    await expect(world.until(client.connect(first, "session"))).rejects.toMatchObject({ code: "too_many_connections" });
    expect(first.sessions.connected.size).toBe(1);
    other.drop(true);
    await world.until(client.connect(first, "session"));
    expect(client.recovered).toBe(1);
  });

  test("[REC-2] an attempt that failed leaves the session to the next one", async () => {
    const cluster = await createCluster();
    const { world, client, second } = cluster;
    client.drop(false);
    await send(cluster, 1);
    for (const cutAfterMs of [0, 5, 10, 15, 20, 30]) {
      const attempt = client.connect(second, "session").then(
        () => "connected",
        () => "failed",
      );
      await world.clock.advance(cutAfterMs);
      world.store.setDown(true);
      await world.clock.advance(10_000);
      world.store.setDown(false);
      await world.until(attempt);
      client.drop(false);
      await world.clock.advance(3_000);
    }
    await comeBack(cluster, second);
    await send(cluster, 1);
    expect(seqsOf(client)).toEqual([1, 2, 3, 4]);
    expect(client.transcript.faults).toEqual([]);
  });
});

describe("what is stored", () => {
  test("[REC-2] a join is not acknowledged before it is stored; while the store is away it is refused for now", async () => {
    const cluster = await createCluster();
    const { world, client, first } = cluster;
    const other = world.addClient("otto");
    await world.until(other.connect(first));
    await world.until(other.join("beta"));
    const outcome = client.join("beta", "page", 0).then(
      () => "joined",
      (error: unknown) => error,
    );
    await world.clock.advance(3);
    world.cutStore(first, true);
    await world.clock.advance(20_000);
    expect(await outcome).toMatchObject({ code: "store_unavailable" });
    world.cutStore(first, false);
    await world.clock.advance(3_000);
    await world.until(client.join("beta", "page", 0));
  });

  test("[REC-2] an idle connection costs a write a minute, however many there are", async () => {
    const cluster = await createCluster();
    const { world, first } = cluster;
    for (let count = 0; count < 50; count += 1) await world.until(world.addClient(`user-${count}`).connect(first));
    await world.clock.advance(120_000);
    const before = callsOf(cluster, "putSessions");
    await world.clock.advance(600_000);
    // 51 sessions, once a minute each; those that are due in one second go together.
    expect(callsOf(cluster, "putSessions") - before).toBeLessThanOrEqual(51 * 10);
    expect(callsOf(cluster, "putSessions") - before).toBeGreaterThan(9);
  });

  test("[REC-2] what a join has stored is not stored again by the tick that follows", async () => {
    const cluster = await createCluster();
    const { world, first } = cluster;
    const client = world.addClient("ben");
    const before = callsOf(cluster, "putSessions");
    await world.until(client.connect(first));
    await world.until(client.join("alpha", "page", 0));
    await world.clock.advance(5_000);
    expect(callsOf(cluster, "putSessions") - before).toBe(1);
    await world.stop();
  });

  test("[REC-2] clients that connect, join and leave together are stored together", async () => {
    const cluster = await createCluster({ storeLatencyMaxMs: 0 });
    const { world, first } = cluster;
    const clients = Array.from({ length: 100 }, (_, index) => world.addClient(`user-${index}`));
    const before = callsOf(cluster, "putSessions");
    await world.until(Promise.all(clients.map((client) => client.connect(first))));
    await world.until(Promise.all(clients.map((client) => client.join("beta"))));
    await world.clock.advance(2_000);
    expect(callsOf(cluster, "putSessions") - before).toBeLessThanOrEqual(6);
  });

  test("[REC-1] a client that resumes by positions costs the store nothing", async () => {
    const world = new World({ openRooms: ["alpha"] });
    const node = await world.startNode();
    const client = world.addClient("anna");
    await world.until(client.connect(node, "positions"));
    await world.until(client.join("alpha"));
    await world.clock.advance(180_000);
    client.drop(true);
    await world.until(client.connect(node, "positions"));
    await world.clock.advance(180_000);
    const methods = ["putSessions", "claimSessions", "endSessions"];
    expect(methods.filter((method) => world.store.calls.has(method))).toEqual([]);
  });
});

describe("rights", () => {
  test("[REC-3] another user's session is no session, and its owner still has it", async () => {
    const cluster = await createCluster();
    const { world, client, second } = cluster;
    const mallory = world.addClient("mallory");
    await world.until(mallory.connect(second));
    const link = mallory.connection;
    if (link === null) throw new Error("mallory has no connection");
    const taken = await world.until(second.connect(mallory.user, link, { pid: client.pid }));
    expect(taken.result).toBe("unknown");
    expect(taken.session.pid).not.toBe(client.pid);
    expect(client.connection?.closed).toBe(false);
    await comeBack(cluster, second);
  });

  test("[REC-3] a right that was lost while its node was dead is asked for anew", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    const operations = world.operations(second);
    await world.until(operations.putRoom({ roomId: "closed", access: "members" }));
    await world.until(operations.setMembership({ roomId: "closed", userId: "anna", role: "member" }));
    await world.until(client.join("closed"));
    world.kill(first);
    await world.until(operations.setMembership({ roomId: "closed", userId: "anna", role: null }));
    client.transcript.mayRepeat = true;
    await comeBack(cluster, second);
    await send(cluster, 1, "closed");
    expect(client.transcript.closings).toEqual([{ room: "closed", reason: "forbidden" }]);
    expect(seqsOf(client, "closed")).toEqual([]);
    await send(cluster, 1);
    expect(seqsOf(client)).toEqual([1, 2, 3]);
  });

  test("[REC-2] a right that was lost and is given back while its node was dead: nothing of before the loss is missed", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    const operations = world.operations(second);
    const setRole = async (role: "member" | null): Promise<void> => {
      await world.until(operations.setMembership({ roomId: "club", userId: "anna", role }));
      await world.clock.advance(2_000);
    };
    await world.until(operations.putRoom({ roomId: "club", access: "members" }));
    await setRole("member");
    await world.until(client.join("club"));
    await world.clock.advance(2_000);
    client.connection?.resumeReading(0);
    await send(cluster, 2, "club");
    await setRole(null);
    client.drop(true);
    await world.clock.advance(2_000);
    world.kill(first);
    await setRole("member");
    await comeBack(cluster, second);
    await send(cluster, 1, "club");
    expect(client.transcript.closings).toEqual([]);
    expect(seqsOf(client, "club")).toEqual([2, 3, 4, 5, 6]);
    expect(client.transcript.faults).toEqual([]);
  });
});
