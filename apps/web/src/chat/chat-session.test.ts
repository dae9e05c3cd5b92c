import { connect } from "@parley/client";
import { expect, test } from "vitest";
import { ChatSession } from "./chat-session.ts";

test("a message that is erased while it is shown goes away", () => {
  const client = connect({ url: "http://127.0.0.1:1", getToken: () => new Promise<string>(() => undefined) });
  const session = new ChatSession({ userId: "me", roomId: "r", getToken: () => Promise.resolve("") }, client);
  session.open();
  const room = client.room("r");
  const [one, two] = [1, 2].map((seq) => {
    return { id: `m${seq}`, roomId: "r", seq, userId: "her", text: "", createdAt: "2030-01-01T00:00:00.000Z" };
  });
  room.emit("reset", { reason: "joined", messages: [one, two].filter((message) => message !== undefined) });
  room.emit("erased", { roomId: "r", seq: 3, entrySeq: 1 });
  expect(session.snapshot().timeline.messages.map(({ seq }) => seq)).toEqual([2]);
  session.close();
});
