import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { resolveConfig } from "../packages/server/src/config.ts";
import { repositoryRoot, spawnNode } from "./support/process.ts";
import { tokenFor } from "./support/server.ts";
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
