import { connect } from "@parley/client";
import type { Locator, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { blockStorage, findBarriers, launchBrowser, type TestBrowser } from "./support/browser.ts";
import { numbered, openChatPage, windowOf } from "./support/chat-page.ts";
import { DevelopmentServer } from "./support/development-server.ts";

// Each test starts a node of its own, some a few times.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 60_000 });
const eventually = <Value>(get: () => Value) => expect.poll(get, { timeout: 30_000 });

const phone = { viewport: { width: 390, height: 844 }, hasTouch: true };
let browser: TestBrowser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser[Symbol.asyncDispose]());

const openChat = (server: DevelopmentServer, options = {}) => openChatPage(browser, server, options);

/** As outside of development mode, as alice. */
async function openByToken(server: DevelopmentServer, roomId: string): Promise<Page> {
  const { page } = await browser.open("about:blank");
  await page.route("**/dev/session", (route) => route.fulfill({ status: 404, body: "" }));
  await page.goto(server.publicUrl);
  await page.getByLabel("Token").fill(await server.token("alice"));
  await page.getByLabel("Room").fill(roomId);
  await page.getByRole("button", { name: "Join" }).click();
  return page;
}

test("two users chat side by side in one page", async () => {
  await using server = await DevelopmentServer.start();
  const { alice, bob, complaints } = await openChat(server);
  await alice.frame.getByText("Nothing has been said here yet").waitFor();
  await alice.frame.getByText("2 here").waitFor();
  await alice.send("Hello Bob");
  await bob.message("Hello Bob").waitFor();
  await alice.message("Hello Bob").getByText("Sent", { exact: true }).waitFor({ state: "attached" });
  expect(await alice.message("Hello Bob").getAttribute("data-own")).toBe("true");
  expect(await bob.message("Hello Bob").getAttribute("data-own")).toBe("false");
  await bob.field.pressSequentially("Hi");
  await alice.frame.getByText("bob is writing").waitFor();
  await bob.field.press("Enter");
  await alice.message("Hi").waitFor();
  await alice.frame.getByText("bob is writing").waitFor({ state: "hidden" });
  expect(await alice.frame.locator("[aria-live=polite]").textContent()).toBe("bob said: Hi");
  expect(await alice.frame.getByText("Today").count()).toBe(1);
  expect(complaints).toEqual([]);
});

test("[IN-1] markup in messages is text", async () => {
  await using server = await DevelopmentServer.start();
  const { page, alice, bob, complaints } = await openChat(server);
  const text = "<img src=x onerror=\"document.title='owned'\"><b>bold</b> &amp; <script>alert(1)</script>";
  await alice.send(text);
  await bob.message("bold").waitFor();
  expect(await bob.message("bold").locator(".bubble p").textContent()).toBe(text);
  expect(await page.locator(".bubble img, .bubble b, .bubble script").count()).toBe(0);
  expect([await page.title(), complaints]).toEqual(["Parley", []]);
});

test("[REC-1] [LOG-3] while the node is dead the page says so and keeps what is sent; then it is sent once", async () => {
  await using server = await DevelopmentServer.start();
  const { alice, bob, complaints } = await openChat(server);
  await alice.send("before");
  await bob.message("before").waitFor();
  await server.kill();
  await alice.frame.getByText("The connection is lost").waitFor();
  await alice.frame.getByText(/Next try in \d+ s|Trying again now/).waitFor();
  await alice.send("in between");
  await alice.message("in between").getByText("Sending", { exact: true }).waitFor({ state: "attached" });
  await server.start();
  const sent = alice.message("in between").getByText("Sent", { exact: true });
  // Why either: the page's own next try may come first, and take the button away.
  await Promise.any([
    alice.frame.getByRole("button", { name: "Try now" }).click(),
    sent.waitFor({ state: "attached" }),
  ]);
  await sent.waitFor({ state: "attached" });
  await bob.message("in between").waitFor();
  await alice.frame.getByText("The connection is lost").waitFor({ state: "hidden" });
  expect([await alice.message("").count(), await bob.message("").count()]).toEqual([2, 2]);
  expect(complaints).toEqual([]);
});

test("a message that was not sent survives a reload", async () => {
  await using server = await DevelopmentServer.start();
  const { page, alice, bob } = await openChat(server);
  await server.kill();
  await alice.frame.getByText("The connection is lost").waitFor();
  await alice.send("kept over the reload");
  await bob.field.fill("a draft");
  await server.start();
  await page.reload();
  await bob.message("kept over the reload").waitFor();
  expect(await bob.field.inputValue()).toBe("a draft");
  expect(await alice.message("kept over the reload").count()).toBe(1);
});

