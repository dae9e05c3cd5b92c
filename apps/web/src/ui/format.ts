import { texts } from "./texts.ts";

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const number = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

export function formatTime(iso: string): string {
  return time.format(new Date(iso));
}

export function formatWhole(iso: string): string {
  return whole.format(new Date(iso));
}

export function formatNumber(value: number): string {
  return number.format(value);
}

/** A day in the reader's time zone, as a key: `2030-1-31`. */
export function dayOf(at: string | Date): string {
  const date = new Date(at);
  return `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
}

/** Today, yesterday, a weekday of this year, or a date with its year. `today`: a key as of `dayOf`. */
export function formatDay(iso: string, today: string): string {
  const date = new Date(iso);
  if (dayOf(date) === today) return texts.today;
  const next = new Date(date.getFullYear(), date.getMonth(), date.getDate() + 1);
  if (dayOf(next) === today) return texts.yesterday;
  return (today.startsWith(`${date.getFullYear()}-`) ? day : dayOfYear).format(date);
}

/** `1 day 3 hr`, `5 min`, `12 sec` in the page's language: the two largest units. */
export function formatDuration(seconds: number, language = texts.language): string {
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "day"],
    [Math.floor(seconds / 3_600) % 24, "hour"],
    [Math.floor(seconds / 60) % 60, "minute"],
    [Math.floor(seconds) % 60, "second"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  const shown = first < 0 ? parts.slice(-1) : parts.slice(first, first + 2);
  return shown
    .map(([count, unit]) =>
      new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short" }).format(count),
    )
    .join(" ");
}
