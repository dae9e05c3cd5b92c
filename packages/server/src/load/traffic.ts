import { Histogram } from "./histogram.ts";
import { findMarker, findSeq, type Marker, readDecimal, readMarker, roomsMax } from "./marker.ts";

export function nowMicros(): number {
  return performance.now() * 1000;
}

export interface Position {
  readonly epoch: string;
  readonly seq: number;
}

/** How far one connection is in one room. */
export interface Subscription {
  readonly room: number;
  nextCounter: number;
  /** The `seq` that the next entry must carry; -1 while it is not known. */
  nextSeq: number;
  /** Where a server with positions says that the connection began. */
  from: Position | undefined;
}

/** Messages of one room in flight at most, so that "every member has it" can be told without a map. */
export const inFlightMax = 4096;

/** Counters that are remembered as jumped over, in all: those beyond it are taken for repeated when they come late. */
const jumpedOverMax = 100_000;

/** One room's messages on their way. Every message of a room is counted from 0, in the order of sending. */
export class RoomTraffic {
  readonly index: number;
  readonly name: string;
  members = 0;
  sent = 0;
  /** Of those sent: nobody gets them. */
  refused = 0;
  /** Called when all members have got a message. */
  onComplete: (() => void) | undefined;
  readonly #lacking = new Int32Array(inFlightMax);

  constructor(index: number, name: string) {
    this.index = index;
    this.name = name;
  }

  begin(): number {
    const counter = this.sent;
    this.sent += 1;
    this.#lacking[counter % inFlightMax] = this.members;
    return counter;
  }

  arrived(counter: number): void {
    const slot = counter % inFlightMax;
    const lacking = (this.#lacking[slot] ?? 0) - 1;
    this.#lacking[slot] = lacking;
    if (lacking === 0) this.onComplete?.();
  }
}

/**
 * The books of one run: what was sent, what came, and whether it came once and in order.
 * Throughput counts what arrives while measuring; latency counts what was *sent* while measuring, so that a server that
 * falls behind cannot leave its late deliveries out.
 */
export class Traffic {
  readonly rooms: RoomTraffic[] = [];
  /** True when deliveries carry the server's `seq`, which must then grow by one. */
  readonly sequenced: boolean;
  /** Set once per read: the time at which its bytes were in the generator's hands. */
  nowMicros = 0;
  measureFromMicros = Number.POSITIVE_INFINITY;
  measureToMicros = Number.POSITIVE_INFINITY;

  deliveries = 0;
  deliveriesMeasured = 0;
  /** Deliveries whose counter was not above the last one: repeated, or late and therefore out of order. */
  repeated = 0;
  /** Of these, those that had been jumped over: they came once, but not in their place. */
  late = 0;
  /** Counters that were jumped over. */
  skipped = 0;
  outOfSequence = 0;
  /** Messages whose marker was missing, damaged or of a room that the connection is not in. */
  unmarked = 0;
  otherEvents = 0;
  readonly deliveryLatency = new Histogram();

  sends = 0;
  acknowledged = 0;
  acknowledgedMeasured = 0;
  /** Acknowledgements that nothing asked for, or that came twice. */
  strayAcknowledgements = 0;
  readonly refusedSends = new Map<string, number>();
  readonly acknowledgementLatency = new Histogram();

  /** Connections lost after they were ready, by reason. */
  readonly lostConnections = new Map<string, number>();

  readonly #marker: Marker = { room: 0, counter: 0, stampMicros: 0 };
  /** Counters that were jumped over and have not come since, by subscription. Empty while nothing goes wrong. */
  readonly #jumpedOver = new Map<Subscription, Set<number>>();
  #jumpedOverCount = 0;
  #markerGuess = 0;
  #seqGuess = 0;

  constructor(sequenced: boolean) {
    this.sequenced = sequenced;
  }

  /** Errors: throws beyond the rooms that a marker can name. */
  addRoom(name: string): RoomTraffic {
    if (this.rooms.length >= roomsMax) throw new Error(`at most ${roomsMax} rooms can be told apart`);
    const room = new RoomTraffic(this.rooms.length, name);
    this.rooms.push(room);
    return room;
  }

