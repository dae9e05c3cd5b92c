import { textFrame } from "../core/frame.ts";
import type { CloseReason, Connection, ConnectionEvents } from "./connection.ts";
import type { Handshake } from "./handshake.ts";
import type { TimerWheel, WheelItem } from "./heartbeat.ts";
import type { GatewaySettings } from "./settings.ts";
import { type Ending, packetType, type Transport, type TransportOwner } from "./transport.ts";

const pingFrame = textFrame("2");
const pingFrames: readonly Buffer[] = [pingFrame];

/** What all connections of an engine share, so that a record holds one reference to it. */
export interface EngineShared {
  readonly settings: GatewaySettings;
  readonly wheel: TimerWheel;
  readonly pingTicks: number;
  readonly pingTimeoutTicks: number;
  readonly connectTicks: number;
  /** Called once per connection, after its owner was told. */
  forget(connection: EngineConnection, reason: CloseReason): void;
}

/**
 * The record of one Engine.IO connection. There may be a hundred thousand of them: small integers and few references,
 * no closures, no request.
 *
 * Invariants: `unanswered` is `beforePing + sincePing`; at most one ping is outstanding (`pinged`); nothing is written
 * and no event is told after `onClosed`, which is told once.
 */
export class EngineConnection implements Connection, TransportOwner, WheelItem {
  readonly id: string;
  readonly shared: EngineShared;
  /** Null once it is closed. */
  transport: Transport | null;
  /** Null once it is closed. Set before the first byte is read. */
  events: ConnectionEvents | null = null;
  /** How it came in. Kept until its first namespace has decided; longer with a token in it, or if the gateway is told to. */
  handshake: Handshake | null;

  wheelSlot = -1;
  wheelIndex = 0;
  dueTick = 0;
  /** The next ping or, once pinged, the last tick to answer it. */
  #heartbeatTick = 0;
  /** 0 once it has joined a namespace. */
  #connectTick: number;

  #pinged = false;
  /** Another ping is wanted as soon as the outstanding one is answered. */
  #confirming = false;
  #beforePing = 0;
  #sincePing = 0;
  /** Packets that carry nothing, since the heartbeat last came by. */
  #idlePackets = 0;

  constructor(id: string, shared: EngineShared, transport: Transport, handshake: Handshake) {
    this.id = id;
    this.shared = shared;
    this.transport = transport;
    this.handshake = handshake;
    const tick = shared.wheel.now();
    this.#connectTick = tick + shared.connectTicks;
    this.#heartbeatTick = tick + shared.pingTicks;
    this.#schedule();
  }

  get closed(): boolean {
    return this.transport === null;
  }

