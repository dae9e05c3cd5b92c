import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { findBarriers, launchBrowser, type TestBrowser } from "./support/browser.ts";
import { numbered, openChatPage } from "./support/chat-page.ts";
import { DevelopmentServer } from "./support/development-server.ts";

// Each test starts a node of its own.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 60_000 });

let browser: TestBrowser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser[Symbol.asyncDispose]());

test("who comes back finds a line above what is new, and a way to it; the next time it is gone", async () => {
  await using server = await DevelopmentServer.start();
  await server.fill("room-123", ["read before"]);
  const { page, alice } = await openChatPage(browser, server);
  await alice.message("read before").waitFor();
  const line = alice.frame.getByText("New messages", { exact: true });
  expect(await line.count()).toBe(0);
  await page.goto("about:blank");
  await server.fill("room-123", numbered(40));
  await page.goto(server.publicUrl);
  await alice.frame.getByRole("button", { name: "40 unread" }).click();
  await line.waitFor();
  const first = page.locator("article:focus");
  await expect.poll(() => first.locator(".bubble p").textContent(), { timeout: 30_000 }).toBe("message 1");
  await alice.frame.getByRole("button", { name: "40 unread" }).waitFor({ state: "hidden" });
  expect(await findBarriers(page)).toEqual([]);
  await page.reload();
  await alice.message("message 40").waitFor();
  expect(await line.count()).toBe(0);
});

test("who comes back to the page finds what came meanwhile under a line, until the answer", async () => {
  await using server = await DevelopmentServer.start();
  const { page, alice } = await openChatPage(browser, server);
  const line = alice.frame.getByText("New messages", { exact: true });
  await server.fill("room-123", ["looked at"]);
  await alice.message("looked at").waitFor();
  await page.evaluate(setVisibility("hidden"));
  await server.fill("room-123", ["came meanwhile"]);
  await alice.message("came meanwhile").waitFor();
  await page.evaluate(setVisibility("visible"));
  await line.waitFor();
  const rows = await alice.frame.locator(".row").allTextContents();
  expect(rows.map((row) => row.includes("New messages"))).toEqual([false, true]);
  await alice.send("the answer");
  await line.waitFor({ state: "hidden" });
});

/** As when another tab is chosen, and this one again: headless, every page is visible. */
const setVisibility = (state: "hidden" | "visible"): string =>
  `Object.defineProperty(document, "visibilityState", { configurable: true, value: "${state}" });
  document.dispatchEvent(new Event("visibilitychange"));`;
