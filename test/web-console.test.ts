import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { blockStorage, findBarriers, launchBrowser, type TestBrowser } from "./support/browser.ts";
import { DevelopmentServer } from "./support/development-server.ts";
import { UserClient } from "./support/user-client.ts";

// Each test starts a node of its own, some a few times.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 60_000 });
const eventually = <Value>(get: () => Value) => expect.poll(get, { timeout: 30_000 });

let browser: TestBrowser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser[Symbol.asyncDispose]());

test("the one-time link opens the console, which announces to everyone", async () => {
  await using server = await DevelopmentServer.start();
  const chat = await browser.open(`${server.publicUrl}/`);
  await chat.page.getByText("2 here").first().waitFor();
  const { page, complaints } = await browser.open(server.adminLink);
  await page.getByText("Connected", { exact: true }).waitFor();
  expect(page.url()).not.toContain("ticket");
  await eventually(() => page.locator(".tile", { hasText: "Users" }).locator("strong").textContent()).toBe("2");
  const field = page.getByRole("textbox", { name: "What everyone should know" });
  await field.fill("<b>maintenance</b> at noon");
  await page.getByRole("button", { name: "Announce to everyone" }).click();
  await page.getByText("Announced.").waitFor();
  expect(await field.inputValue()).toBe("");
  await chat.page.getByText("<b>maintenance</b> at noon").first().waitFor();
  expect(await chat.page.getByText("<b>maintenance</b> at noon").count()).toBe(2);
  expect(complaints).toEqual([]);
});

test("where the browser blocks its storage the link still opens the console, and a reload asks for another", async () => {
  await using server = await DevelopmentServer.start();
  const { page, complaints } = await browser.open("about:blank");
  await blockStorage(page);
  await page.goto(server.adminLink);
  await page.getByText("Connected", { exact: true }).waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "This console opens with a one-time link." }).waitFor();
  expect(complaints).toEqual([]);
});

test("a user is disconnected, banned and readmitted; what takes something away is confirmed first", async () => {
  await using server = await DevelopmentServer.start();
  using alice = await UserClient.connect(server.publicUrl, { token: await server.token("alice") });
  const { page, complaints } = await browser.open(server.adminLink);
  await page.getByText("Connected", { exact: true }).waitFor();
  const form = page.getByRole("region", { name: "Users" });
  const dialog = page.getByRole("dialog");
  await form.getByRole("textbox", { name: "User id" }).fill("alice");
  await form.getByRole("button", { name: "Disconnect" }).click();
  await dialog.getByText("Disconnect alice?").waitFor();
  expect(await findBarriers(page)).toEqual([]);
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await dialog.waitFor({ state: "hidden" });
  await form.getByRole("button", { name: "Disconnect" }).click();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  await alice.settle();
  expect(alice.all("disconnect")).toEqual([]);
  await form.getByRole("button", { name: "Disconnect" }).click();
  await dialog.getByRole("button", { name: "Disconnect" }).click();
  await form.getByText("alice was disconnected.").waitFor();
  await alice.got("disconnect");
  await eventually(() => alice.all("connect").length).toBe(2);
  await form.getByRole("button", { name: "Ban", exact: true }).click();
  await dialog.getByText("Ban alice?").waitFor();
  expect(await findBarriers(page)).toEqual([]);
  await dialog.getByRole("button", { name: "Ban" }).click();
  await form.getByText("alice is banned.").waitFor();
  expect((await alice.got("connect_error")).args[1]).toMatchObject({ code: "banned" });
  await form.getByRole("button", { name: "Unban" }).click();
  await form.getByText("alice may come back").waitFor();
  await form.getByRole("textbox").fill("line\u0007break");
  await form.getByRole("button", { name: "Unban" }).click();
  await form.getByText("Not done:").waitFor();
  expect(complaints).toEqual([]);
});

test("the focus stays on the button that was pressed", async () => {
  await using server = await DevelopmentServer.start();
  const { page } = await browser.open(server.adminLink);
  await page.getByText("Connected", { exact: true }).waitFor();
  const isFocused = (name: string) =>
    page.getByRole("button", { name, exact: true }).evaluate((button) => button === document.activeElement);
  await page.getByRole("textbox", { name: "User id" }).fill("alice");
  await page.getByRole("button", { name: "Ban", exact: true }).press("Enter");
  await page.getByRole("dialog").getByRole("button", { name: "Ban" }).press("Enter");
  await page.getByText("alice is banned.").waitFor();
  expect(await isFocused("Ban")).toBe(true);
  await page.getByRole("button", { name: "Unban" }).press("Enter");
  await page.getByText("alice may come back").waitFor();
  expect(await isFocused("Unban")).toBe(true);
  await page.getByRole("textbox", { name: "What everyone should know" }).fill("hello");
  await page.getByRole("button", { name: "Announce to everyone" }).press("Enter");
  await page.getByText("Announced.").waitFor();
  expect(await isFocused("Announce to everyone")).toBe(true);
});

test("a reload needs no new link; the link works no second time", async () => {
  await using server = await DevelopmentServer.start();
  const { page } = await browser.open(server.adminLink);
  await page.getByText("Connected", { exact: true }).waitFor();
  await page.reload();
  await page.getByText("Connected", { exact: true }).waitFor();
  const other = await browser.open(server.adminLink);
  await other.page.getByText("The link was refused").waitFor();
  expect(await other.page.getByText("This node").count()).toBe(0);
});

test("without a link the console says where to get one", async () => {
  await using server = await DevelopmentServer.start();
  const { page } = await browser.open(new URL("/admin", server.adminLink).href);
  await page.getByText("This console opens with a one-time link.").waitFor();
  expect(await findBarriers(page)).toEqual([]);
});

test("figures from before a lost connection are marked as such", async () => {
  await using server = await DevelopmentServer.start();
  const { page } = await browser.open(server.adminLink);
  await page.locator(".tile").first().waitFor();
  await page.getByText("Uptime").waitFor();
  await server.kill();
  await page.getByText("These figures are from before").waitFor();
  expect(await page.getByRole("button", { name: "Announce to everyone" }).isDisabled()).toBe(true);
});

test.each([
  ["light", {}],
  ["dark", { viewport: { width: 390, height: 844 } }],
] as const)("axe-core finds nothing in %s", async (colorScheme, device) => {
  await using server = await DevelopmentServer.start();
  const { page } = await browser.open(server.adminLink, { colorScheme, ...device });
  await page.getByText("Uptime").waitFor();
  expect(await findBarriers(page)).toEqual([]);
  await server.kill();
  await page.getByText("These figures are from before").waitFor();
  expect(await findBarriers(page)).toEqual([]);
});
