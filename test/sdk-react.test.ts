import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { expect, test } from "vitest";
import { createParley } from "../packages/server/src/index.ts";
import { launchBrowser } from "./support/browser.ts";
import { repositoryRoot, spawnNode } from "./support/process.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";

const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
const source = path.join(repositoryRoot, "packages/client/test/react-page.tsx");
const vite = path.join(repositoryRoot, "node_modules/vite/bin/vite.js");

/** The page's script as a browser gets it. */
async function buildPage(): Promise<string> {
  await using folder = await createTemporaryFolder();
  const config = {
    root: folder.path,
    logLevel: "error",
    resolve: { conditions: ["parley-source", "module", "browser", "production"] },
    build: { rolldownOptions: { input: source, output: { entryFileNames: "page.js" } } },
  };
  const configFile = path.join(folder.path, "vite.config.mjs");
  await writeFile(configFile, `export default ${JSON.stringify(config)}`);
  await using build = await spawnNode([vite, "build", "--config", configFile]);
  expect(await build.waitForExit(60_000)).toEqual({ code: 0, signal: null });
  return await readFile(path.join(folder.path, "dist/page.js"), "utf8");
}

test("a page of React hooks follows a room, shares it, and leaves it with its last component", async () => {
  const script = await buildPage();
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await createTemporaryFolder());
  const parley = opened.use(await createParley({ secret, store: { path: folder.path }, log: { level: "silent" } }));
  await parley.putRoom({ roomId: "lobby", access: "public" });
  await parley.sendMessage({ roomId: "lobby", userId: "bob", text: "before" });
  const server = createServer((request, response) => {
    if (request.url === "/page.js") response.setHeader("content-type", "text/javascript").end(script);
    else
      response
        .setHeader("content-type", "text/html; charset=utf-8")
        .end(
          '<!doctype html><link rel="icon" href="data:,"><div id="root"></div><script type="module" src="/page.js"></script>',
        );
  });
  parley.attach(server);
  opened.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;

  await using browser = await launchBrowser();
  const token = await parley.createToken("alice");
  const { page, complaints } = await browser.open(`http://127.0.0.1:${port}/?token=${token}`);
  const texts = (): Promise<string[]> => page.locator("li").allTextContents();
  const people = async (): Promise<readonly string[]> => (await parley.presence({ roomId: "lobby" })).users;
  await expect.poll(texts).toEqual(["before"]);
  await expect.poll(() => page.locator("#people").textContent()).toBe("alice");
  expect(await page.locator("#connection").textContent()).toBe("connected");
  expect(await page.locator("#state").textContent()).toBe("joined");

  await parley.sendMessage({ roomId: "lobby", userId: "bob", text: "meanwhile" });
  await page.click("#send");
  await expect.poll(texts).toEqual(["before", "meanwhile", "from the page"]);
  expect(await page.locator("#outgoing").textContent()).toBe("0");

  await page.click("#toggle");
  await expect.poll(people, { timeout: 20_000 }).toEqual([]);
  await page.click("#toggle");
  await expect.poll(texts).toEqual(["before", "meanwhile", "from the page"]);
  expect(complaints).toEqual([]);
}, 90_000);
