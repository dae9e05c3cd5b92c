import { spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

export interface CommandResult {
  readonly passed: boolean;
  readonly output: string;
  readonly seconds: number;
}

/** Path of an installed development tool. */
export function tool(name: string): string {
  return path.join(root, "node_modules", ".bin", name);
}

/**
 * Runs a program to its end, in the repository's root unless `folder` says otherwise, and kills it after `limitMs`.
 * With `show`, output is passed on as it comes and not collected.
 */
export async function runCommand(
  command: readonly string[],
  options: { readonly limitMs: number; readonly show?: boolean; readonly folder?: string },
): Promise<CommandResult> {
  const started = performance.now();
  const [program = "", ...programArguments] = command;
  const output: Buffer[] = [];
  const child = spawn(program, programArguments, {
    cwd: options.folder ?? root,
    // Some tools colour their output for CI, where nobody sees colours.
    env: process.stdout.isTTY ? process.env : { ...process.env, NO_COLOR: "1" },
    stdio: ["ignore", options.show ? "inherit" : "pipe", options.show ? "inherit" : "pipe"],
    shell: process.platform === "win32",
  });
  child.stdout?.on("data", (chunk: Buffer) => output.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => output.push(chunk));
  const limit = setTimeout(() => {
    output.push(Buffer.from(`Stopped: it ran longer than ${options.limitMs / 1000} s.\n`));
    child.kill("SIGKILL");
  }, options.limitMs);
  const passed = await new Promise<boolean>((resolve) => {
    child.once("error", (error) => {
      output.push(Buffer.from(`${error.message}\n`));
      resolve(false);
    });
    child.once("close", (code) => resolve(code === 0));
  });
  clearTimeout(limit);
  return { passed, output: Buffer.concat(output).toString(), seconds: (performance.now() - started) / 1000 };
}
