import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { resolveConfig } from "../packages/server/src/config.ts";
import { repositoryRoot, spawnNode } from "./support/process.ts";
import { spawnServer, tokenFor } from "./support/server.ts";
import { StockClient } from "./support/stock-client.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";

const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
const examples = ["examples/embed.ts", "examples/client.ts"];

test("the examples run as they are: a server inside an app, and a client of it", async () => {
  await using folder = await createTemporaryFolder();
  const [embed = "", client = ""] = examples.map((file) => path.join(repositoryRoot, file));
  await using server = await spawnNode([embed], {
    folder: folder.path,
    environment: { PARLEY_AUTH_SECRET: secret, PORT: "0" },
  });
  const [, port = ""] = await server.waitForLine(/"?port"?: (\d+)/);
  const url = `http://127.0.0.1:${port}`;
  expect(await (await fetch(url)).text()).toContain("Your own app");

  const token = await tokenFor({ config: resolveConfig({ overrides: { auth: { secret } } }) }, "alice");
  await using chat = await spawnNode([client], { environment: { SERVER_URL: url, TOKEN: token } });
  await chat.waitForLine(/^0 messages so far$/);
  await chat.waitForLine(/^alice: Hello from the client$/);
  await chat.waitForLine(/^sent$/);
  await chat.waitForLine(/^pizza in 10 minutes$/);
  await server.waitForLine(/^alice is here$/);
  expect(chat.stdout).not.toContain("error");
});

test.each(examples)("%s is short, and stands in README.md word for word", (file) => {
  const code = readFileSync(path.join(repositoryRoot, file), "utf8").trim();
  expect(code.split("\n").filter((line) => line !== "").length).toBeLessThanOrEqual(15);
  expect(readFileSync(path.join(repositoryRoot, "README.md"), "utf8")).toContain(code);
});

test("the tutorial's server runs as it is: a login, members of its own, an invitation that waits, a removal", async () => {
  await using folder = await createTemporaryFolder();
  await using server = await spawnNode([path.join(repositoryRoot, "examples/tutorial.ts")], {
    folder: folder.path,
    environment: { PARLEY_AUTH_SECRET: secret, PORT: "0" },
  });
  const [, port = ""] = await server.waitForLine(/"?port"?: (\d+)/);
  const url = `http://127.0.0.1:${port}`;
  const ask = async (route: string): Promise<string> => (await fetch(`${url}${route}`)).text();
  const login = async (user: string) => new StockClient(url, { auth: { token: await ask(`/login?user=${user}`) } });

  using bob = await login("bob");
  expect(await bob.join("room-123")).toMatchObject({ ok: true });
  {
    using carol = await login("carol");
    expect(await carol.join("room-123")).toMatchObject({ ok: false, error: { code: "forbidden" } });
  }
  const invitation = { roomId: "room-123", userId: "carol" };
  expect(await bob.request("invite", invitation)).toMatchObject({ ok: true, result: { invited: true } });

  using carol = await login("carol");
  await carol.until("the invitation", () => carol.events.includes("invited"));
  await carol.join("room-123");
  await carol.send("room-123", "thank you");
  await bob.until("her message", () => bob.textsOf("room-123").includes("thank you"));

  expect(await ask("/remove?room=room-123&user=carol")).toBe("removed");
  await carol.until("the end of the room", () => carol.events.includes("room_closed"));
  await bob.until("the app's own event", () => bob.events.includes("member_removed"));
  expect(carol.events).not.toContain("member_removed");
  expect(await server.stop("SIGTERM")).toEqual({ code: 0, signal: null });
});

test("each request that docs/first-hour.md shows with curl is taken", async () => {
  await using server = await spawnServer();
  const guide = readFileSync(path.join(repositoryRoot, "docs/first-hour.md"), "utf8");
  const requests = [...guide.matchAll(/^curl (?:-X ([A-Z]+) +)?\$API(\S+) -H "Authorization: Bearer \$KEY"(.*)$/gm)];
  for (const [, method = "GET", route = "", rest = ""] of requests) {
    const [, body] = / -d '(.*)'$/.exec(rest) ?? [];
    await server.api(method, route, body === undefined ? undefined : JSON.parse(body));
  }
  expect(requests.length).toBe(guide.split("\n").filter((line) => line.startsWith("curl ")).length);
  expect(await server.api("GET", "/rooms/team/history")).toMatchObject({
    messages: [{ userId: "alice", text: "Hello" }],
  });
});
