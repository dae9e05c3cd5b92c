import { describe, expect, test } from "vitest";
import type { SimulatedClient } from "../../../../test/support/simulated-client.ts";
import { simulatedWindowBytes, World, type WorldOptions } from "../../../../test/support/simulation.ts";
import { logId } from "./log.ts";
import type { ParleyNode } from "./node.ts";

async function createWorld(options: WorldOptions = {}): Promise<{ world: World; node: ParleyNode }> {
  const world = new World({ openRooms: ["alpha", "beta"], ...options });
  return { world, node: await world.startNode() };
}

let sent = 0;

async function send(world: World, node: ParleyNode, room: string, texts: readonly string[]): Promise<void> {
  const user = { tenant: "default", id: "writer" };
  await world.until(
    Promise.all(texts.map((text) => node.rooms.send(user, { roomId: room, text, clientId: `c${(sent += 1)}` }))),
  );
}

function numbered(count: number, length = 100): string[] {
  return Array.from({ length: count }, (_, index) => `${index} ${"x".repeat(length)}`);
}

function seqs({ transcript }: SimulatedClient, room: string): number[] {
  return transcript.deliveries.filter((delivery) => delivery.room === room).map(({ seq }) => seq);
}

/** Whoever was found to have the right to the room waits for its feed, from when `waiting` resolves until `opened` is called. */
function holdFeed(node: ParleyNode, room: string): { opened: () => void; waiting: Promise<void> } {
  const opened = Promise.withResolvers<void>();
  const waiting = Promise.withResolvers<void>();
  const open = node.feeds.open.bind(node.feeds);
  node.feeds.open = async (log) => {
    if (log === logId("default", room)) {
      waiting.resolve();
      await opened.promise;
    }
    return open(log);
  };
  return { opened: () => opened.resolve(), waiting: waiting.promise };
}

describe("joining", () => {
  test("[FEED-1] a page that waits longer than its feed lingers is followed by what comes after it", async () => {
    const { world, node } = await createWorld();
    const client = world.addClient("user");
    await world.until(client.connect(node));
    await world.until(client.join("alpha"));
    await send(world, node, "beta", ["first"]);
    client.connection?.resumeReading(0);
    await send(world, node, "alpha", numbered(200));
    const joining = client.join("beta");
    await world.clock.advance(3 * world.limits.feedLingerMs);
    expect(node.feeds.get(logId("default", "beta"))).toBeUndefined();
    client.connection?.resumeReading(1_000);
    await world.until(joining);
    await send(world, node, "beta", ["second", "third"]);
    await world.clock.advance(1_000);
    expect(client.transcript.faults).toEqual([]);
    expect(seqs(client, "beta")).toEqual([2, 3]);
  });

  test("[FEED-1] who joins again while entries arrive gets a page that lacks nothing of what came before it", async () => {
    const { world, node } = await createWorld({ storeLatencyMaxMs: 20 });
    const client = world.addClient("user");
    await world.until(client.connect(node));
    await world.until(client.join("alpha"));
    const joins: Promise<void>[] = [];
    for (let round = 0; round < 30; round += 1) {
      world.background(send(world, node, "alpha", numbered(3)));
      joins.push(client.join("alpha"));
      await world.clock.advance(7);
    }
    await world.until(Promise.all(joins));
    await world.clock.advance(1_000);
    expect(client.transcript.faults).toEqual([]);
    expect(client.transcript.pages.length).toBe(31);
    expect(client.transcript.seen.get("alpha")?.seq).toBe(90);
  });

  test("a page that needs most of the window is not starved by the entries of a busy room", async () => {
    const { world, node } = await createWorld({ limits: { tailBytesMax: 1_000_000, historyPageBytesMax: 12_000 } });
    const client = world.addClient("user");
    await send(world, node, "beta", numbered(40, 200));
    await world.until(client.connect(node));
    await world.until(client.join("alpha"));
    await world.clock.advance(100);
    client.connection?.resumeReading(20);
    let joined = false;
    for (let turn = 0; turn < 400; turn += 1) {
      world.background(send(world, node, "alpha", numbered(3)));
      if (turn === 100) world.background(client.join("beta").then(() => void (joined = true)));
      await world.clock.advance(10);
    }
    expect(joined).toBe(true);
    expect(client.connection?.unansweredMax).toBeLessThanOrEqual(simulatedWindowBytes);
    client.connection?.resumeReading(1_000);
    await world.clock.advance(10_000);
    expect(client.transcript.faults).toEqual([]);
    expect(seqs(client, "alpha")).toHaveLength(1_200);
  });

  test("[FEED-1] a join that fails for the store leaves who was in the room there, without a gap", async () => {
    const { world, node } = await createWorld();
    const client = world.addClient("user");
    await world.until(client.connect(node));
    await world.until(client.join("alpha"));
    await send(world, node, "alpha", numbered(3));
    await world.clock.advance(100);
    world.store.setDown(true);
    await expect(world.until(client.join("alpha", "page", 3))).rejects.toThrow("simulated");
    world.store.setDown(false);
    await send(world, node, "alpha", numbered(3));
    await world.clock.advance(2_000);
    expect(client.transcript.faults).toEqual([]);
    expect(seqs(client, "alpha")).toEqual([1, 2, 3, 4, 5, 6]);
  });
});