test("earlier messages come in above without moving what is read, back to the beginning", async () => {
  await using server = await DevelopmentServer.start();
  await server.fill("room-123", numbered(120));
  const { page, alice } = await openChat(server);
  await alice.message("message 120").waitFor();
  const scroller = alice.frame.locator(".feed-scroller");
  const beginning = alice.frame.getByText("The beginning of this room");
  let jumpPx = 0;
  for (let round = 0; round < 60 && (await beginning.count()) === 0; round += 1) {
    jumpPx = Math.max(jumpPx, Math.abs(await scroller.evaluate(scrollUpAndWatch)));
  }
  await beginning.waitFor();
  expect(jumpPx).toBeLessThan(1);
  await alice.frame.getByRole("button", { name: "To the latest message" }).click();
  await page.waitForFunction(isAtEnd, await scroller.elementHandle());
  await alice.frame.getByRole("button", { name: "To the latest message" }).waitFor({ state: "hidden" });
});

test("a window that is open for long forgets the first messages, stays at the end, and loads them again", async () => {
  await using server = await DevelopmentServer.start();
  const { page, alice, bob } = await openChat(server);
  for (let sent = 0; sent < 2_000; sent += 100)
    await Promise.all(numbered(100).map((text) => server.fill("room-123", [text])));
  await bob.send("the last one");
  await alice.message("the last one").waitFor();
  await eventually(() => alice.message("the last one").getAttribute("aria-posinset")).toBe("1000");
  await page.waitForFunction(isAtEnd, await alice.frame.locator(".feed-scroller").elementHandle());
  expect(await alice.frame.getByRole("button", { name: "To the latest message" }).count()).toBe(0);
  await alice.message("the last one").focus();
  await page.keyboard.press("Home");
  // The first row that was kept, below a page that came back.
  await eventually(() => page.evaluate(() => document.activeElement?.getAttribute("aria-posinset"))).toBe("51");
});

/** Scrolls up by most of a page; gives how far a row that was in sight moved by itself in the half second after. */
async function scrollUpAndWatch(scroller: Element): Promise<number> {
  const rows = () => Array.from(scroller.querySelectorAll("article"));
  const topOf = (row: Element) => row.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  scroller.scrollTop -= scroller.clientHeight * 0.8;
  for (let settling = 0; settling < 4; settling += 1) await frame();
  const anchor = rows().find((row) => topOf(row) >= 0);
  const before = anchor === undefined ? 0 : topOf(anchor);
  let moved = 0;
  for (let frames = 0; frames < 25; frames += 1) {
    await frame();
    const now = rows().find((row) => row.getAttribute("data-key") === anchor?.getAttribute("data-key"));
    const distance = now === undefined ? Number.POSITIVE_INFINITY : topOf(now) - before;
    if (Math.abs(distance) > Math.abs(moved)) moved = distance;
  }
  return moved;
}

function isAtEnd(scroller: Element | null): boolean {
  return scroller !== null && scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 2;
}

test("who reads earlier messages stays there, and is told of new ones", async () => {
  await using server = await DevelopmentServer.start();
  await server.fill("room-123", numbered(60));
  const { alice, bob } = await openChat(server);
  await alice.message("message 60").waitFor();
  const scroller = alice.frame.locator(".feed-scroller");
  await scroller.evaluate(scrollUpAndWatch);
  await bob.send("news");
  await alice.frame.getByRole("button", { name: "1 unread" }).waitFor();
  await alice.frame.getByRole("button", { name: "1 unread" }).click();
  await alice.message("news").waitFor();
  await alice.frame.getByRole("button", { name: "To the latest message" }).waitFor({ state: "hidden" });
  expect(await alice.message("news").isVisible()).toBe(true);
});

test("who scrolls up just as a message comes in is not pulled back", async () => {
  await using server = await DevelopmentServer.start();
  await server.fill("room-123", numbered(60));
  const { alice, bob } = await openChat(server);
  await alice.message("message 60").waitFor();
  const scroller = alice.frame.locator(".feed-scroller");
  const pulledBack = scroller.evaluate(scrollUpWhenGrown);
  await bob.send("first news");
  expect(await pulledBack).toBe(false);
  await bob.send("more news");
  await alice.frame.getByRole("button", { name: "1 unread" }).waitFor();
});

/** Scrolls up to rows never shown before as soon as there is a new last row; says whether the feed goes back to its end. */
async function scrollUpWhenGrown(scroller: Element): Promise<boolean> {
  const isGrown = () => Array.from(scroller.querySelectorAll("article")).at(-1)?.textContent.includes("first news");
  // Why not in a frame: there it would come after the scroll events of the frame, as no reader's scroll does.
  await new Promise<void>((resolve) => {
    const observer = new MutationObserver(() => {
      if (isGrown() === true) resolve();
    });
    observer.observe(scroller, { childList: true, subtree: true });
  });
  scroller.scrollTop -= scroller.clientHeight * 1.5;
  for (let frames = 0; frames < 25; frames += 1) await new Promise((resolve) => requestAnimationFrame(resolve));
  return scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop < 40;
}

