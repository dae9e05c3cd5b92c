import { useSyncExternalStore } from "react";
import { dayOf } from "./format.ts";

/** Whole seconds until a time (milliseconds since 1970), counted down as they pass; 0 when it has come. */
export function useSecondsUntil(atMs: number): number {
  return useSyncExternalStore(everyHalfSecond, () => Math.max(0, Math.ceil((atMs - Date.now()) / 1_000)));
}

/** The present day as a key, also after midnight. */
export function useToday(): string {
  return useSyncExternalStore(everyMinute, () => dayOf(new Date()));
}

function everyHalfSecond(onTick: () => void): () => void {
  const timer = setInterval(onTick, 500);
  return () => clearInterval(timer);
}

function everyMinute(onTick: () => void): () => void {
  const timer = setInterval(onTick, 60_000);
  return () => clearInterval(timer);
}
