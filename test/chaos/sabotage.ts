import { spawn } from "node:child_process";
import { cp, mkdir, readdir, symlink } from "node:fs/promises";
import path from "node:path";
import { repositoryRoot } from "../support/process.ts";
import { createTemporaryFolder } from "../support/temporary-folder.ts";

export interface Sabotage {
  /** What the patch breaks. */
  readonly rule: string;
  /** Faults that show it. */
  readonly faults: readonly string[];
  /** Clients come back before the node that they were on has stored where they stood. */
  readonly atOnce?: true;
}

/** Faults in the product, each a patch of its name beside this file: the chaos run must find them. */
export const sabotages: Readonly<Record<string, Sabotage>> = {
  "ack-before-commit": { rule: "LOG-1", faults: ["postgres_killed", "node_killed"] },
  "no-journal": { rule: "FEED-2", faults: ["redis_away"] },
  "no-dedupe": { rule: "LOG-3", faults: ["node_killed", "clients_cut"] },
  "cursor-before-write": { rule: "FEED-1", faults: ["clients_cut", "node_killed_and_away"] },
  "no-fencing": { rule: "REC-2", faults: ["clients_moved_off_a_stopped_node", "clients_cut"], atOnce: true },
};

export function sabotageOf(name: string): Sabotage {
  const found = Object.hasOwn(sabotages, name) ? sabotages[name] : undefined;
  if (found === undefined) throw new Error(`no such sabotage; there are ${Object.keys(sabotages).join(", ")}`);
  return found;
}

export function patchFile(name: string): string {
  return path.join(repositoryRoot, "test/chaos/sabotage", `${name}.patch`);
}

const copied = ["packages", "test", "package.json", "tsconfig.json"];

/** Runs the chaos program with these arguments in a copy with the patch. Gives whether it found nothing, as it must not. */
export async function runSabotaged(name: string, words: readonly string[]): Promise<boolean> {
  await using folder = await createTemporaryFolder();
  await copyRepository(folder.path);
  await run("git", ["apply", "-p1", patchFile(name)], folder.path);
  const program = ["--conditions=parley-source", "test/chaos/run.ts", ...words];
  const code = await run(process.execPath, program, folder.path).catch((error: unknown) => {
    if (error instanceof ProgramFailed && error.code === 1) return 1;
    throw error;
  });
  return code === 0;
}

/** Without the dependencies, which are linked to, but for the workspaces: those are the copy's own. */
async function copyRepository(target: string): Promise<void> {
  const isOurs = (source: string): boolean => !["node_modules", "dist"].includes(path.basename(source));
  for (const name of copied)
    await cp(path.join(repositoryRoot, name), path.join(target, name), { recursive: true, filter: isOurs });
  const modules = path.join(repositoryRoot, "node_modules");
  await mkdir(path.join(target, "node_modules/@parley"), { recursive: true });
  for (const name of await readdir(modules)) {
    if (name !== "@parley") await symlink(path.join(modules, name), path.join(target, "node_modules", name));
  }
  for (const name of await readdir(path.join(target, "packages")))
    await symlink(path.join(target, "packages", name), path.join(target, "node_modules/@parley", name));
}

class ProgramFailed extends Error {
  override readonly name = "ProgramFailed";
  readonly code: number | null;

  constructor(program: string, code: number | null) {
    super(`${program} ended with ${code}`);
    this.code = code;
  }
}

function run(program: string, words: readonly string[], folder: string): Promise<0> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { cwd: folder, stdio: "inherit" });
    child.once("error", reject);
    child.once("exit", (code) => (code === 0 ? resolve(0) : reject(new ProgramFailed(program, code))));
  });
}
