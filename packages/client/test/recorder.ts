import type { ConnectionState } from "../src/connection.ts";
import type { Room } from "../src/room.ts";

/** Collects what listeners get, and resolves when it is what a test waits for. */
export class Recorder<Value> {
  readonly values: Value[] = [];
  readonly #listeners = new Set<() => void>();

  readonly add = (value: Value): void => {
    this.values.push(value);
    for (const look of this.#listeners) look();
  };

  /** The first value that fits, also one that came before. */
  first(fits: (value: Value) => boolean): Promise<Value> {
    return this.#when(() => this.values.find(fits));
  }

  /** All values, once there are so many. */
  async count(number: number): Promise<readonly Value[]> {
    await this.#when(() => (this.values.length >= number ? true : undefined));
    return this.values;
  }

  #when<Found>(look: () => Found | undefined): Promise<Found> {
    return new Promise((resolve) => {
      const check = (): void => {
        const found = look();
        if (found === undefined) return;
        this.#listeners.delete(check);
        resolve(found);
      };
      this.#listeners.add(check);
      check();
    });
  }
}

export function recordStates(client: {
  readonly state: ConnectionState;
  on(name: "state", listener: (state: ConnectionState) => void): unknown;
}): Recorder<ConnectionState> {
  const recorder = new Recorder<ConnectionState>();
  recorder.add(client.state);
  client.on("state", recorder.add);
  return recorder;
}

/** Texts of a room's messages as they arrive; a first page adds nothing. */
export function recordTexts(room: Room): Recorder<string> {
  const recorder = new Recorder<string>();
  room.on("message", ({ text }) => recorder.add(text));
  return recorder;
}
