import { expect, test } from "vitest";
import { dayOf, formatDay, formatDuration } from "./format.ts";
import { texts } from "./texts.ts";

const at = (year: number, month: number, day: number) => new Date(year, month - 1, day, 12).toISOString();

test("days are named from the present one", () => {
  const today = dayOf(new Date(2030, 2, 1));
  const january = new Intl.DateTimeFormat(undefined, { month: "long" }).format(new Date(2030, 0, 15));
  expect(formatDay(at(2030, 3, 1), today)).toBe(texts.today);
  expect(formatDay(at(2030, 2, 28), today)).toBe(texts.yesterday);
  expect(formatDay(at(2030, 1, 15), today)).toContain(january);
  expect(formatDay(at(2030, 1, 15), today)).not.toContain("2030");
  expect(formatDay(at(2029, 3, 1), today)).toContain("2029");
});

test("a duration has its two largest units, in the page's language", () => {
  const format = (language: string) => [0, 61, 3_600, 90_061].map((seconds) => formatDuration(seconds, language));
  expect(format("en")).toEqual(["0 sec", "1 min 1 sec", "1 hr 0 min", "1 day 1 hr"]);
  expect(format("zh")).toEqual(["0秒", "1分钟 1秒", "1小时 0分钟", "1天 1小时"]);
});
