import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { z } from "zod";

const chromiumFile = "/usr/bin/chromium";
const chromiumArguments = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const violationsSchema = z.array(
  z.object({ id: z.string(), nodes: z.array(z.object({ html: z.string(), failureSummary: z.string().optional() })) }),
);

export interface TestPage {
  readonly page: Page;
  /** What the page's scripts complained about. A network that is gone is none of it. */
  readonly complaints: readonly string[];
}

export interface TestBrowser extends AsyncDisposable {
  /** A page with storage of its own. */
  open(url: string, options?: BrowserContextOptions): Promise<TestPage>;
}

/** A real browser with a profile of its own, closed at the end of the scope. */
export async function launchBrowser(): Promise<TestBrowser> {
  const browser = await chromium.launch({ executablePath: chromiumFile, args: chromiumArguments });
  return {
    async open(url, options = {}) {
      const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1280, height: 860 }, ...options });
      const page = await context.newPage();
      const complaints: string[] = [];
      page.on("pageerror", (error) => complaints.push(String(error)));
      page.on("console", (message) => {
        const isNetwork = message.text().includes("net::ERR") || message.text().includes("WebSocket");
        if (message.type() === "error" && !isNetwork) complaints.push(message.text());
      });
      await page.goto(url);
      return { page, complaints };
    },
    [Symbol.asyncDispose]: () => browser.close(),
  };
}

/** As in a browser that is set to keep nothing: naming the storage throws. For what `page` opens from now on. */
export async function blockStorage(page: Page): Promise<void> {
  await page.addInitScript(() => {
    for (const name of ["localStorage", "sessionStorage"])
      Object.defineProperty(window, name, {
        get() {
          throw new DOMException("blocked", "SecurityError");
        },
      });
  });
}

/** What axe-core finds, one line for each element; best practices included. */
export async function findBarriers(page: Page): Promise<readonly string[]> {
  // Why in the page's isolation and not as a script element: the content policy forbids inline scripts.
  await page.evaluate(axeSource);
  const found: unknown = await page.evaluate("axe.run().then(({ violations }) => violations)");
  const violations = violationsSchema.parse(found);
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary = "" }) => `${id}: ${html}\n${failureSummary}`),
  );
}
