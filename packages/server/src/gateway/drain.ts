import type { Clock } from "../core/clock.ts";
import type { Millis } from "../core/log.ts";
import type { ConnectionEvents } from "./connection.ts";
import type { EngineConnection } from "./engine-connection.ts";

export interface DrainPace {
  /** Clients are told to move evenly over this time, so that no other node meets them all at once. */
  readonly drainMs: Millis;
  /** What each has from then on, before its transport is closed. */
  readonly moveMs: Millis;
}

/** What the drain needs of a connection. */
export type Drained = Pick<EngineConnection, "closed" | "close"> & {
  readonly events: Pick<ConnectionEvents, "onDraining"> | null;
};

const stepMs = 100;

/**
 * Moves the clients of a node elsewhere that stops, or takes none for now: each is told (`server_draining`), goes by itself if its software knows
 * how to, and loses its transport otherwise, upon which stock clients come back by themselves. Resolves when all are
 * gone: `drainMs + moveMs` after the call, or sooner. Once `signal` is aborted nobody else is told or closed.
 */
export async function drain(
  connections: Iterable<Drained>,
  clock: Clock,
  { drainMs, moveMs }: DrainPace,
  signal?: AbortSignal,
): Promise<void> {
  const waiting = [...connections];
  let moving = [...waiting];
  const steps = Math.max(1, Math.floor(drainMs / stepMs));
  const perStep = Math.ceil(waiting.length / steps);
  while (waiting.length > 0 && signal?.aborted !== true) {
    const told = waiting.splice(0, perStep).filter((connection) => !connection.closed);
    for (const connection of told) connection.events?.onDraining?.(moveMs);
    clock.after(moveMs, () => {
      if (signal?.aborted === true) return;
      for (const connection of told) connection.close("server_closing");
    });
    if (waiting.length > 0) await pause(clock, stepMs);
  }
  // Why counted in steps: who moves early lets the node stop early.
  for (let waitedMs = 0; waitedMs <= moveMs && signal?.aborted !== true; waitedMs += stepMs) {
    moving = moving.filter((connection) => !connection.closed);
    if (moving.length === 0) return;
    await pause(clock, stepMs);
  }
}

function pause(clock: Clock, ms: Millis): Promise<void> {
  return new Promise((resolve) => clock.after(ms, resolve));
}
