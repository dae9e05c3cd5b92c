import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { findBarriers, launchBrowser, type TestBrowser } from "./support/browser.ts";
import { numbered, openChatPage } from "./support/chat-page.ts";
import { DevelopmentServer } from "./support/development-server.ts";

// Each test starts a node of its own.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 60_000 });
const eventually = <Value>(get: () => Value) => expect.poll(get, { timeout: 30_000 });

let browser: TestBrowser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser[Symbol.asyncDispose]());

test("N goes to the first unread message of the window that has the focus, and is a letter where something is written", async () => {
  await using server = await DevelopmentServer.start();
  const { page, alice, bob } = await openChatPage(browser, server);
  await page.goto("about:blank");
  await server.fill("room-123", numbered(40));
  await page.goto(server.publicUrl);
  await alice.message("message 40").waitFor();
  const focused = page.locator("article:focus .bubble p");
  await alice.field.press("n");
  expect(await alice.field.inputValue()).toBe("n");
  await alice.field.fill("");
  await bob.message("message 40").focus();
  await page.keyboard.press("n");
  await eventually(() => bob.frame.locator("article:focus .bubble p").allTextContents()).toEqual(["message 1"]);
  await alice.message("message 40").focus();
  await page.keyboard.press("n");
  await eventually(() => alice.frame.locator("article:focus .bubble p").allTextContents()).toEqual(["message 1"]);
  await server.fill("room-123", ["meanwhile"]);
  await alice.frame.getByRole("button", { name: "1 unread" }).waitFor();
  await page.keyboard.press("n");
  await eventually(() => focused.allTextContents()).toEqual(["meanwhile"]);
});

test.each([
  ["side by side", {}],
  ["on a phone", { viewport: { width: 390, height: 844 } }],
])("Ctrl+K goes to the next window, and round: %s", async (_name, device) => {
  await using server = await DevelopmentServer.start();
  const { page, alice, bob } = await openChatPage(browser, server, device);
  const chosen = page.locator(".window", { has: page.locator("textarea:focus") });
  for (const { frame } of [bob, alice]) {
    await page.keyboard.press("Control+k");
    expect(await chosen.getAttribute("aria-label")).toBe(await frame.getAttribute("aria-label"));
  }
});

test.each(["light", "dark"] as const)("? lists the keys, and Escape closes the list: %s", async (colorScheme) => {
  await using server = await DevelopmentServer.start();
  const { page, alice } = await openChatPage(browser, server, { colorScheme });
  const list = page.getByRole("dialog", { name: "Keys" });
  await alice.field.press("?");
  expect([await alice.field.inputValue(), await list.count()]).toEqual(["?", 0]);
  await alice.field.fill("");
  await alice.field.blur();
  await page.keyboard.press("?");
  await list.getByText("To the first unread message").waitFor();
  expect(await findBarriers(page)).toEqual([]);
  await page.keyboard.press("Escape");
  await list.waitFor({ state: "detached" });
});
