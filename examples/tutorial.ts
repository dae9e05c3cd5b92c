import { createServer, type IncomingMessage } from "node:http";
import { createParley } from "@parley/server";
import { z } from "zod";

// What your database says: who is a member of which room.
const members = new Map([["room-123", new Set(["alice", "bob"])]]);

const parley = await createParley({
  secret: process.env["PARLEY_AUTH_SECRET"],
  // Where your pages are served from, when it is not this server.
  origins: ["http://localhost:5173"],
  // Asked before a user joins, reads or sends; each answer is remembered for 30 s (`access.accessTtlMs`).
  access: ({ user, roomId }) => members.get(roomId)?.has(user.id) ?? false,
});

// In the place of `socket.on("invite", …)`. What it returns, the client gets as `{ok: true, result}`.
const invitation = z.object({ roomId: z.string(), userId: z.string() });
parley.on("invite", invitation, async ({ roomId, userId }, { user }) => {
  if (members.get(roomId)?.has(user.id) !== true) return { invited: false };
  members.get(roomId)?.add(userId);
  await parley.access.changed(userId, roomId);
  // Kept for a user who is away.
  await parley.notifyUser(userId, "invited", { roomId, by: user.id });
  return { invited: true };
});

// Your own routes. Here you would check a password, and that the caller may remove a member.
const routes: Readonly<Record<string, (query: URLSearchParams) => Promise<string>>> = {
  "/login": (query) => parley.createToken(query.get("user") ?? "", { expiresInSeconds: 3_600 }),
  "/remove": async (query) => {
    const [roomId, userId] = [query.get("room") ?? "", query.get("user") ?? ""];
    members.get(roomId)?.delete(userId);
    // Ends delivery at once here, within a second on other nodes.
    await parley.access.changed(userId, roomId);
    await parley.publish(roomId, "member_removed", { userId });
    return "removed";
  },
};

async function answer({ url = "/" }: IncomingMessage): Promise<string> {
  const { pathname, searchParams } = new URL(url, "http://localhost");
  return (await routes[pathname]?.(searchParams)) ?? "Your own app answers here.";
}

const server = createServer((request, response) => {
  answer(request).then(
    (text) => response.end(text),
    () => response.writeHead(500).end(),
  );
});
parley.attach(server);
server.listen(process.env["PORT"] ?? 3000, () => console.log("listening on", server.address()));

process.once("SIGTERM", () => {
  // Finishes what was acknowledged, then closes the connections and the store.
  void parley.close().then(() => server.close());
});
