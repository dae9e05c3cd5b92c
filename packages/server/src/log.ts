import { pino } from "pino";
import { z } from "zod";
import type { Config } from "./config.ts";

/** Fields first, then a constant event name: `log.info({connection: id}, "connection_closed")`. Never a body or a token. */
export type Log = pino.Logger;

/** Lines that wait for a reader of stdout that is slow; beyond, lines are dropped. */
const waitingBytesMax = 8_388_608;

/** Lines that come within this time of the first are written together. */
const gatherMs = 20;
const gatheredLengthMax = 65_536;

/** Writes to stdout, or to `write`, a line at a time. */
export function createLog(settings: Config["log"], write?: (line: string) => void): Log {
  const output = write === undefined ? gatheredOutput() : { write };
  const options: pino.LoggerOptions = {
    level: settings.level,
    messageKey: "event",
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { error: describeError },
  };
  return pino(
    options,
    settings.format === "json" ? output : { write: (line: string) => output.write(formatLine(line)) },
  );
}

/**
 * To stdout, in the background, so that a storm of connections does not wait for its log; an exit waits for what is left.
 * Why gathered: each write goes through another thread, which was a tenth of what a connection cost.
 */
function gatheredOutput(): { write(line: string): void } {
  const stdout = pino.destination({ dest: 1, sync: false, maxLength: waitingBytesMax });
  let gathered = "";
  const writeAll = (): void => {
    const text = gathered;
    gathered = "";
    if (text !== "") stdout.write(text);
  };
  process.once("exit", () => {
    writeAll();
    stdout.flushSync();
  });
  return {
    write(line) {
      if (gathered === "") setTimeout(writeAll, gatherMs);
      gathered += line;
      if (gathered.length >= gatheredLengthMax) writeAll();
    },
  };
}

/** For parts that log by one function: each event with its fields, as `info`. */
export function eventLog(
  log: Log,
): (event: string, fields: Readonly<Record<string, string | number | boolean | null>>) => void {
  return (event, fields) => log.info(fields, event);
}

// Why not pino's own: an error's further properties may hold what a client sent.
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return typeof error;
  const { name, message, stack, cause } = error;
  return { name, message, stack, ...(cause === undefined ? {} : { cause: describeError(cause) }) };
}

const lineSchema = z.looseObject({ time: z.string(), level: z.string(), event: z.string().default("") });

function formatLine(line: string): string {
  const { time, level, event, ...rest } = lineSchema.parse(JSON.parse(line));
  const details = Object.entries(rest).map(([name, value]) => ` ${name}=${formatValue(value)}`);
  return `${time.slice(11, 23)} ${level.padEnd(5)} ${event}${details.join("")}\n`;
}

// Invariant: what a client chose can break no line and steer no terminal. JSON leaves the controls above U+007E as they are.
function formatValue(value: unknown): string {
  if (typeof value === "string" && /^[\w./:@-]+$/.test(value)) return value;
  return JSON.stringify(value).replaceAll(
    /[\u007f-\u009f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
