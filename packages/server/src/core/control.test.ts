import { describe, expect, test } from "vitest";
import type { SimulatedClient } from "../../../../test/support/simulated-client.ts";
import { SimulatedConnection } from "../../../../test/support/simulated-connection.ts";
import { simulatedWindowBytes, World, type WorldOptions } from "../../../../test/support/simulation.ts";
import { localBus } from "../bus/local.ts";
import type { CloseReason } from "../gateway/connection.ts";
import { StoreUnavailable } from "../store/store.ts";
import { storedMemberships } from "./access.ts";
import { eventFrame } from "./frame.ts";
import { controlLog } from "./log.ts";
import { ParleyNode } from "./node.ts";
import { createOperations } from "./server-api.ts";

const roomId = "team";
const lossMs = 1_000;

interface Cluster {
  readonly world: World;
  /** Where the operations are called. */
  readonly office: ParleyNode;
  /** Where the reader is. */
  readonly home: ParleyNode;
  readonly reader: SimulatedClient;
}

/** A reader of a public room on one node, and another node. */
async function createCluster(options: WorldOptions = {}): Promise<Cluster> {
  const world = new World({ openRooms: [], ...options });
  const office = await world.startNode();
  const home = await world.startNode();
  await world.until(world.operations(office).putRoom({ roomId, access: "public" }));
  const reader = world.addClient("reader");
  await world.until(reader.connect(home));
  await world.until(reader.join(roomId));
  await world.clock.advance(3_000);
  return { world, office, home, reader };
}

let sent = 0;

/** A message into the room each 20 ms; on the reader's own node its feed needs no bus to have it. */
async function flood({ world }: Cluster, node: ParleyNode, ms: number): Promise<void> {
  for (let past = 0; past < ms; past += 20) {
    sent += 1;
    world.background(world.operations(node).sendMessage({ roomId, userId: "writer", text: `message ${sent}` }));
    await world.clock.advance(20);
  }
}

function lastDelivery({ reader }: Cluster): number {
  return reader.transcript.deliveries.at(-1)?.at ?? 0;
}

