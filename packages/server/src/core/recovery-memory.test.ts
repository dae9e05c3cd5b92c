import { describe, expect, test } from "vitest";
import { comeBack, createCluster, send, seqsOf } from "../../../../test/support/simulated-recovery.ts";

describe("a client whose node is gone, and what it remembers", () => {
  test("[REC-2] whose node was killed, and whose late attempt of before got the session: its offset still says what it has", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    const late = client.transcript.offset?.replace(/:2$/, ":1");
    const tab = world.addClient("anna");
    await world.until(tab.connect(second));
    world.kill(first);
    if (tab.connection === null) throw new Error("the attempt has no connection");
    const { session } = await world.until(
      second.connect(client.user, tab.connection, { pid: client.pid, offset: late }),
    );
    second.disconnected(session, tab.connection, false);
    await world.until(client.connect(await world.startNode(), "session"));
    expect(client.recovered).toBe(1);
    await send(cluster, 1);
    expect(seqsOf(client)).toEqual([1, 2, 3]);
    expect(client.transcript.faults).toEqual([]);
  });

  test("[REC-2] whose node was killed, and which got nothing on the next: what it remembers is no answer to that", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    await world.until(client.join("alpha"));
    await world.until(first.rooms.send({ tenant: "default", id: "writer" }, { roomId: "alpha", text: "x" }));
    await world.clock.advance(50);
    expect(client.transcript.offset).toMatch(/:3$/);
    world.kill(first);
    await world.until(world.operations(second).announce({ message: "news" }));
    client.transcript.mayRepeat = true;
    client.bytesPerMs = 0;
    await comeBack(cluster, second);
    client.drop(false);
    client.bytesPerMs = 1_000;
    await comeBack(cluster, second);
    expect(client.transcript.seen.get("@announcements")).toMatchObject({ seq: 1 });
    expect(client.transcript.faults).toEqual([]);
  });

  test("[REC-2] whose node was killed after its first notification: that is no answer to what came before it was repeated", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    await world.until(world.operations(second).notifyUser({ userId: "anna", event: "notice", data: { number: 1 } }));
    await world.clock.advance(100);
    expect(client.transcript.offset).toMatch(/^@user:anna:.*:1$/);
    world.kill(first);
    await send(cluster, 1);
    client.transcript.mayRepeat = true;
    client.bytesPerMs = 0;
    await comeBack(cluster, second);
    client.bytesPerMs = 1_000;
    await comeBack(cluster, second);
    expect(seqsOf(client)).toEqual([1, 2, 3]);
    expect(client.transcript.faults).toEqual([]);
  });

  test.each(["its page", "an entry"])(
    "[REC-2] a room that was closed before %s had arrived, and is open again: whoever goes on with it leaves nothing out",
    async (what) => {
      const cluster = await createCluster();
      const { world, client, first, second } = cluster;
      const operations = world.operations(first);
      const setRole = (role: "member" | null) =>
        world.until(operations.setMembership({ roomId: "club", userId: "anna", role }));
      await world.until(operations.putRoom({ roomId: "club", access: "members" }));
      await setRole("member");
      await send(cluster, 1, "club");
      if (what === "its page") client.connection?.resumeReading(0);
      await world.until(client.join("club"));
      await world.clock.advance(100);
      client.connection?.resumeReading(0);
      await send(cluster, 1, "club");
      await setRole(null);
      await world.clock.advance(2_000);
      client.bytesPerMs = 0;
      await comeBack(cluster, second);
      await world.clock.advance(2_000);
      world.kill(second);
      await setRole("member");
      client.bytesPerMs = 1_000;
      await comeBack(cluster, first);
      await world.clock.advance(2_000);
      await send(cluster, 1, "club");
      expect(client.transcript.closings).toEqual([]);
      expect(client.transcript.faults).toEqual([]);
      expect(client.transcript.pages.at(-1)).toMatchObject({ room: "club", seq: 2 });
      expect(seqsOf(client, "club")).toEqual([3, 4, 5, 6]);
    },
  );

  test("[REC-2] who remembers the page of a room that was empty, left it and joined it again, gets the page of that", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    await world.until(client.join("beta"));
    await world.clock.advance(2_000);
    await world.until(client.leave("beta"));
    client.connection?.resumeReading(0);
    await world.until(client.join("beta"));
    world.kill(first);
    await comeBack(cluster, second);
    expect(client.transcript.pages.map(({ room }) => room)).toEqual(["alpha", "beta", "beta"]);
    await send(cluster, 1, "beta");
    expect(seqsOf(client, "beta")).toEqual([1]);
    expect(client.transcript.faults).toEqual([]);
  });

  test("[REC-2] who was told twice that announcements are skipped, and got neither, is told by the next node, too", async () => {
    const cluster = await createCluster({ limits: { catchUpMax: 2 } });
    const { world, client, first, second } = cluster;
    await world.until(world.operations(first).announce({ message: "news" }));
    await world.clock.advance(2_000);
    client.drop(false);
    for (let count = 0; count < 4; count += 1)
      await world.until(world.operations(second).announce({ message: "news" }));
    client.bytesPerMs = 0;
    await comeBack(cluster, first);
    await comeBack(cluster, first);
    await world.clock.advance(2_000);
    world.kill(first);
    client.bytesPerMs = 1_000;
    await comeBack(cluster, second);
    await world.until(world.operations(second).announce({ message: "news" }));
    await world.clock.advance(2_000);
    expect(client.transcript.gaps).toEqual([{ room: "@announcements", reason: "too_far" }]);
    expect(client.transcript.seen.get("@announcements")).toMatchObject({ seq: 6 });
    expect(client.transcript.faults).toEqual([]);
  });

  test("[REC-2] a session of before a restore or failover, whose node is dead, is not recovered: rooms may be lacking", async () => {
    const cluster = await createCluster();
    const { world, client, first, second } = cluster;
    await world.until(world.store.backup("before"));
    await world.until(client.join("beta"));
    world.store.restore("before");
    world.kill(first);
    await world.until(client.connect(second, "session"));
    expect(client.recovered).toBe(0);
    // As apps do then, it joins its rooms again.
    await world.clock.advance(1_000);
    expect([...client.transcript.rooms].toSorted()).toEqual(["alpha", "beta"]);
    expect(client.transcript.faults).toEqual([]);
  });
});
