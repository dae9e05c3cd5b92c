import { connectAdmin, type AdminClient } from "@parley/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Cluster } from "./support/cluster.ts";
import { eventually } from "./support/eventually.ts";
import { UserClient } from "./support/user-client.ts";

// An administrator's orders on two real nodes behind a balancer: each test has users of its own.
let cluster: Cluster;
beforeAll(async () => {
  const environment = { PARLEY_DRAIN_DRAIN_MS: "200", PARLEY_DRAIN_MOVE_MS: "1000" };
  cluster = await Cluster.start({ nodes: 2, balancer: "nginx", environment });
  await cluster.makeRoom("lobby");
}, 120_000);
afterAll(() => cluster[Symbol.asyncDispose]());

async function openAdmin(cleanup: DisposableStack): Promise<AdminClient> {
  const token = await cluster.tokenFor("root", { roles: ["admin"] });
  const admin = connectAdmin({ url: cluster.node(0).server.internalUrl, token });
  cleanup.defer(() => admin.close());
  await eventually("the console", () => admin.state.state === "connected" || undefined);
  return admin;
}

async function connectTo(index: number, userId: string): Promise<UserClient> {
  return UserClient.connect(cluster.node(index).server.url, { token: await cluster.tokenFor(userId) });
}

test("a kick ends the user's connections on all nodes, and they come back by themselves", async () => {
  using cleanup = new DisposableStack();
  const admin = await openAdmin(cleanup);
  const clients = [cleanup.use(await connectTo(0, "kim")), cleanup.use(await connectTo(1, "kim"))];
  const other = cleanup.use(await connectTo(1, "lea"));
  for (const client of clients) client.received.length = 0;
  expect(await admin.kick("kim")).toBe(1);
  for (const client of clients) {
    await client.got("disconnect");
    await client.got("connect");
  }
  await other.settle();
  expect(other.all("disconnect")).toEqual([]);
});

test("[ACC-2] a ban holds on all nodes until it is lifted, and what was issued before stays revoked", async () => {
  using cleanup = new DisposableStack();
  const admin = await openAdmin(cleanup);
  const before = await cluster.tokenFor("mia");
  const clients = [cleanup.use(await connectTo(0, "mia")), cleanup.use(await connectTo(1, "mia"))];
  await admin.ban("mia");
  for (const client of clients) expect((await client.got("connect_error")).args[1]).toMatchObject({ code: "banned" });
  await admin.unban("mia");
  await admin.unban("nobody-banned-ever");
  await expect(UserClient.connect(cluster.url, { token: before })).rejects.toThrow("token_revoked");
  // Tokens tell the second in which they were issued, and all of the ban's second are revoked.
  cleanup.use(await eventually("a token from after the ban", () => connectTo(1, "mia").catch(() => undefined)));
});

test("[IN-1] an order that cannot be read is refused with a code, and changes nothing", async () => {
  using cleanup = new DisposableStack();
  const user = cleanup.use(await connectTo(0, "nils"));
  const token = await cluster.tokenFor("root", { roles: ["admin"] });
  const admin = cleanup.use(await UserClient.connect(`${cluster.node(0).server.internalUrl}/admin`, { token }));
  for (const order of ["kick", "ban", "unban"])
    for (const payload of [undefined, null, "nils", {}, { userId: "" }, { userId: 7 }, { userId: "nils", more: 1 }])
      expect(await admin.request(order, payload)).toMatchObject({ ok: false, error: { code: "bad_request" } });
  for (const order of ["drain", "undrain"])
    expect(await admin.request(order, { now: true })).toMatchObject({ ok: false, error: { code: "bad_request" } });
  await user.settle();
  expect(user.all("disconnect")).toEqual([]);
});

test("[OUT-1] a node that is drained gives its clients away and takes none, until it is undrained", async () => {
  using cleanup = new DisposableStack();
  const admin = await openAdmin(cleanup);
  const { url, internalUrl } = cluster.node(0).server;
  const readiness = async () => (await fetch(`${internalUrl}/health/ready`)).status;
  const token = await cluster.tokenFor("otto");
  const here = async () => Number((await admin.statistics())["connections"]);
  const clients: UserClient[] = [];
  // Until the balancer has put some on this node.
  await eventually("clients here", async () => {
    const client = cleanup.use(await UserClient.connect(cluster.url, { token }));
    await client.request("join_room", "lobby");
    clients.push(client);
    return (await here()) >= 3 || undefined;
  });
  await admin.drain();
  await admin.drain();
  expect(await readiness()).toBe(503);
  await eventually("the clients to have moved", async () => (await here()) === 0 || undefined);
  const refused = await fetch(`${url}/socket.io/?EIO=4&transport=polling`);
  expect(refused.status).toBe(503);
  await cluster.node(1).server.api("POST", "/rooms/lobby/messages", { userId: "lea", text: "while one rests" });
  for (const client of clients)
    await client.got("new_message", (message) =>
      expect.objectContaining({ text: "while one rests" }).asymmetricMatch(message),
    );
  expect(admin.state.state).toBe("connected");
  await admin.undrain();
  expect(await readiness()).toBe(200);
  const back = cleanup.use(await connectTo(0, "otto"));
  expect(await back.request("join_room", "lobby")).toMatchObject({ ok: true });
});