describe("a right that is lost", () => {
  test.each([
    ["the bus works", 0],
    ["nothing arrives by bus", 1],
  ])("[ACC-1] by the settings of its room ends delivery on every node within 1 s while %s", async (_, lost) => {
    const cluster = await createCluster();
    const { world, office, home, reader } = cluster;
    world.network.faults.lost = lost;
    let lostAt = 0;
    const change = world.operations(office).putRoom({ roomId, access: "members" });
    world.background(change.then(() => (lostAt = world.clock.now())));
    await flood(cluster, home, 4_000);
    expect(lastDelivery(cluster)).toBeGreaterThan(0);
    expect(lastDelivery(cluster) - lostAt).toBeLessThanOrEqual(lossMs);
    expect(reader.transcript.closings).toEqual([{ room: roomId, reason: "forbidden" }]);
    await world.stop();
  });

  test("[ACC-1] by an end of the membership holds on a node that had remembered the answer and follows nothing of the room", async () => {
    const { world, office, home } = await createCluster();
    const operations = world.operations(office);
    await world.until(operations.putRoom({ roomId: "other", access: "members" }));
    await world.until(operations.setMembership({ roomId: "other", userId: "ann", role: "member" }));
    const ann = { id: "ann", tenant: "default", roles: [], expiresAt: null, issuedAt: 0 };
    const rights = () => world.until(Promise.resolve(home.access.rights(ann, "default/other")));
    await world.clock.advance(lossMs);
    expect((await rights()).read).toBe(true);
    await world.until(operations.setMembership({ roomId: "other", userId: "ann", role: null }));
    await world.clock.advance(lossMs);
    expect((await rights()).read).toBe(false);
    await world.stop();
  });

  test("[ACC-1] is not delivered around by a node that cannot confirm it: it stops within 1 s", async () => {
    const cluster = await createCluster();
    const { world, office, home } = cluster;
    world.cutStore(home, true);
    const cutAt = world.clock.now();
    await flood(cluster, office, 3_000);
    expect(lastDelivery(cluster)).toBeGreaterThan(cutAt + 400);
    expect(lastDelivery(cluster) - cutAt).toBeLessThanOrEqual(lossMs);
    await world.stop();
  });

  test("[ACC-1] a node that could not confirm for a while goes on where it stopped, and answered meanwhile", async () => {
    const cluster = await createCluster();
    const { world, office, home, reader } = cluster;
    world.cutStore(home, true);
    await flood(cluster, office, 2_000);
    const stoppedAt = reader.transcript.deliveries.length;
    expect(stoppedAt).toBeLessThan(60);
    reader.session?.emit(eventFrame("user_typing", { roomId, userId: "the node itself" }));
    const joining = reader.join(roomId);
    await world.clock.advance(500);
    expect(reader.transcript.signals.map(({ userId }) => userId)).toEqual(["the node itself"]);
    expect(reader.transcript.deliveries.length).toBe(stoppedAt);
    world.cutStore(home, false);
    world.background(joining);
    await world.clock.advance(3_000);
    const seqs = reader.transcript.deliveries.map(({ seq }) => seq);
    expect(reader.transcript.faults).toEqual([]);
    expect(reader.transcript.seen.get(roomId)?.seq).toBe(100);
    expect(seqs).toEqual(seqs.toSorted((one, other) => one - other));
    await world.stop();
  });

  test("[ACC-1] entries that were read for a reader below the tail wait, too, while the node cannot confirm", async () => {
    const cluster = await createCluster();
    const { world, home, reader } = cluster;
    reader.connection?.resumeReading(0);
    await flood(cluster, home, 6_000);
    const read = Promise.withResolvers<void>();
    const readAfter = world.store.readAfter.bind(world.store);
    world.store.readAfter = async (log, ...range) => {
      const page = await readAfter(log, ...range);
      if (log === `default/${roomId}`) await read.promise;
      return page;
    };
    reader.connection?.resumeReading(1_000);
    await world.clock.advance(300);
    const before = reader.transcript.deliveries.length;
    const confirmed = world.store.states.bind(world.store);
    world.store.states = () => Promise.reject(new StoreUnavailable("not now"));
    await world.clock.advance(2_000);
    read.resolve();
    await world.clock.advance(1_000);
    expect(reader.transcript.deliveries.length).toBe(before);
    world.store.states = confirmed;
    await world.clock.advance(3_000);
    expect(reader.transcript.faults).toEqual([]);
    expect(reader.transcript.seen.get(roomId)?.seq).toBe(300);
    await world.stop();
  });

  test("[ACC-1] a first page that waits is asked about again once it may be written", async () => {
    const { world, office, home, reader } = await createCluster();
    await world.until(world.operations(office).sendMessage({ roomId, userId: "writer", text: "hello" }));
    await world.clock.advance(100);
    world.cutStore(home, true);
    const pages = reader.transcript.pages.length;
    const joining = reader.join(roomId).catch(() => "refused");
    await world.clock.advance(2_000);
    await world.until(world.operations(office).putRoom({ roomId, access: "members" }));
    world.cutStore(home, false);
    await world.clock.advance(5_000);
    expect(await world.until(joining)).toBe("refused");
    expect(reader.transcript.pages.length).toBe(pages);
    await world.stop();
  });

  test("[ACC-1] a room that was deleted ends on every node", async () => {
    const { world, office, reader, home } = await createCluster();
    await world.until(world.operations(office).deleteRoom({ roomId }));
    await world.clock.advance(lossMs);
    expect(reader.transcript.closings).toEqual([{ room: roomId, reason: "deleted" }]);
    expect(home.feeds.get(`default/${roomId}`)).toBeUndefined();
    await world.stop();
  });

  test("[ACC-1] what a node missed, and is kept no longer, counts as anything", async () => {
    const { world, office, home, reader } = await createCluster();
    const closed: CloseReason[] = [];
    const administrator = new SimulatedConnection(
      "administrator",
      { clock: world.clock, windowBytes: simulatedWindowBytes, bytesPerMs: 1_000 },
      { onPayload: () => {}, onClosed: (reason) => closed.push(reason) },
    );
    home.lostRights.attend(reader.user, administrator);
    world.cutStore(home, true);
    world.network.faults.lost = 1;
    await world.until(world.operations(office).putRoom({ roomId, access: "members" }));
    await world.until(world.operations(office).accessChanged({ userId: "someone" }));
    await world.until(world.store.trim(controlLog, 1_000));
    world.cutStore(home, false);
    await world.clock.advance(lossMs);
    expect(reader.transcript.closings).toEqual([{ room: roomId, reason: "forbidden" }]);
    // Who speaks outside of any session connects anew, and is asked who it is.
    expect(closed).toEqual(["kicked"]);
    await world.stop();
  });

  test("[ACC-1] what no node can have missed is not kept", async () => {
    const { world, home } = await createCluster();
    const change = { kind: "access_changed", tenant: "default", userId: "someone", roomId: null };
    const data = JSON.stringify({ from: "elsewhere", change });
    const common = {
      log: controlLog,
      type: "control",
      actor: "@server",
      at: 0,
      v: 1,
      data,
      clientId: null,
      effect: null,
    };
    for (let n = 1; n <= 12; n += 1) {
      const appends = Array.from({ length: 1_000 }, (_, index) => ({ ...common, id: `${n}-${index}` }));
      await world.until(world.store.append({ node: "elsewhere", n, appends }));
    }
    await world.clock.advance(3_000);
    const [state] = await world.until(world.store.states([controlLog]));
    expect(state?.head).toBeGreaterThan(12_000);
    expect((state?.head ?? 0) + 1 - (state?.floor ?? 0)).toBeLessThan(11_000);
    expect(home.feeds.get(controlLog)?.head).toBe(state?.head);
    await world.stop();
  });

  test("[ACC-1] an entry that a newer node wrote counts as anything", async () => {
    const { world, office, reader } = await createCluster();
    await world.until(
      world.store.putRoom({ log: `default/${roomId}`, access: "members", retainEntriesMax: 0, createdAt: 0 }),
    );
    const change = { kind: "something_new" };
    await world.until(
      office.sequencer.append({
        log: controlLog,
        id: "newer",
        type: "control",
        actor: "@server",
        at: 0,
        v: 2,
        data: JSON.stringify({ from: "a newer node", change }),
        clientId: null,
        effect: null,
      }),
    );
    await world.clock.advance(lossMs);
    expect(reader.transcript.closings).toEqual([{ room: roomId, reason: "forbidden" }]);
    await world.stop();
  });
});

