import { pino } from "pino";
import { z } from "zod";
import type { Config } from "./config.ts";
import { LogOutput } from "./log-output.ts";

/** Fields first, then a constant event name: `log.info({connection: id}, "connection_closed")`. Never a body or a token. */
export type Log = pino.Logger;

// Why one for all logs of the process: its lines stay in order, and the process has one listener to its exit.
const stdout = new LogOutput(1);

/** Writes to stdout, or to `write`, a line at a time. */
export function createLog(settings: Config["log"], write?: (line: string) => void): Log {
  const output = write === undefined ? stdout : { write };
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
