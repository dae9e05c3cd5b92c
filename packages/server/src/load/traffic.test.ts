import { describe, expect, test } from "vitest";
import { Histogram } from "./histogram.ts";
import { findMarker, type Marker, messageText, readMarker } from "./marker.ts";
import { type Subscription, Traffic } from "./traffic.ts";

function payload(room: number, counter: number, stampMicros: number, seq = counter + 1): Buffer {
  const text = messageText(room, counter, stampMicros, 100);
  const message = { id: "id", roomId: `room-${room}`, seq, userId: "someone", text };
  return Buffer.from(`42["new_message",${JSON.stringify(message)},"default/room:epoch:${seq}"]`);
}

function books(sequenced: boolean): { traffic: Traffic; subscriptions: Subscription[] } {
  const traffic = new Traffic(sequenced);
  const subscriptions = ["room-0", "room-1"].map((name) => {
    const room = traffic.addRoom(name);
    room.members = 1;
    return { room: room.index, nextCounter: 0, nextSeq: -1, from: undefined };
  });
  return { traffic, subscriptions };
}

function deliver(traffic: Traffic, subscriptions: readonly Subscription[], message: Buffer, atMicros = 0): void {
  traffic.nowMicros = atMicros;
  traffic.onMessage(subscriptions, message, 0, message.length);
}

describe("marker", () => {
  test("is read back as it was written, wherever it stands", () => {
    const marker: Marker = { room: 0, counter: 0, stampMicros: 0 };
    const buffer = payload(12_345, 87_654_321, 86_399_999_999);
    const place = findMarker(buffer, 0, buffer.length, 3);
    expect(readMarker(buffer, place, marker)).toBe(true);
    expect(marker).toEqual({ room: 12_345, counter: 87_654_321, stampMicros: 86_399_999_999 });
    expect(findMarker(buffer, 0, buffer.length, place)).toBe(place);
  });

  test("is not taken from beyond the frame", () => {
    const frame = Buffer.from("no marker here");
    const buffer = Buffer.concat([frame, payload(1, 1, 1)]);
    expect(findMarker(buffer, 0, frame.length, 0)).toBe(-1);
  });

  test("is not read when a digit was damaged", () => {
    const buffer = Buffer.from(messageText(1, 2, 3, 40));
    buffer[9] = 0x61;
    expect(readMarker(buffer, 0, { room: 0, counter: 0, stampMicros: 0 })).toBe(false);
  });
});

describe("books of a run", () => {
  test("say nothing against deliveries that come once and in order", () => {
    const { traffic, subscriptions } = books(true);
    for (let counter = 0; counter < 1_200; counter += 1) {
      deliver(traffic, subscriptions, payload(counter % 2, counter >> 1, 0));
    }
    const { deliveries, skipped, repeated, outOfSequence, unmarked } = traffic;
    expect({ deliveries, skipped, repeated, outOfSequence, unmarked }).toEqual({
      deliveries: 1_200,
      skipped: 0,
      repeated: 0,
      outOfSequence: 0,
      unmarked: 0,
    });
  });

  test("count what was jumped over, and what came again or late", () => {
    const { traffic, subscriptions } = books(false);
    for (const counter of [0, 3, 1, 3, 4]) deliver(traffic, subscriptions, payload(0, counter, 0));
    expect(traffic.skipped).toBe(2);
    expect(traffic.repeated).toBe(2);
  });

  test("tell what was lost from what came twice or in another order", () => {
    const { traffic, subscriptions } = books(false);
    const [room] = traffic.rooms;
    if (room === undefined) throw new Error("no room");
    for (let counter = 0; counter < 8; counter += 1) room.begin();
    // 1 comes late, and once more; 3 comes twice; 4 and 7 never come.
    for (const counter of [0, 2, 1, 3, 3, 5, 1, 6]) deliver(traffic, subscriptions, payload(0, counter, 0));
    expect(traffic.late).toBe(1);
    expect(traffic.repeated - traffic.late).toBe(2);
    expect(traffic.lost).toBe(2);
  });

  test("count a wrong or missing seq of a server that gives them", () => {
    const { traffic, subscriptions } = books(true);
    deliver(traffic, subscriptions, payload(0, 0, 0, 7));
    deliver(traffic, subscriptions, payload(0, 1, 0, 9));
    deliver(traffic, subscriptions, Buffer.from(`42["new_message",{"text":"${messageText(0, 2, 0, 30)}"}]`));
    expect(traffic.outOfSequence).toBe(2);
  });

  test("count what has no marker or belongs to another room", () => {
    const { traffic, subscriptions } = books(false);
    deliver(traffic, subscriptions, Buffer.from('42["new_message",{"text":"hello"}]'));
    deliver(traffic, subscriptions.slice(0, 1), payload(1, 0, 0));
    expect(traffic.unmarked).toBe(2);
  });

  test("take latencies of what was sent while measuring, also when it came later", () => {
    const { traffic, subscriptions } = books(false);
    traffic.measureFromMicros = 1_000;
    traffic.measureToMicros = 2_000;
    deliver(traffic, subscriptions, payload(0, 0, 500), 1_500);
    deliver(traffic, subscriptions, payload(0, 1, 1_500), 9_500);
    expect(traffic.deliveriesMeasured).toBe(1);
    expect(traffic.deliveryLatency.count).toBe(1);
    expect(traffic.deliveryLatency.maxMicros).toBe(8_000);
  });

  test("know when every member has a message", () => {
    const { traffic } = books(false);
    const [room] = traffic.rooms;
    if (room === undefined) throw new Error("no room");
    room.members = 3;
    let complete = 0;
    room.onComplete = () => {
      complete += 1;
    };
    const counter = room.begin();
    room.arrived(counter);
    room.arrived(counter);
    expect(complete).toBe(0);
    room.arrived(counter);
    expect(complete).toBe(1);
  });
});

describe("histogram", () => {
  test("gives percentiles within one part in 128, never below the true one", () => {
    const histogram = new Histogram();
    const values = Array.from({ length: 10_000 }, (_, index) => Math.floor(index ** 2 / 3));
    for (const value of values) histogram.record(value);
    for (const fraction of [0.01, 0.5, 0.9, 0.99, 0.999]) {
      const exact = values[Math.ceil(values.length * fraction) - 1] ?? 0;
      const given = histogram.percentile(fraction) ?? 0;
      expect(given).toBeGreaterThanOrEqual(exact);
      expect(given).toBeLessThanOrEqual(exact * (1 + 1 / 128) + 1);
    }
    expect(histogram.percentile(1)).toBe(values.at(-1));
  });

  test("has no percentile without values", () => {
    expect(new Histogram().percentile(0.99)).toBeUndefined();
  });
});
