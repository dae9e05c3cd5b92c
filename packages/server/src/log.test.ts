import { expect, test } from "vitest";
import { createLog, eventLog } from "./log.ts";

function capture(level: "info" | "warn", format: "json" | "text") {
  const lines: string[] = [];
  return { lines, log: createLog({ level, format }, (line) => lines.push(line)) };
}

test("each event is one JSON object with its name and its fields", () => {
  const { lines, log } = capture("info", "json");
  eventLog(log)("connection_closed", { connection: "c1", reason: "ping_timeout" });
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? "")).toEqual({
    level: "info",
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    connection: "c1",
    reason: "ping_timeout",
    event: "connection_closed",
  });
});

test("what is less severe than the level is left out", () => {
  const { lines, log } = capture("warn", "json");
  log.info({}, "something");
  log.warn({}, "something_bad");
  expect(lines).toHaveLength(1);
});

test("[IN-1] line breaks and terminal escapes in names neither break a line nor steer a terminal", () => {
  for (const format of ["json", "text"] as const) {
    const { lines, log } = capture("info", format);
    log.info({ user: "ann\n12:00:00 info forged\u001b[31m\u009b31m\u2028\u007f" }, "joined");
    const text = lines.join("");
    expect(text.match(/\n/g)).toHaveLength(1);
    expect(text).not.toContain("\u001b");
    expect(format === "text" ? text : "").not.toMatch(/[\u007f-\u009f\u2028]/);
  }
});

test("the text form reads well, and shows where an error comes from", () => {
  const { lines, log } = capture("info", "text");
  log.info({ room: "room-123", count: 3 }, "joined");
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} info {2}joined room=room-123 count=3\n$/);
  const secret = Object.assign(new Error("broken"), { body: "hello from ann" });
  log.error({ error: secret }, "failed");
  expect(lines[1]).toContain("broken");
  expect(lines[1]).not.toContain("hello from ann");
});