test("a keyboard is enough", async () => {
  await using server = await DevelopmentServer.start();
  await server.fill("room-123", numbered(60));
  const { page, alice } = await openChat(server);
  await alice.message("message 60").waitFor();
  await alice.field.focus();
  await page.keyboard.press("Escape");
  const focusedText = () =>
    page.evaluate(() => document.activeElement?.closest("article")?.querySelector(".bubble p")?.textContent);
  await eventually(focusedText).toMatch(/^message 60/);
  await page.keyboard.press("ArrowUp");
  await eventually(focusedText).toMatch(/^message 59/);
  await page.keyboard.press("Home");
  await eventually(focusedText).toMatch(/^message 11\b/);
  await alice.frame.getByText("The beginning of this room").waitFor();
  expect(await focusedText()).toMatch(/^message 11\b/);
  await page.keyboard.press("Home");
  await eventually(focusedText).toMatch(/^message 1\b/);
  // Without waiting for the focus in between: no key is lost.
  await page.keyboard.press("End");
  await page.keyboard.press("Home");
  await page.keyboard.press("End");
  await page.keyboard.press("ArrowUp");
  await eventually(focusedText).toMatch(/^message 59/);
  await page.keyboard.press("End");
  await eventually(focusedText).toMatch(/^message 60/);
  await page.keyboard.press("Escape");
  await page.keyboard.type("one line");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("and another");
  await page.keyboard.press("Enter");
  await alice.message("one line").waitFor();
  expect(await alice.message("one line").locator(".bubble p").textContent()).toBe("one line\nand another");
  await page.keyboard.type("by the button");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await alice.message("by the button").waitFor();
  expect(await alice.field.evaluate((field) => field === document.activeElement)).toBe(true);
});

test("announcements and notifications are shown, and Escape dismisses them", async () => {
  await using server = await DevelopmentServer.start();
  const { alice, bob } = await openChat(server);
  await server.post("/announce", { message: "maintenance at noon" });
  await alice.frame.getByText("maintenance at noon").waitFor();
  await bob.frame.getByText("maintenance at noon").waitFor();
  await server.post("/users/alice/notify", { event: "invoice_paid", data: { text: "<i>129</i>" } });
  await alice.frame.getByText("Notification: invoice_paid").waitFor();
  expect(await alice.frame.getByText("<i>129</i>").count()).toBe(1);
  expect(await bob.frame.getByText("invoice_paid").count()).toBe(0);
  await alice.field.press("Escape");
  await alice.frame.getByText("maintenance at noon").waitFor({ state: "hidden" });
  await alice.field.press("Escape");
  await alice.frame.getByText("invoice_paid").waitFor({ state: "hidden" });
  await bob.frame.getByText("maintenance at noon").waitFor();
});

test("on a phone one window is shown, and the other says what it has unread", async () => {
  await using server = await DevelopmentServer.start();
  const { page, alice, bob } = await openChat(server, phone);
  expect([await alice.frame.isVisible(), await bob.frame.isVisible()]).toEqual([true, false]);
  await alice.send("for the other window");
  await page.getByRole("button", { name: "1 unread" }).click();
  await bob.message("for the other window").waitFor();
  expect([await alice.frame.isVisible(), await bob.frame.isVisible()]).toEqual([false, true]);
  await bob.frame.getByText("New messages").waitFor();
});

test("a name as long as may be leaves room for the time beside it", async () => {
  await using server = await DevelopmentServer.start();
  await server.post("/rooms/room-123/messages", { userId: "x".repeat(128), text: "a long name" });
  const { alice } = await openChat(server, phone);
  const [time, frame] = [alice.message("a long name").locator("time"), alice.frame];
  const rightOf = async (place: Locator) => await place.evaluate((element) => element.getBoundingClientRect().right);
  await time.waitFor();
  expect(await rightOf(time)).toBeLessThan(await rightOf(frame));
});

test("a name as long as may be does not hide that its user writes", async () => {
  await using server = await DevelopmentServer.start();
  const { alice } = await openChat(server, phone);
  const client = connect({ url: server.publicUrl, token: await server.mintToken("x".repeat(128), "1h") });
  try {
    const room = client.room("room-123");
    await room.join();
    room.typing();
    const line = alice.frame.locator(".typing");
    await line.getByText("is writing").waitFor();
    const right = await line.evaluate(({ lastChild }) => {
      const range = document.createRange();
      if (lastChild !== null) range.selectNodeContents(lastChild);
      return range.getBoundingClientRect().right;
    });
    expect(right).toBeLessThan(phone.viewport.width);
  } finally {
    client.close();
  }
});

