import type { BrowserContextOptions, Locator, Page } from "playwright-core";
import type { TestBrowser } from "./browser.ts";
import type { DevelopmentServer } from "./development-server.ts";

/** One user's window. */
export function windowOf(page: Page, userId: string) {
  // Why not by its role: a window that is not shown has none.
  const frame = page.locator(`section[aria-label="${userId}"]`);
  return {
    frame,
    field: frame.getByRole("textbox"),
    message: (text: string): Locator => frame.getByRole("article").filter({ hasText: text }),
    async send(text: string): Promise<void> {
      await frame.getByRole("textbox").fill(text);
      await frame.getByRole("textbox").press("Enter");
    },
  };
}

/** Messages of different heights. */
export const numbered = (count: number) =>
  Array.from({ length: count }, (_, index) => `message ${index + 1}${"\nand more".repeat(index % 4)}`);

/** The page of development mode, once both of its users are connected. */
export async function openChatPage(
  browser: TestBrowser,
  server: DevelopmentServer,
  options: BrowserContextOptions = {},
) {
  const { page, complaints } = await browser.open(`${server.publicUrl}/`, options);
  const alice = windowOf(page, "alice");
  const bob = windowOf(page, "bob");
  await alice.frame.getByText("Connected").waitFor({ state: "attached" });
  await bob.frame.getByText("Connected").waitFor({ state: "attached" });
  return { page, complaints, alice, bob };
}