describe("history", () => {
  test("[ACC-1] a page that waits for the window is not given to who loses the right meanwhile", async () => {
    const { world, node } = await createWorld({ openRooms: ["alpha"] });
    const operations = world.operations(node);
    const membership = { roomId: "secret", userId: "user" };
    await world.until(operations.putRoom({ roomId: "secret" }));
    await world.until(operations.setMembership({ ...membership, role: "member" }));
    await send(world, node, "secret", numbered(10));
    const client = world.addClient("user");
    await world.until(client.connect(node));
    await world.until(client.join("alpha"));
    await world.clock.advance(100);
    client.connection?.resumeReading(0);
    await send(world, node, "alpha", numbered(200));
    await world.clock.advance(1_000);
    const asked = client.history("secret", 10).then(
      () => "given",
      ({ code }: { code: string }) => code,
    );
    await world.clock.advance(1_000);
    await world.until(operations.setMembership({ ...membership, role: null }));
    client.connection?.resumeReading(1_000);
    expect(await world.until(asked)).toBe("forbidden");
    await world.clock.advance(5_000);
    expect(seqs(client, "alpha")).toHaveLength(200);
  });
});

describe("a right that may have changed", () => {
  test("[ACC-1] and is lost while delivery waits to go on after it was asked for: nothing more of the room, and it is told", async () => {
    const { world, node } = await createWorld({ openRooms: [] });
    const operations = world.operations(node);
    const membership = { roomId: "alpha", userId: "user" };
    await world.until(operations.putRoom({ roomId: "alpha" }));
    await world.until(operations.setMembership({ ...membership, role: "member" }));
    const client = world.addClient("user");
    await world.until(client.connect(node));
    await world.until(client.join("alpha"));
    await world.clock.advance(100);
    const { opened, waiting } = holdFeed(node, "alpha");
    world.background(operations.setMembership({ ...membership, role: "reader" }));
    await world.until(waiting);
    await world.until(operations.setMembership({ ...membership, role: null }));
    opened();
    await send(world, node, "alpha", ["after"]);
    await world.clock.advance(2_000);
    expect(client.transcript.closings).toEqual([{ room: "alpha", reason: "forbidden" }]);
    expect(seqs(client, "alpha")).toEqual([]);
  });
});

