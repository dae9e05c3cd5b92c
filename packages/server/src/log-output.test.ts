import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";

const module = new URL("log-output.ts", import.meta.url).href;

function start(code: string) {
  const program = `import { LogOutput } from ${JSON.stringify(module)};\nconst output = new LogOutput(1);\n${code}`;
  return spawn(process.execPath, ["--input-type=module", "--eval", program], { stdio: ["pipe", "pipe", "inherit"] });
}

test("lines come in order and whole, more of them than a pipe holds, and an exit waits for the last ones", async () => {
  const process = start(`
    for (let index = 0; index < 50_000; index += 1) output.write(\`line \${index}\\n\`);
    process.stdin.once("data", () => {
      output.write("last\\n");
      process.exit(0);
    });
  `);
  let read = "";
  process.stdout.setEncoding("utf8").on("data", (piece: string) => {
    read += piece;
    if (read.endsWith("line 49999\n")) process.stdin.write("go");
  });
  await once(process.stdout, "end");
  const lines = read.split("\n");
  expect(lines.slice(0, 3)).toEqual(["line 0", "line 1", "line 2"]);
  expect(lines.slice(-3)).toEqual(["line 49999", "last", ""]);
  expect(lines).toHaveLength(50_002);
});

test("a process ends also when the reader of its log has gone", async () => {
  const process = start(`
    process.stdin.once("data", () => {
      output.write("a line\\n");
      process.exit(3);
    });
  `);
  process.stdout.destroy();
  process.stdin.write("go");
  const [code] = await once(process, "exit");
  expect(code).toBe(3);
});
