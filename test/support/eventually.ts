import { setTimeout } from "node:timers/promises";

const limitMs = 20_000;
// Why not at every turn of the event loop: it would take the processor from what is waited for.
const betweenMs = 4;

/**
 * Asks again and again, a few milliseconds apart, until `ask` gives something other than undefined.
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
    await setTimeout(betweenMs);
  }
  throw new Error(`waited ${limitMs} ms for ${what}`, { cause });
}
