import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { renderConfigDocs } from "./config-docs.ts";
import { listSettings } from "./config-settings.ts";

const page = new URL("../../../docs/configuration.md", import.meta.url);

test("docs/configuration.md is what `parley config docs` prints", async () => {
  expect(await readFile(page, "utf8")).toBe(`${renderConfigDocs().trimEnd()}\n`);
});

test("every setting is described, and has a name of its own everywhere", () => {
  const settings = listSettings();
  expect(settings.filter(({ description }) => !/^[A-Z`].*\.$/s.test(description))).toEqual([]);
  expect(new Set(settings.map(({ environment }) => environment)).size).toBe(settings.length);
  const flags = settings.flatMap(({ flag }) => flag ?? []);
  expect(new Set(flags).size).toBe(flags.length);
  expect(flags).not.toContain("auth-secret");
});
