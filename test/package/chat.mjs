// Run by package-install.test.ts in a folder that has the published packages, and nothing else.
import { createServer } from "node:http";
import { connect } from "@parley/client";
import { createParley } from "@parley/server";

const parley = await createParley({ secret: process.env.SECRET, store: { path: "data" }, log: { level: "silent" } });
const server = createServer();
parley.attach(server);
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
await parley.putRoom({ roomId: "lobby", access: "public" });

const url = `http://127.0.0.1:${server.address().port}`;
const [alice, bob] = await Promise.all(
  ["alice", "bob"].map(async (user) => connect({ url, token: await parley.createToken(user) })),
);
const received = new Promise((resolve) => bob.room("lobby").on("message", resolve));
await Promise.all([alice.room("lobby").join(), bob.room("lobby").join()]);
const { status } = await alice.room("lobby").send("hello").outcome;
const { userId, text } = await received;
console.log(status, userId, text);

// The process ends by itself: nothing is left open.
alice.close();
bob.close();
server.close();
await parley.close();
