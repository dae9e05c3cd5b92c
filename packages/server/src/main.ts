#!/usr/bin/env node
import { programName } from "./commands/program-name.ts";
import { run } from "./commands/run.ts";

// The command line: the only place that sees the process's environment, arguments and signals.
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    // Asked twice: whoever asks does not want to wait.
    if (stop.signal.aborted) process.exit(1);
    stop.abort();
  });
}

// A reader who has gone, as `head` goes after its first lines, ends no node and is no failure; a full disk is one.
for (const output of [process.stdout, process.stderr]) {
  output.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

const nodeMajorMin = 24;
const lingerMs = 3_000;

if (Number.parseInt(process.versions.node, 10) < nodeMajorMin) {
  process.stderr.write(`Parley needs Node ${nodeMajorMin} or later; this is ${process.versions.node}.\n`);
  process.exit(1);
}

process.exitCode = await run({
  program: programName(import.meta.filename, process.env),
  words: process.argv.slice(2),
  env: process.env,
  folder: process.cwd(),
  print: (line) => process.stdout.write(`${line}\n`),
  printError: (line) => process.stderr.write(`${line}\n`),
  compose: () => import("./compose-main.ts"),
  stopped: stop.signal,
});

// What should have been closed and was not must not keep a process alive that has finished.
if (stop.signal.aborted) setTimeout(() => process.exit(), lingerMs).unref();
