import { createElement, type FunctionComponent } from "react";
import { renderToString } from "react-dom/server";
import { expect, test } from "vitest";
import { FakeServer } from "../test/fake-server.ts";
import { recordStates } from "../test/recorder.ts";
import { connect } from "./client.ts";
import { ParleyProvider, useConnection, useParley, useRoom } from "./react.ts";

const Chat: FunctionComponent = () => {
  const client = useParley();
  const connection = useConnection();
  const [{ state, messages, people, room }, again] = [useRoom("r"), useRoom("r")];
  const isShared = room === again.room && room === client.room("r");
  return createElement("p", null, `${connection.state} ${state} ${messages.length} ${people.length} ${isShared}`);
};

test("on a server a room is rendered as before the join, and nothing is asked for", async () => {
  await using server = await FakeServer.start();
  const client = connect({ url: server.url, token: "t" });
  using stack = new DisposableStack();
  stack.defer(() => client.close());
  const render = (): string => renderToString(createElement(ParleyProvider, { client }, createElement(Chat)));
  expect(render()).toBe("<p>connecting joining 0 0 true</p>");
  await recordStates(client).first(({ state }) => state === "connected");
  expect(render()).toBe("<p>connected joining 0 0 true</p>");
  expect(server.count("join_room")).toBe(0);
});

test("a hook without its provider says what is missing", () => {
  expect(() => renderToString(createElement(Chat))).toThrow("useParley needs a <ParleyProvider client={…}> above it");
});
