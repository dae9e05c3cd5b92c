import { setImmediate } from "node:timers/promises";

const limitMs = 20_000;

/**
 * Asks again and again, a turn of the event loop apart, until `ask` gives something other than undefined.
 * Errors: rejects after 20 s, with what `ask` threw last.
 */
export async function eventually<Found>(
  what: string,
  ask: () => Found | undefined | Promise<Found | undefined>,
): Promise<Found> {
  const until = performance.now() + limitMs;
  let cause: unknown;
  while (performance.now() < until) {
    try {
      const found = await ask();
      if (found !== undefined) return found;
    } catch (error) {
      cause = error;
    }
    await setImmediate();
  }
  throw new Error(`waited ${limitMs} ms for ${what}`, { cause });
}
