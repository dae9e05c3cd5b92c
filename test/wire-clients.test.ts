import { io, type Socket } from "socket.io-client";
import { describe, expect, test } from "vitest";
import { startEchoServer } from "./support/echo-gateway.ts";

const ways = [["websocket"], ["polling"], ["polling", "websocket"]];

function nextEvent(socket: Socket, event: string): Promise<unknown[]> {
  return new Promise((resolve) => socket.once(event, (...args: unknown[]) => resolve(args)));
}

describe.each(ways.map((transports) => ({ name: transports.join(", then "), transports: [...transports] })))(
  "the stock client over $name",
  ({ transports }) => {
    test("[WIRE-1] connects with its auth, sends events, gets events and acknowledgements", async () => {
      await using server = await startEchoServer();
      const socket = io(server.url, { transports, auth: { token: "abc" }, forceNew: true, reconnection: false });
      expect(await nextEvent(socket, "auth")).toEqual([{ token: "abc" }]);
      const back = nextEvent(socket, "message-back");
      socket.emit("message", 1, "zwei", { drei: [true, null] });
      expect(await back).toEqual([1, "zwei", { drei: [true, null] }]);
      expect(await socket.emitWithAck("ask", "x")).toBe("x");
      socket.disconnect();
    });
  },
);