  get expectedDeliveries(): number {
    return this.rooms.reduce((deliveries, { sent, refused, members }) => deliveries + (sent - refused) * members, 0);
  }

  /** Deliveries that never came: those that came twice stand in for none of them. */
  get lost(): number {
    return this.expectedDeliveries - (this.deliveries - this.unmarked - (this.repeated - this.late));
  }

  /** One `new_message` event, as its frame's payload. The hottest path of the generator: no garbage, no copies. */
  onMessage(subscriptions: readonly Subscription[], buffer: Buffer, start: number, end: number): void {
    this.deliveries += 1;
    const now = this.nowMicros;
    if (now >= this.measureFromMicros && now < this.measureToMicros) this.deliveriesMeasured += 1;
    const marker = this.#marker;
    const place = findMarker(buffer, start, end, this.#markerGuess);
    if (place === -1 || !readMarker(buffer, start + place, marker)) {
      this.unmarked += 1;
      return;
    }
    this.#markerGuess = place;
    const subscription = subscriptionOf(subscriptions, marker.room);
    const room = this.rooms[marker.room];
    if (subscription === undefined || room === undefined) {
      this.unmarked += 1;
      return;
    }
    this.#checkOrder(subscription, marker.counter);
    if (this.sequenced) this.#checkSequence(subscription, buffer, start, end);
    const { stampMicros } = marker;
    if (stampMicros >= this.measureFromMicros && stampMicros < this.measureToMicros) {
      this.deliveryLatency.record(now - stampMicros);
    }
    room.arrived(marker.counter);
  }

  #checkOrder(subscription: Subscription, counter: number): void {
    const expected = subscription.nextCounter;
    if (counter < expected) {
      this.repeated += 1;
      if (this.#jumpedOver.get(subscription)?.delete(counter) === true) {
        this.late += 1;
        this.#jumpedOverCount -= 1;
      }
      return;
    }
    if (counter > expected) this.#jump(subscription, expected, counter);
    subscription.nextCounter = counter + 1;
  }

  #jump(subscription: Subscription, from: number, to: number): void {
    this.skipped += to - from;
    const jumpedOver = this.#jumpedOver.get(subscription) ?? new Set<number>();
    this.#jumpedOver.set(subscription, jumpedOver);
    for (let counter = from; counter < to && this.#jumpedOverCount < jumpedOverMax; counter += 1) {
      jumpedOver.add(counter);
      this.#jumpedOverCount += 1;
    }
  }

  #checkSequence(subscription: Subscription, buffer: Buffer, start: number, end: number): void {
    const place = findSeq(buffer, start, end, this.#seqGuess);
    const seq = place === -1 ? -1 : readDecimal(buffer, start + place, end);
    if (seq === -1 || (subscription.nextSeq !== -1 && seq !== subscription.nextSeq)) this.outOfSequence += 1;
    if (place !== -1) this.#seqGuess = place;
    subscription.nextSeq = seq === -1 ? -1 : seq + 1;
  }

  onAcknowledged(stampMicros: number): void {
    const now = this.nowMicros;
    this.acknowledged += 1;
    if (now >= this.measureFromMicros && now < this.measureToMicros) this.acknowledgedMeasured += 1;
    if (stampMicros >= this.measureFromMicros && stampMicros < this.measureToMicros) {
      this.acknowledgementLatency.record(now - stampMicros);
    }
  }

  /** A message into this room was refused. */
  onRefused(code: string, index: number): void {
    count(this.refusedSends, code);
    const room = this.rooms[index];
    if (room !== undefined) room.refused += 1;
  }

  onLost(reason: string): void {
    count(this.lostConnections, reason);
  }
}

export function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** Of counts by reason or by code. */
export function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, times) => total + times, 0);
}

function subscriptionOf(subscriptions: readonly Subscription[], room: number): Subscription | undefined {
  for (const subscription of subscriptions) {
    if (subscription.room === room) return subscription;
  }
  return undefined;
}