  /** Bytes written and not known to have arrived. A client that answers pings which it has not read gains nothing. */
  unanswered(): number {
    return Math.max(this.#beforePing + this.#sincePing, this.transport?.bufferedBytes() ?? 0);
  }

  free(): number {
    return Math.max(0, this.shared.settings.windowBytes - this.unanswered());
  }

  write(frames: readonly Buffer[], confirms = false): void {
    if (this.transport === null) return;
    for (const frame of frames) this.#sincePing += frame.length;
    const pings = !this.#pinged && (confirms || this.#isPingDue());
    // Why with them: a write of its own would cost as much as theirs.
    this.transport.write(pings ? [...frames, pingFrame] : frames);
    if (pings) this.#onPingWritten();
    else if (confirms) this.#confirming = true;
  }

  confirm(): void {
    if (this.#pinged) this.#confirming = true;
    else this.#ping();
  }

  close(reason: CloseReason): void {
    if (this.transport === null) return;
    this.#closed(reason, endingOf(reason));
  }

  /** It has joined a namespace: it may stay. */
  joined(): void {
    this.#connectTick = 0;
    this.#schedule();
  }

  /** The switch of an upgrade. `unfetched` was written to the transport before, and goes out first on this one. */
  moveTo(next: Transport, unfetched: readonly Buffer[]): void {
    this.transport = next;
    if (unfetched.length > 0) next.write(unfetched);
    this.events?.onUpgraded?.();
  }

  onText(type: number, body: string): void {
    const events = this.events;
    if (events === null) return;
    switch (type) {
      case packetType.message:
        events.onPacket(body);
        return;
      case packetType.pong:
        this.#answered();
        return;
      case packetType.close:
        this.#closed("client_closed", "orderly");
        return;
      case packetType.upgrade:
      case packetType.noop:
        this.countIdlePacket();
        return;
      default:
        this.close("parse_error");
    }
  }

  onBinary(data: Buffer): void {
    this.events?.onBinary(data);
  }

  onTransportClosed(reason: CloseReason): void {
    this.#closed(reason, "ended");
  }

  /** A packet that carries nothing, WebSocket pings included: some are fine, a flood of them is not. */
  countIdlePacket(): void {
    this.#idlePackets++;
    if (this.#idlePackets > this.shared.settings.idlePacketsMax) this.close("too_many_requests");
  }

  onDue(tick: number): void {
    if (this.#connectTick !== 0 && tick >= this.#connectTick) {
      this.close("connect_timeout");
      return;
    }
    this.#idlePackets = 0;
    if (tick >= this.#heartbeatTick) {
      if (this.#pinged) {
        this.close("ping_timeout");
        return;
      }
      this.#ping();
      return;
    }
    this.#schedule();
  }

  // Why: nobody could answer a process that was stopped. Who was waited for gets the whole time again.
  onStalled(tick: number): void {
    const { pingTimeoutTicks, connectTicks } = this.shared;
    if (this.#connectTick !== 0 && this.#connectTick <= tick) this.#connectTick = tick + connectTicks;
    if (this.#pinged) this.#heartbeatTick = tick + pingTimeoutTicks;
    this.#schedule();
  }

  /** Half of the window is unanswered. */
  #isPingDue(): boolean {
    return this.#sincePing * 2 >= this.shared.settings.windowBytes;
  }

  #ping(): void {
    this.transport?.write(pingFrames);
    this.#onPingWritten();
  }

  #onPingWritten(): void {
    if (this.transport === null) return;
    this.#pinged = true;
    this.#confirming = false;
    this.#beforePing += this.#sincePing;
    this.#sincePing = 0;
    this.#heartbeatTick = this.shared.wheel.now() + this.shared.pingTimeoutTicks;
    this.#schedule();
    this.events?.onPinged();
  }

  #answered(): void {
    if (!this.#pinged) {
      this.countIdlePacket();
      return;
    }
    this.#pinged = false;
    this.#beforePing = 0;
    this.#heartbeatTick = this.shared.wheel.now() + this.shared.pingTicks;
    this.#schedule();
    this.events?.onAnswered();
    if (!this.#pinged && (this.#confirming || this.#isPingDue())) this.#ping();
  }

  #closed(reason: CloseReason, how: Ending | "ended"): void {
    const { transport, events } = this;
    if (transport === null) return;
    this.transport = null;
    this.events = null;
    this.handshake = null;
    this.shared.wheel.remove(this);
    if (how !== "ended") transport.end(how);
    events?.onClosed(reason);
    this.shared.forget(this, reason);
  }

  #schedule(): void {
    const { wheel } = this.shared;
    const tick = this.#connectTick === 0 ? this.#heartbeatTick : Math.min(this.#heartbeatTick, this.#connectTick);
    // A later time is found out when the wheel comes by; only an earlier one must move the record.
    if (this.wheelSlot >= 0 && this.dueTick <= tick) return;
    wheel.schedule(this, tick);
  }
}

function endingOf(reason: CloseReason): Ending {
  switch (reason) {
    case "ping_timeout":
    case "transport_error":
      return "abort";
    case "parse_error":
    case "payload_too_large":
    case "too_many_requests":
      return "refused";
    case "client_closed":
    case "connect_timeout":
    case "overloaded":
    case "superseded":
    case "server_closing":
    case "kicked":
    case "token_expired":
      return "orderly";
  }
}
