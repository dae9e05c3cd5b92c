import { textFrame } from "../core/frame.ts";
import type { EngineConnection } from "./engine-connection.ts";
import type { TimerWheel, WheelItem } from "./heartbeat.ts";
import type { PollingTransport } from "./polling.ts";
import { packetType, type TransportOwner } from "./transport.ts";
import type { EngineWebSocket } from "./websocket.ts";

const probedFrames: readonly Buffer[] = [textFrame("3probe")];

/**
 * A WebSocket that was opened to replace the polling transport of a connection, until it has done so. Whatever goes
 * wrong with it ends it alone: polling goes on.
 */
export class UpgradeProbe implements TransportOwner, WheelItem {
  wheelSlot = -1;
  wheelIndex = 0;
  dueTick = 0;
  readonly #connection: EngineConnection;
  readonly #polling: PollingTransport;
  readonly #socket: EngineWebSocket;
  readonly #wheel: TimerWheel;
  /** The client was told that the WebSocket works: it is about to move. */
  #isAnswered = false;
  #isConnectionOver = false;

  constructor(connection: EngineConnection, polling: PollingTransport, socket: EngineWebSocket, timeoutTicks: number) {
    this.#connection = connection;
    this.#polling = polling;
    this.#socket = socket;
    this.#wheel = connection.shared.wheel;
    this.#wheel.schedule(this, this.#wheel.now() + timeoutTicks);
  }

  onText(type: number, body: string): void {
    // Why once: nothing counts what a client that asks on and on does not read.
    if (type === packetType.ping && body === "probe" && !this.#isAnswered) {
      this.#isAnswered = true;
      this.#socket.write(probedFrames);
      this.#polling.release();
    } else if (type === packetType.upgrade && !this.#isConnectionOver) {
      this.#wheel.remove(this);
      this.#socket.owner = this.#connection;
      this.#connection.moveTo(this.#socket, this.#polling.retire());
    } else if (type === packetType.noop) {
      this.#connection.countIdlePacket();
    } else {
      this.cancel();
    }
  }

  onBinary(): void {
    this.cancel();
  }

  onTransportClosed(): void {
    this.#wheel.remove(this);
    this.#polling.probeEnded();
  }

  onDue(): void {
    this.cancel();
  }

  onStalled(): void {}

  /**
   * Why not ended at once when the client is about to move: a stock client that loses the WebSocket then stops polling
   * all the same, and is mute until its own heartbeat gives up, 45 s later. Once it has moved it notices.
   */
  connectionEnded(): void {
    this.#isConnectionOver = true;
    if (!this.#isAnswered) this.cancel();
  }

  /** The client did not do its part. */
  cancel(): void {
    this.#wheel.remove(this);
    this.#polling.probeEnded();
    this.#socket.end("orderly");
  }
}