describe("leaving", () => {
  test.each([
    ["a page", {}],
    ["its head", { history: 0 }],
  ])("[REC-2] who leaves on its next connection is not joined by the last one, which waits for %s", async (_, from) => {
    const { world, node } = await createWorld();
    const client = world.addClient("user");
    await world.until(client.connect(node));
    await world.clock.advance(2_000);
    const { session } = client;
    if (session === null) throw new Error("the client has no session");
    const opened = Promise.withResolvers<void>();
    const open = node.feeds.open.bind(node.feeds);
    node.feeds.open = async (log) => {
      if (log === logId("default", "alpha")) await opened.promise;
      return open(log);
    };
    const joining = node.rooms.join(session, { roomId: "alpha", ...from }).catch((error: unknown) => error);
    await world.clock.advance(50);
    client.drop(true);
    await world.until(client.connect(node, "session"));
    expect(client.session).toBe(session);
    await world.until(Promise.resolve(node.rooms.leave(session, "alpha")));
    opened.resolve();
    expect(await world.until(joining)).toMatchObject({ code: "not_joined" });
    await send(world, node, "alpha", numbered(3));
    await world.clock.advance(2_000);
    expect(session.find(logId("default", "alpha"))).toBeUndefined();
    expect(client.transcript.pages).toEqual([]);
    expect(await node.presence.in(logId("default", "alpha"))).toEqual({ users: [], count: 0 });
    // And may join once more.
    await world.until(client.join("alpha"));
    expect(client.transcript.pages).toHaveLength(1);
    await world.stop();
  });

  test("[FEED-1] who leaves while a page waits for it gets nothing of the room any more", async () => {
    const { world, node } = await createWorld({ limits: { catchUpMax: 10 } });
    const client = world.addClient("user");
    await world.until(client.connect(node));
    for (const room of ["alpha", "beta"]) await world.until(client.join(room));
    await world.clock.advance(100);
    client.connection?.resumeReading(0);
    await send(world, node, "beta", numbered(300));
    await world.until(world.store.deleteRoom(logId("default", "alpha")));
    await send(world, node, "alpha", numbered(3));
    await world.clock.advance(3_000);
    await world.until(client.leave("alpha"));
    client.connection?.resumeReading(1_000);
    await send(world, node, "alpha", numbered(3));
    await world.clock.advance(10_000);
    expect(client.transcript.faults).toEqual([]);
    expect(seqs(client, "beta")).toHaveLength(300);
    expect(node.feeds.get(logId("default", "alpha"))).toBeUndefined();
  });
});

