import { expect, test } from "vitest";
import { runSlowReaders } from "./chaos/slow-readers.ts";
import { noFaults } from "./support/transcript.ts";

// The long form, with production's heartbeat and window, is `npm run chaos -- --slow-readers --seconds 120`.
test("[FEED-4] [FEED-1] [REC-1] in a busy room the slow reader is not cut, the dead ones are and come back, and memory stays flat", async () => {
  const report = await runSlowReaders({
    seconds: 9,
    messagesPerSecond: 800,
    slowBytesPerSecond: 50_000,
    deadAfterSeconds: 1,
    backAfterSeconds: 7,
    environment: {
      PARLEY_LIMITS_WINDOW_BYTES: "65536",
      PARLEY_HEARTBEAT_PING_INTERVAL_MS: "1000",
      PARLEY_HEARTBEAT_PING_TIMEOUT_MS: "4000",
    },
    warmUpMessages: 4_500,
    warmUpMissed: 10_000,
    print: () => {},
  });
  expect(report.sent).toBeGreaterThan(3_000);
  expect(report.disconnects).toEqual(["ping_timeout", "ping_timeout"]);
  const [slow, ...others] = report.readers.toSorted((one) => (one.name === "slow" ? -1 : 1));
  expect(slow).toMatchObject({ name: "slow", connections: 1 });
  // It was slow indeed: its window filled up.
  expect(slow?.unansweredBytesMax).toBeGreaterThan(report.windowBytes / 2);
  for (const reader of [slow, ...others]) {
    expect(reader).toMatchObject({ complete: true, gaps: [], faults: noFaults });
    expect(reader?.unansweredBytesMax).toBeLessThanOrEqual(report.windowBytes);
  }
  expect(others.filter(({ name }) => name.startsWith("dead"))).toMatchObject([
    { connections: 2, recovered: 1 },
    { connections: 2, recovered: 1 },
  ]);
  const grownBytes = report.max.residentBytes - report.base.residentBytes;
  console.log(`memory grew by ${Math.round(grownBytes / 1_000)} kB at the most`);
  // 10 MB are the bound; a real process, beside others, is allowed five times it.
  expect(grownBytes).toBeLessThan(50_000_000);
}, 90_000);
