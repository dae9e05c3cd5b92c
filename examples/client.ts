import { connect } from "@parley/client";

const { SERVER_URL: url = "http://127.0.0.1:3000", TOKEN: token = "" } = process.env;
const client = connect({ url, token });
client.on("error", (error) => console.log("error", error.code, error.message));
client.on("notification", ({ name, data }) => console.log(name, data));

const lobby = client.room("lobby");
lobby.on("reset", ({ messages }) => console.log(messages.length, "messages so far"));
lobby.on("message", ({ userId, text }) => console.log(`${userId}: ${text}`));
await lobby.join();

// Waits out disconnects, and is never sent twice.
const outcome = await lobby.send("Hello from the client").outcome;
console.log(outcome.status);

// What the app's own server answers to its own event; a refusal rejects with its code.
const { minutes } = await client.call<{ minutes: number }>("order_pizza", { size: "small" });
console.log(`pizza in ${minutes} minutes`);
