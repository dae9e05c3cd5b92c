import { globSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { repositoryRoot } from "./support/process.ts";

const excluded = ["**/node_modules/**", "**/dist/**"];
const documents = globSync(["**/*.md", "llms.txt"], { cwd: repositoryRoot, exclude: excluded });

test.each(documents)(
  "every link of %s to a file of the repository leads to it, and to a heading that is there",
  (file) => {
    const links = [...read(file).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(([, target = ""]) => target);
    const broken = links.filter((target) => !leadsSomewhere(file, target));
    expect(broken).toEqual([]);
  },
);

test("llms.txt leads to every document under docs", () => {
  const pages = globSync("docs/*.md", { cwd: repositoryRoot });
  expect(pages.length).toBeGreaterThan(5);
  for (const page of pages) expect(read("llms.txt")).toContain(`](${page})`);
});

function leadsSomewhere(file: string, target: string): boolean {
  const [place = "", heading] = target.split("#");
  const found = place === "" ? file : path.join(path.dirname(file), place);
  if (statSync(path.join(repositoryRoot, found), { throwIfNoEntry: false }) === undefined) return false;
  return heading === undefined || headingsOf(found).includes(heading);
}

/** As GitHub names them. */
function headingsOf(file: string): string[] {
  const headings = read(file).matchAll(/^#+ (.+)$/gm);
  return Array.from(headings, ([, text = ""]) =>
    text
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, "")
      .replaceAll(" ", "-"),
  );
}

function read(file: string): string {
  return readFileSync(path.join(repositoryRoot, file), "utf8");
}