describe("a user who is disconnected", () => {
  test("[ACC-2] is so on every node, and once; only those of the node that was asked are counted", async () => {
    const { world, office, home, reader } = await createCluster();
    const other = world.addClient("reader");
    await world.until(other.connect(office));
    expect(await world.until(world.operations(office).disconnectUser({ userId: "reader" }))).toBe(1);
    await world.clock.advance(100);
    expect(reader.closeReasons).toEqual(["kicked"]);
    await world.until(reader.connect(home, "session"));
    await world.until(other.connect(office, "session"));
    await world.clock.advance(3_000);
    expect([reader.closeReasons, other.closeReasons]).toEqual([["kicked"], ["kicked"]]);
    expect([reader.recovered, other.recovered]).toEqual([1, 1]);
    await world.stop();
  });

  test("[ACC-2] for good, has no session on any node to come back to", async () => {
    const { world, office, home, reader } = await createCluster();
    await world.until(world.operations(office).revokeUser({ userId: "reader" }));
    await world.clock.advance(100);
    expect(reader.closeReasons).toEqual(["kicked"]);
    expect(home.sessions.of("default", "reader")).toEqual([]);
    await world.stop();
  });

  test("[ACC-2] while a node heard nothing at all, is so when it hears again", async () => {
    const { world, office, home, reader } = await createCluster();
    world.cutStore(home, true);
    world.network.faults.lost = 1;
    await world.until(world.operations(office).revokeUser({ userId: "reader" }));
    await world.until(world.store.trim(controlLog, 1_000));
    expect(reader.closeReasons).toEqual([]);
    world.cutStore(home, false);
    await world.clock.advance(lossMs);
    expect(reader.closeReasons).toEqual(["kicked"]);
    await world.stop();
  });

  test("[ACC-2] while a node heard nothing at all, keeps what came with a newer token", async () => {
    const { world, office, home, reader } = await createCluster();
    const fresh = world.addClient("reader");
    await world.until(fresh.connect(home));
    world.cutStore(home, true);
    world.network.faults.lost = 1;
    await world.until(world.operations(office).revokeUser({ userId: "reader" }));
    await world.until(world.store.trim(controlLog, 1_000));
    if (fresh.session !== null) home.renew(fresh.session, { ...fresh.user, issuedAt: world.clock.now() / 1_000 + 2 });
    world.cutStore(home, false);
    await world.clock.advance(lossMs);
    expect([reader.closeReasons, fresh.closeReasons]).toEqual([["kicked"], []]);
    expect(home.sessions.of("default", "reader")).toEqual([fresh.session]);
    await world.stop();
  });
});

test("a node that is alone tells nobody, and asks for nothing", async () => {
  const world = new World();
  const { store, clock, openRooms, limits } = world;
  const policy = storedMemberships(store, openRooms);
  const node = new ParleyNode({ id: "alone", store, bus: localBus(), clock, policy, openRooms, limits });
  await node.start();
  const operations = createOperations(node);
  await world.until(operations.putRoom({ roomId }));
  await world.until(operations.setMembership({ roomId, userId: "ann", role: "member" }));
  await world.until(operations.accessChanged({ userId: "ann", roomId }));
  await world.until(operations.disconnectUser({ userId: "ann" }));
  const calls = new Map(store.calls);
  await clock.advance(10_000);
  expect(store.calls).toEqual(calls);
  expect(await world.until(store.states([controlLog]))).toEqual([undefined]);
  await world.until(node.stop());
});
