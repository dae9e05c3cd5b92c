import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { repositoryRoot, spawnNode, type TestProcess } from "./support/process.ts";
import { type SpawnedServer, spawnServer, tokenFor } from "./support/server.ts";

const client = path.join(repositoryRoot, "test/tutorial/client.mjs");
const admin = path.join(repositoryRoot, "test/tutorial/admin.mjs");

let server: SpawnedServer;
let cleanup: AsyncDisposableStack;

// One server for all: each test has a room and users of its own.
beforeAll(async () => {
  const heartbeat = { PARLEY_HEARTBEAT_PING_INTERVAL_MS: "3000", PARLEY_HEARTBEAT_PING_TIMEOUT_MS: "6000" };
  server = await spawnServer({ environment: { PARLEY_ORIGINS: "https://app.example", ...heartbeat } });
});

afterAll(() => server[Symbol.asyncDispose]());

beforeEach(() => {
  cleanup = new AsyncDisposableStack();
});

afterEach(() => cleanup.disposeAsync());

async function createRoom(roomId: string): Promise<string> {
  await server.api("PUT", `/rooms/${roomId}`, { access: "members" });
  for (const user of ["alice", "bob"]) await server.api("PUT", `/rooms/${roomId}/members/${user}`, { role: "member" });
  return roomId;
}

/** Runs a client of the tutorial as it is. An empty text leaves a variable unset, as the clients see it. */
async function run(file: string, variables: { TOKEN?: string; TEXT?: string; ROOM?: string }): Promise<TestProcess> {
  const none = { TOKEN: undefined, TEXT: undefined, ROOM: undefined };
  return cleanup.use(await spawnNode([file], { environment: { ...none, URL: server.url, ...variables } }));
}

async function runUser(userId: string, variables: { TEXT?: string; ROOM?: string } = {}): Promise<TestProcess> {
  const child = await run(client, { TOKEN: await tokenFor(server, userId), ...variables });
  await child.waitForLine(/^connected \S+$/);
  return child;
}

function linesOf(child: TestProcess, pattern: RegExp): string[] {
  return child.stdout.split("\n").filter((line) => pattern.test(line));
}

describe("the tutorial's client", () => {
  test("joins, gets the history, and its message reaches everyone in the room", async () => {
    await createRoom("room-123");
    const alice = await runUser("alice", { TEXT: "hello" });
    await alice.waitForLine(/^room_history 0 undefined$/);
    await alice.waitForLine(/^new_message room-123 alice hello$/);

    const bob = await runUser("bob", { TEXT: "hi alice" });
    await bob.waitForLine(/^room_history 1 hello$/);
    await alice.waitForLine(/^user_joined bob$/);
    for (const child of [alice, bob]) await child.waitForLine(/^new_message room-123 bob hi alice$/);
    expect(linesOf(bob, /^new_message room-123 alice/)).toEqual([]);
    expect(linesOf(alice, /^user_joined alice/)).toEqual([]);
    const saved = await server.api("GET", "/rooms/room-123/history");
    expect(saved).toMatchObject({ messages: [{ text: "hello" }, { text: "hi alice" }] });
  });

  test("shows the others who types", async () => {
    const ROOM = await createRoom("typing");
    const [alice, bob] = await Promise.all([runUser("alice", { ROOM }), runUser("bob", { ROOM })]);
    for (const child of [alice, bob]) await child.waitForLine(/^room_history/);
    bob.writeInput("b");
    await alice.waitForLine(/^user_typing bob$/);
    alice.writeInput("a");
    await bob.waitForLine(/^user_typing alice$/);
    expect(linesOf(bob, /^user_typing bob/)).toEqual([]);
  });

  test("[ACC-1] is told that it may not enter a room, and gets nothing of it", async () => {
    const ROOM = await createRoom("members-only");
    const mallory = await runUser("mallory", { ROOM, TEXT: "let me in" });
    await mallory.waitForLine(/^error forbidden/);
    mallory.writeInput("m");
    await mallory.waitForLine(/^error forbidden .*send/);
    const alice = await runUser("alice", { ROOM, TEXT: "secret" });
    await alice.waitForLine(/^new_message members-only alice secret$/);
    await server.api("POST", "/announce", { message: "done" });
    await mallory.waitForLine(/^announcement done$/);
    expect(linesOf(mallory, /room_history|new_message|user_joined/)).toEqual([]);
  });

  test("comes back by itself after the server was killed, with what it missed", async () => {
    const ROOM = await createRoom("crash");
    const alice = await runUser("alice", { ROOM, TEXT: "before" });
    await alice.waitForLine(/^new_message crash alice before$/);
    await server.kill();
    await server.start();
    await server.api("POST", "/rooms/crash/messages", { userId: "bob", text: "after" });
    const [line] = await alice.waitForLine(/^(new_message crash bob after|room_history \d after)$/);
    expect(linesOf(alice, / after$/)).toEqual([line]);
  });

  test("is refused without a token, and with a bad one", async () => {
    const [nobody, forger] = await Promise.all([
      run(client, {}),
      run(client, { TOKEN: "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9." }),
    ]);
    await nobody.waitForLine(/^connect_error no token/);
    await forger.waitForLine(/^connect_error /);
    expect(linesOf(nobody, /^connected/)).toEqual([]);
    expect(linesOf(forger, /^connected/)).toEqual([]);
  });

  test("its end is logged", async () => {
    const hugo = await runUser("hugo");
    // Found out by the heartbeat when it was still polling, and between two polls.
    await hugo.stop();
    const [line] = await server.child.waitForLine(/^.*"user":"hugo".*"event":"disconnected".*$/);
    expect(JSON.parse(line)).toMatchObject({ reason: expect.stringMatching(/^(client_|transport_|ping_timeout)/) });
    const [signature] = (await tokenFor(server, "hugo")).split(".");
    expect(server.child.stdout).not.toContain(signature);
  });
});