test("at a zoom of 400 % messages are still to be seen", async () => {
  await using server = await DevelopmentServer.start();
  const { alice } = await openChat(server, { viewport: { width: 320, height: 256 } });
  await alice.send("first\nsecond");
  await alice.message("second").scrollIntoViewIfNeeded();
  expect(await alice.frame.locator(".feed-scroller").evaluate((feed) => feed.clientHeight)).toBeGreaterThan(96);
});

test("in forced colours an edge shows which window is shown, and what a message is", async () => {
  await using server = await DevelopmentServer.start();
  const { page, alice } = await openChat(server, { ...phone, forcedColors: "active" });
  await alice.send("mine");
  const edgeOf = (place: Locator) => place.evaluate((element) => getComputedStyle(element).borderTopWidth);
  expect(await edgeOf(page.getByRole("button", { name: "alice", pressed: true }))).toBe("1px");
  expect(await edgeOf(page.getByRole("button", { name: "bob", pressed: false }))).toBe("0px");
  expect(await edgeOf(alice.message("mine").locator(".bubble"))).toBe("1px");
});

test("without development mode a form asks for a token", async () => {
  await using server = await DevelopmentServer.start();
  const page = await openByToken(server, "room-123");
  const alice = windowOf(page, "alice");
  await alice.send("let in by a token");
  await alice.message("let in by a token").getByText("Sent", { exact: true }).waitFor({ state: "attached" });
  await page.reload();
  await page.getByLabel("Token").fill("wrong");
  await page.getByLabel("Room").fill("room-123");
  expect(await findBarriers(page)).toEqual([]);
  await page.getByRole("button", { name: "Join" }).click();
  await page.getByText("The connection has ended").waitFor();
});

test("a room that may not be entered says so, waits for nothing, and keeps no message waiting", async () => {
  await using server = await DevelopmentServer.start();
  const page = await openByToken(server, "not-there");
  const alice = windowOf(page, "alice");
  await alice.frame.getByText("This room is closed to you").waitFor();
  await alice.send("into nothing");
  for (const name of ["Send again", "Discard"]) {
    await alice.message("into nothing").getByRole("button", { name }).press("Enter");
    await eventually(() => alice.field.evaluate((field) => field === document.activeElement)).toBe(true);
  }
  await eventually(() => alice.message("into nothing").count()).toBe(0);
  expect(await alice.frame.getByText("Loading").count()).toBe(0);
});

test("once the connection has ended for good nothing is lost by sending: what is written stays", async () => {
  await using server = await DevelopmentServer.start();
  const page = await openByToken(server, "not-there");
  const alice = windowOf(page, "alice");
  await alice.send("refused");
  await alice.message("refused").getByRole("button", { name: "Send again" }).waitFor();
  await server.post("/users/alice/revoke", { banned: true });
  await page.getByText("The connection has ended").waitFor();
  await alice.send("written too late");
  expect(await alice.field.inputValue()).toBe("written too late");
  expect(await alice.message("").count()).toBe(1);
  expect(await alice.message("refused").getByRole("button").allTextContents()).toEqual(["Discard"]);
});

test("where the browser blocks its storage the page works, and keeps nothing", async () => {
  await using server = await DevelopmentServer.start();
  const { page, complaints } = await browser.open("about:blank");
  await blockStorage(page);
  await page.goto(server.publicUrl);
  await windowOf(page, "alice").send("kept nowhere");
  await windowOf(page, "bob").message("kept nowhere").waitFor();
  expect(complaints).toEqual([]);
});

test("who asks for less motion gets none", async () => {
  await using server = await DevelopmentServer.start();
  const { page, alice } = await openChat(server, { reducedMotion: "reduce" });
  await server.post("/announce", { message: "calm" });
  await alice.frame.getByText("calm").waitFor();
  expect(await page.evaluate(() => document.getAnimations().length)).toBe(0);
});

describe.each(["light", "dark"] as const)("axe-core finds nothing in %s", (colorScheme) => {
  test.each([
    ["side by side", {}],
    ["on a phone", phone],
  ])("%s", async (_name, device) => {
    await using server = await DevelopmentServer.start();
    const { page, alice } = await openChat(server, { colorScheme, ...device, reducedMotion: "reduce" });
    expect(await findBarriers(page)).toEqual([]);
    await server.fill("room-123", numbered(5));
    await alice.send("one of mine");
    await alice.message("one of mine").waitFor();
    await server.post("/announce", { message: "maintenance at noon" });
    await server.post("/users/alice/notify", { event: "invoice_paid", data: 1 });
    await alice.frame.getByText("invoice_paid").waitFor();
    await server.kill();
    await alice.frame.getByText("The connection is lost").waitFor();
    await alice.send("not yet sent");
    await alice.message("not yet sent").waitFor();
    expect(await findBarriers(page)).toEqual([]);
  });
});
