import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { Cluster, type ClusterNode } from "./support/cluster.ts";
import { eventually } from "./support/eventually.ts";
import { spawnProgram, type TestProcess } from "./support/process.ts";
import { UserClient } from "./support/user-client.ts";

// python-socketio, whose handlers take exactly the arguments of an event, on two real nodes behind nginx.

vi.setConfig({ testTimeout: 90_000 });

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({ nodes: 2, balancer: "nginx" });
}, 120_000);
afterAll(() => cluster[Symbol.asyncDispose]());

/** Debian's own: another Python would not have its packages. */
const python = "/usr/bin/python3";
const lineSchema = z.tuple([z.string()]).rest(z.unknown());
const presenceSchema = z.object({ connections: z.int() });

class PythonClient implements AsyncDisposable {
  readonly #child: TestProcess;

  private constructor(child: TestProcess) {
    this.#child = child;
  }

  static async start(userId: string, room: string, transports: string): Promise<PythonClient> {
    const token = await cluster.tokenFor(userId);
    // Why -u: what it says is read while it runs.
    const words = ["-u", "test/python/chat.py", cluster.url, token, room, transports];
    return new PythonClient(await spawnProgram(python, words));
  }

  /** What happened of this kind, so far. */
  all(kind: string): unknown[][] {
    const lines = this.#child.stdout.split("\n").slice(0, -1);
    return lines.flatMap((line) => {
      const [found, ...values] = lineSchema.parse(JSON.parse(line));
      return found === kind ? [values] : [];
    });
  }

  /** Errors: rejects with all that it said. */
  async got(kind: string, count = 1): Promise<unknown[]> {
    const last = () => (this.all(kind).length >= count ? this.all(kind).at(-1) : undefined);
    return eventually(kind, last).catch((error: unknown) => {
      throw new Error(`${this.#child.stdout}\n${this.#child.stderr}`, { cause: error });
    });
  }

  send(text: string): void {
    this.#child.writeInput(`${text}\n`);
  }

  get complaints(): string {
    return this.#child.stderr;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child[Symbol.asyncDispose]();
  }
}

async function connectionsOf({ server }: ClusterNode): Promise<number> {
  return presenceSchema.parse(await server.api("GET", "/statistics")).connections;
}

/** The nodes with and without the only client there is. */
async function findNodes(): Promise<{ readonly its: ClusterNode; readonly other: ClusterNode }> {
  return eventually("the client's node", async () => {
    const counts = await Promise.all(cluster.nodes.map(connectionsOf));
    const its = counts.indexOf(1);
    if (its < 0 || counts[1 - its] !== 0) return undefined;
    return { its: cluster.node(its), other: cluster.node(1 - its) };
  });
}

describe.each([
  ["polling,websocket", "websocket"],
  ["websocket", "websocket"],
  ["polling", "polling"],
])("a client in Python over %s", (transports, transport) => {
  test("[WIRE-1] joins, sends, and receives what was sent on the other node, without offsets", async () => {
    const room = `room-${transports}`;
    await cluster.makeRoom(room);
    await cluster.node(0).server.api("POST", `/rooms/${room}/messages`, { userId: "ann", text: "before" });
    await using client = await PythonClient.start(`guido-${transports}`, room, transports);
    expect(await client.got("joined")).toEqual([expect.objectContaining({ ok: true, roomId: room, seq: 1 })]);
    expect(await client.got("transport")).toEqual([transport]);
    expect(await client.got("history")).toEqual([[expect.objectContaining({ text: "before", seq: 1 })]]);
    const { other } = await findNodes();
    using bella = await UserClient.connect(other.server.url, { token: await cluster.tokenFor("bella") });
    expect(await bella.request("join_room", room)).toMatchObject({ ok: true });
    client.send("from Python");
    expect(await client.got("sent")).toEqual([expect.objectContaining({ ok: true, seq: 2 })]);
    await bella.got("new_message", (message) =>
      expect.objectContaining({ text: "from Python", userId: `guido-${transports}` }).asymmetricMatch(message),
    );
    expect(await bella.request("send_message", { roomId: room, text: "to Python" })).toMatchObject({
      ok: true,
      seq: 3,
    });
    await client.got("message", 2);
    expect(client.all("message")).toEqual([
      [expect.objectContaining({ text: "from Python", seq: 2 })],
      [expect.objectContaining({ text: "to Python", seq: 3 })],
    ]);
    await other.server.api("POST", "/announce", { message: { text: "tea" } });
    await other.server.api("POST", `/users/guido-${transports}/notify`, { event: "invoice_paid", data: [7] });
    const meta = { id: expect.any(String), seq: expect.any(Number), at: expect.any(String) };
    expect(await client.got("announcement")).toEqual([{ text: "tea" }, meta]);
    expect(await client.got("notification")).toEqual([[7], meta]);
    expect(client.all("error")).toEqual([]);
    expect(client.complaints).toBe("");
  });
});

test("[WIRE-1] a client in Python comes back by itself when its node is killed, and joins again", async () => {
  await cluster.makeRoom("lost");
  await using client = await PythonClient.start("guido", "lost", "polling,websocket");
  await client.got("joined");
  const { its, other } = await findNodes();
  await its.server.kill();
  await other.server.api("POST", "/rooms/lost/messages", { userId: "ann", text: "meanwhile" });
  // Why not at which place: it may be back before the message is there.
  expect(await client.got("joined", 2)).toEqual([expect.objectContaining({ ok: true })]);
  client.send("here again");
  expect(await client.got("sent")).toEqual([expect.objectContaining({ ok: true, seq: 2 })]);
  await eventually("its own message", () =>
    client.all("message").find(([message]) => expect.objectContaining({ text: "here again" }).asymmetricMatch(message)),
  );
  await its.server.start();
});
