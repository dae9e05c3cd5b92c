// An app with a Parley in it and a Socket.IO namespace `/chat` of its own. Argument: the Parley's options, as JSON.
// Takes commands as `POST /` with `{call, …}`, answered in JSON, and prints its address.
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { z } from "zod";
import { createParley } from "../../packages/server/src/index.ts";

const optionsSchema = z.object({
  secret: z.string(),
  store: z.object({ url: z.string() }),
  bus: z.object({
    url: z.array(z.string()),
    mode: z.enum(["single", "sentinel", "cluster"]),
    secret: z.string(),
    prefix: z.string(),
  }),
});

const room = z.string();
const commandSchema = z.discriminatedUnion("call", [
  z.object({ call: z.literal("open") }),
  z.object({ call: z.literal("emit"), room, text: z.string() }),
  z.object({ call: z.literal("ask"), room, text: z.string() }),
  z.object({ call: z.literal("fetchSockets"), room: room.optional() }),
  z.object({ call: z.literal("socketsJoin"), from: room, room }),
  z.object({ call: z.literal("disconnectSockets"), room }),
  z.object({ call: z.literal("serverSideEmit"), text: z.string() }),
  z.object({ call: z.literal("serverSideAsk"), text: z.string() }),
  z.object({ call: z.literal("heard") }),
  z.object({ call: z.literal("spoil") }),
]);

const parley = await createParley({
  ...optionsSchema.parse(JSON.parse(process.argv[2] ?? "{}")),
  log: { format: "json" },
});
const heard: string[] = [];
/** What Socket.IO gives an acknowledgement that comes too late. */
const answerMs = 2_000;

function openChat() {
  const opened = parley.io.of("/chat");
  opened.on("connection", (socket) => {
    socket.data = { name: String(socket.handshake.auth["name"]) };
    socket.on("enter", (entered: string, done: () => void) => {
      void Promise.resolve(socket.join(entered)).then(done);
    });
  });
  opened.on("notice", (text: string) => {
    if (text === "unbearable") throw new Error("a listener of the app failed");
    heard.push(text);
  });
  opened.on("question", (text: string, answer: (text: string) => void) => answer(`${process.pid}: ${text}`));
  return opened;
}

let opened: ReturnType<typeof openChat> | null = null;

async function run(command: z.output<typeof commandSchema>): Promise<unknown> {
  opened ??= openChat();
  const chat = opened;
  switch (command.call) {
    case "open":
      return null;
    case "emit":
      return chat.to(command.room).emit("said", command.text, Buffer.from(command.text));
    case "ask":
      return chat.timeout(answerMs).to(command.room).emitWithAck("asked", command.text);
    case "fetchSockets": {
      const found = command.room === undefined ? chat.fetchSockets() : chat.in(command.room).fetchSockets();
      return (await found).map(({ data, rooms }) => ({ ...data, rooms: [...rooms].length }));
    }
    case "socketsJoin":
      return chat.in(command.from).socketsJoin(command.room);
    case "disconnectSockets":
      return chat.in(command.room).disconnectSockets();
    case "serverSideEmit":
      return chat.serverSideEmit("notice", command.text);
    case "serverSideAsk":
      return chat.serverSideEmitWithAck("question", command.text);
    case "heard":
      return heard;
    case "spoil":
      // What has no form on the wire: neither nodes nor clients can be told of it.
      for (const socket of chat.sockets.values()) socket.data = { name: 1n };
      return chat.emit("said", 1n);
  }
}

const server = createServer((request, response) => {
  const answered = async () => run(commandSchema.parse(await json(request)));
  answered().then(
    (answer) => response.end(JSON.stringify(answer ?? null)),
    (error: unknown) => response.writeHead(500).end(String(error)),
  );
});
parley.attach(server);
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  console.log(`listens at http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`);
});
process.once("SIGTERM", () => {
  void parley.close().then(() => {
    server.close();
    server.closeAllConnections();
  });
});