describe("coming back to a session", () => {
  async function createClient(world: World, node: ParleyNode): Promise<SimulatedClient> {
    const client = world.addClient("user");
    await world.until(client.connect(node));
    await world.until(client.join("alpha"));
    await world.clock.advance(100);
    return client;
  }

  test("[ACC-1] [REC-3] who loses the right while the room is being resumed gets nothing of what follows, and is told", async () => {
    const { world, node } = await createWorld({ openRooms: [] });
    const operations = world.operations(node);
    const membership = { roomId: "alpha", userId: "user" };
    await world.until(operations.putRoom({ roomId: "alpha" }));
    await world.until(operations.setMembership({ ...membership, role: "member" }));
    const client = await createClient(world, node);
    await send(world, node, "alpha", ["before"]);
    await world.clock.advance(100);
    client.drop(true);
    const { opened, waiting } = holdFeed(node, "alpha");
    const connecting = client.connect(node, "session");
    await world.until(waiting);
    await world.until(operations.setMembership({ ...membership, role: null }));
    opened();
    await world.until(connecting);
    await send(world, node, "alpha", ["after"]);
    await world.clock.advance(2_000);
    expect(client.recovered).toBe(1);
    expect(seqs(client, "alpha")).toEqual([2]);
    expect(client.transcript.rooms).not.toContain("alpha");
  });

  test("[REC-1] the same page again, which was lost, does not pass for the one that had arrived", async () => {
    const { world, node } = await createWorld();
    const client = await createClient(world, node);
    client.connection?.confirm();
    await world.clock.advance(100);
    client.connection?.resumeReading(0);
    await world.until(world.operations(node).announce({ message: "news" }));
    await world.until(client.join("alpha"));
    await world.clock.advance(100);
    client.drop(true);
    await world.until(client.connect(node, "session"));
    await world.clock.advance(1_000);
    expect(client.recovered).toBe(1);
    expect(client.transcript.faults).toEqual([]);
    expect(seqs(client, "@announcements")).toEqual([1]);
  });

  test("[REC-1] what the client remembers of a session before proves nothing of this one", async () => {
    const { world, node } = await createWorld();
    const other = await world.startNode();
    const client = await createClient(world, node);
    node.lostRights.disconnectUser("default", "user", true);
    await world.clock.advance(3_000);
    // Its next session begins with a page that the other node numbers likewise, and nothing but CONNECT arrives.
    client.bytesPerMs = 0;
    await world.until(client.connect(other, "session"));
    await world.clock.advance(100);
    client.bytesPerMs = 1_000;
    client.drop(true);
    await world.until(client.connect(other, "session"));
    await world.clock.advance(1_000);
    expect(client.recovered).toBe(1);
    expect(client.transcript.faults).toEqual([]);
    expect(client.transcript.pages).toHaveLength(2);
  });

  test("[REC-1] what follows entries that came a second time is known to have arrived", async () => {
    const { world, node } = await createWorld();
    const client = await createClient(world, node);
    await send(world, node, "alpha", numbered(3));
    await world.clock.advance(100);
    // It leaves before it has read what is on its way, and comes back to where it was.
    client.connection?.resumeReading(0);
    await send(world, node, "alpha", ["on its way"]);
    await world.until(client.leave("alpha"));
    client.connection?.resumeReading(1_000);
    await send(world, node, "alpha", numbered(2));
    await world.clock.advance(100);
    await world.until(client.join("alpha", "where it left"));
    await world.clock.advance(100);
    client.drop(true);
    await world.until(client.connect(node, "session"));
    await world.clock.advance(1_000);
    expect(client.recovered).toBe(1);
    expect(client.transcript.faults).toEqual([]);
    expect(seqs(client, "alpha")).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("[REC-2] an entry that it had before it left, and gets once more, proves nothing of what was written in between", async () => {
    const { world, node } = await createWorld();
    const client = await createClient(world, node);
    await send(world, node, "beta", numbered(2));
    // It leaves before it has read what is on its way: its last event is an entry beyond the place where it left.
    client.connection?.resumeReading(0);
    await send(world, node, "alpha", ["on its way"]);
    await world.until(client.leave("alpha"));
    client.connection?.resumeReading(1_000);
    client.connection?.confirm();
    await world.clock.advance(100);
    // None of this arrives: the page of another room, and then that entry again.
    client.connection?.resumeReading(0);
    await world.until(client.join("beta"));
    await world.until(client.join("alpha", "where it left"));
    await world.clock.advance(100);
    client.drop(true);
    await world.until(client.connect(node, "session"));
    await world.clock.advance(1_000);
    expect(client.recovered).toBe(1);
    expect(client.transcript.faults).toEqual([]);
    expect(client.transcript.seen.get("beta")?.seq).toBe(2);
  });

  test("[REC-1] who comes back to no session gets the announcements after the one that it remembers", async () => {
    const { world, node } = await createWorld();
    const client = await createClient(world, node);
    const announce = (message: string) => world.until(world.operations(node).announce({ message }));
    await announce("heard");
    await world.clock.advance(100);
    node.lostRights.disconnectUser("default", "user", true);
    await world.clock.advance(3_000);
    await announce("missed");
    await world.until(client.connect(node, "session"));
    await world.clock.advance(1_000);
    expect(client.recovered).toBe(0);
    expect(seqs(client, "@announcements")).toEqual([1, 2]);
  });

  test("[REC-1] what was left in another life of the room says nothing of this one", async () => {
    const { world, node } = await createWorld();
    const client = await createClient(world, node);
    await send(world, node, "alpha", numbered(9));
    await world.clock.advance(100);
    await world.until(world.operations(node).deleteRoom({ roomId: "alpha" }));
    await send(world, node, "alpha", numbered(2));
    await world.clock.advance(100);
    await world.until(client.join("alpha"));
    await send(world, node, "alpha", numbered(3));
    await world.clock.advance(100);
    client.drop(true);
    await world.until(client.connect(node, "session"));
    await world.clock.advance(1_000);
    expect(client.recovered).toBe(1);
    expect(client.transcript.faults).toEqual([]);
    expect(client.transcript.seen.get("alpha")?.seq).toBe(5);
  });
});