describe("the tutorial's administrator", () => {
  test("announces to all clients", async () => {
    const [alice, bob] = await Promise.all([runUser("alice"), runUser("bob", { ROOM: "another-room" })]);
    const administrator = await run(admin, {
      TOKEN: await tokenFor(server, "carol", { roles: ["admin"] }),
      TEXT: "maintenance at noon",
    });
    await administrator.waitForLine(/^announced \{ ok: true/);
    expect(await administrator.waitForExit()).toEqual({ code: 0, signal: null });
    for (const child of [alice, bob]) await child.waitForLine(/^announcement maintenance at noon$/);
  });

  test("[ACC-1] a user's token is refused, and no token is", async () => {
    const [user, other, nobody] = await Promise.all([
      run(admin, { TOKEN: await tokenFor(server, "alice") }),
      run(admin, { TOKEN: await tokenFor(server, "alice", { roles: ["user", "Admin"] }) }),
      run(admin, {}),
    ]);
    for (const child of [user, other]) await child.waitForLine(/^connect_error .*admin/);
    await nobody.waitForLine(/^connect_error no token/);
    for (const child of [user, other, nobody]) {
      expect(await child.waitForExit()).toEqual({ code: 0, signal: null });
      expect(child.stdout).not.toContain("announced");
    }
  });
});

describe("notifyUser", () => {
  const notify = (user: string, number: number) =>
    server.api("POST", `/users/${user}/notify`, { event: "invoice_paid", data: { number } });
  const invoices = (child: TestProcess) => linesOf(child, /^invoice_paid/);

  test("reaches a user who is here at once, and nobody else", async () => {
    const [dora, emil] = await Promise.all([runUser("dora"), runUser("emil")]);
    await notify("dora", 1);
    await dora.waitForLine(/^invoice_paid \{ number: 1 \}$/);
    await server.api("POST", "/announce", { message: "after the invoice" });
    for (const child of [dora, emil]) await child.waitForLine(/^announcement after the invoice$/);
    expect(invoices(emil)).toEqual([]);
    expect(invoices(dora)).toHaveLength(1);
  });

  test("reaches a user who was away on return, once", async () => {
    await notify("frida", 1);
    await notify("frida", 2);
    const first = await runUser("frida", { ROOM: "nowhere" });
    await first.waitForLine(/^invoice_paid \{ number: 2 \}$/);
    expect(invoices(first)).toEqual(["invoice_paid { number: 1 }", "invoice_paid { number: 2 }"]);
    // The answer to this shows that the server knows, too: the pong was on its way before.
    first.writeInput("f");
    await first.waitForLine(/^error forbidden .*send/);
    await first.stop();

    const second = await runUser("frida");
    await notify("frida", 3);
    await second.waitForLine(/^invoice_paid \{ number: 3 \}$/);
    expect(invoices(second)).toEqual(["invoice_paid { number: 3 }"]);
  });

  test("survives a kill of the server between notice and return", async () => {
    await notify("gustav", 1);
    await server.kill();
    await server.start();
    const gustav = await runUser("gustav");
    await gustav.waitForLine(/^invoice_paid \{ number: 1 \}$/);
    expect(invoices(gustav)).toHaveLength(1);
  });
});

describe("CORS with credentials", () => {
  const handshake = (origin: string, method: string) =>
    fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, {
      method,
      headers: { origin, ...(method === "OPTIONS" ? { "access-control-request-headers": "x-mine" } : {}) },
    });

  test("an origin that is allowed is named, with credentials; another is refused", async () => {
    for (const method of ["GET", "OPTIONS"]) {
      const { status, headers } = await handshake("https://app.example", method);
      expect(status).toBeLessThan(300);
      expect(headers.get("access-control-allow-origin")).toBe("https://app.example");
      expect(headers.get("access-control-allow-credentials")).toBe("true");
      expect(headers.get("vary")).toBe("Origin");
    }
    const refused = await handshake("https://evil.example", "GET");
    expect(refused.status).toBe(403);
    expect(refused.headers.get("access-control-allow-origin")).toBeNull();
  });
});
