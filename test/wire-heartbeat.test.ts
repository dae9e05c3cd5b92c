import { array, assert, asyncProperty, constantFrom, integer, nat, record } from "fast-check";
import { describe, expect, test } from "vitest";
import { TimerWheel, type WheelItem } from "../packages/server/src/gateway/heartbeat.ts";
import { SimulatedClock } from "./support/simulated-clock.ts";

const tickMs = 100;

class Item implements WheelItem {
  wheelSlot = -1;
  wheelIndex = 0;
  dueTick = 0;
  readonly fired: number[] = [];
  stalls = 0;
  afterwards: ((tick: number) => void) | null = null;

  onDue(tick: number): void {
    this.fired.push(tick);
    this.afterwards?.(tick);
  }

  onStalled(): void {
    this.stalls++;
  }
}

describe("the timer wheel", () => {
  test("[WIRE-1] whatever is scheduled, moved and removed, each item fires once, at its tick", async () => {
    const step = record({
      item: nat(9),
      action: constantFrom("schedule" as const, "schedule" as const, "remove" as const, "advance" as const),
      ticks: integer({ min: 1, max: 1_500 }),
    });
    await assert(
      asyncProperty(array(step, { maxLength: 60 }), async (steps) => {
        const clock = new SimulatedClock();
        const wheel = new TimerWheel(clock, tickMs);
        const items = Array.from({ length: 10 }, () => new Item());
        const expected: number[][] = items.map(() => []);
        const due: (number | null)[] = items.map(() => null);
        const settle = (): void => {
          due.forEach((tick, at) => {
            if (tick === null || tick > wheel.now()) return;
            expected[at]?.push(tick);
            due[at] = null;
          });
        };
        for (const { item: at, action, ticks } of steps) {
          const item = items[at];
          if (item === undefined) continue;
          if (action === "schedule") {
            due[at] = wheel.now() + ticks;
            wheel.schedule(item, wheel.now() + ticks);
          } else if (action === "remove") {
            due[at] = null;
            wheel.remove(item);
          } else {
            await clock.advance(ticks * tickMs);
            settle();
          }
        }
        await clock.advance(1_600 * tickMs);
        settle();
        expect(items.map(({ fired }) => fired)).toEqual(expected);
        expect(wheel.size).toBe(0);
        expect(clock.waiting).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  test("[WIRE-1] one timer serves all, and none is left when all are gone", () => {
    const clock = new SimulatedClock();
    const wheel = new TimerWheel(clock, tickMs);
    const items = Array.from({ length: 1_000 }, () => new Item());
    items.forEach((item, at) => wheel.schedule(item, wheel.now() + 1 + (at % 700)));
    expect(clock.waiting).toBe(1);
    for (const item of items) wheel.remove(item);
    expect(clock.waiting).toBe(0);
  });

  test("[WIRE-1] what is due may schedule, remove and end others meanwhile", async () => {
    const clock = new SimulatedClock();
    const wheel = new TimerWheel(clock, tickMs);
    const [first, second, third] = [new Item(), new Item(), new Item()];
    for (const item of [first, second, third]) {
      wheel.schedule(item, 5);
      item.afterwards = (tick) => {
        for (const other of [first, second, third]) if (other !== item) wheel.remove(other);
        if (item.fired.length < 3) wheel.schedule(item, tick + 512);
      };
    }
    await clock.advance(3_000 * tickMs);
    expect([first, second, third].map(({ fired }) => fired.length).toSorted((a, b) => a - b)).toEqual([0, 0, 3]);
    expect(clock.waiting).toBe(0);
  });

  test("[WIRE-1] one timer serves all, also when the last item makes room for another as it is visited", async () => {
    const clock = new SimulatedClock();
    const wheel = new TimerWheel(clock, tickMs);
    const [last, next] = [new Item(), new Item()];
    wheel.schedule(last, wheel.now() + 1);
    last.afterwards = (tick) => {
      // As a connection does that ends then, and leaves something behind.
      wheel.remove(last);
      wheel.schedule(next, tick + 10);
    };
    await clock.advance(5 * tickMs);
    expect(clock.waiting).toBe(1);
  });

  test("[WIRE-1] a tick that comes late by a stop tells everyone, after what was sent meanwhile was read", async () => {
    const clock = new SimulatedClock();
    const wheel = new TimerWheel(clock, tickMs);
    const item = new Item();
    wheel.schedule(item, wheel.now() + 100);
    await clock.advance(500);
    await clock.stall(900);
    expect(item.stalls).toBe(0);
    const order: string[] = [];
    item.afterwards = () => order.push("fired");
    clock.immediate(() => order.push("read"));
    await clock.stall(60_000);
    expect(item.stalls).toBe(1);
    expect(order).toEqual(["read", "fired"]);
  });
});
