import { describe, expect, test } from "vitest";
import { median, readable, type RunReport, summarize, table } from "./run-report.ts";
import type { Refusal } from "../packages/server/src/load/rules.ts";

function report(server: string, value: number, refused = false): RunReport {
  const refusals: Refusal[] = refused ? [{ code: "too_long", detail: "20 s" }] : [];
  return {
    workload: "sends",
    server,
    command: "",
    cores: "0",
    versions: {},
    settings: [],
    figures: [{ metric: "acknowledged", unit: "/s", value, refusals }],
  };
}

describe("summary", () => {
  test("gives median, spread and ratio of the runs that count", () => {
    const rows = summarize([report("parley", 300), report("peer", 100), report("parley", 500), report("parley", 200)]);
    expect(rows).toMatchObject([
      { server: "parley", median: 300, min: 200, max: 500, runs: 3, valid: true },
      { server: "peer", median: 100, runs: 1, valid: true },
    ]);
    expect(table(rows, "peer", false)).toMatch(/parley +300 +200 – 500 +3 +3\.00/);
  });

  test("leaves refused runs out and marks the row as not valid", () => {
    const rows = summarize([report("parley", 300), report("parley", 9_000, true)]);
    expect(rows).toMatchObject([{ median: 300, max: 300, runs: 1, valid: false, refusals: ["too_long (20 s)"] }]);
    expect(table(rows, "parley", false)).toContain("1, 1 refused");
  });

  test("shows no figure of a server whose runs were all refused, unless asked, and then in brackets", () => {
    const rows = summarize([report("parley", 9_000, true)]);
    expect(table(rows, "parley", false)).not.toContain("9,000");
    expect(table(rows, "parley", false)).toContain("refused");
    expect(table(rows, "parley", true)).toContain("[9,000]");
  });

  test("takes the mean of the middle two of an even number", () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNull();
  });

  test("writes figures with three digits", () => {
    expect([readable(0.12345), readable(12.345), readable(1_234.5)]).toEqual(["0.123", "12.3", "1,235"]);
  });
});
