import type { Signal } from "../bus/bus.ts";
import type { LogId } from "./log.ts";

export type PresenceSignal = Extract<Signal, { kind: "presence" }>;

/** What one node has said of one room. `users` is null when it named none, for there are too many. */
interface Said {
  users: Set<string> | null;
  count: number;
  /** By the monotonic clock. */
  at: number;
}

/** What a signal changed: users of that node alone, who may well be elsewhere, too. */
export interface RemoteChange {
  readonly entered: readonly string[];
  readonly left: readonly string[];
  /** A signal before it was lost: the node is to say all. */
  readonly isLacking: boolean;
}

const noChange: RemoteChange = { entered: [], left: [], isLacking: false };

/** Who is in the rooms that this node follows, on the other nodes, as they said last. */
export class RemotePresence {
  readonly #countMax: number;
  readonly #rooms = new Map<LogId, Map<string, Said>>();

  /** `countMax`: a node that counts more users than that names none. */
  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  follow(log: LogId): void {
    if (!this.#rooms.has(log)) this.#rooms.set(log, new Map());
  }

  drop(log: LogId): void {
    this.#rooms.delete(log);
  }

  has(log: LogId, userId: string): boolean {
    for (const { users } of this.#nodes(log)) if (users?.has(userId) === true) return true;
    return false;
  }

  /** A node has said something of the room. */
  isHeardOf(log: LogId): boolean {
    return (this.#rooms.get(log)?.size ?? 0) > 0;
  }

  /** A node counts its users without naming them. */
  isUnnamed(log: LogId): boolean {
    for (const { users } of this.#nodes(log)) if (users === null) return true;
    return false;
  }

  /** Users named by any node, each as often as it is named. */
  *users(log: LogId): Iterable<string> {
    for (const { users } of this.#nodes(log)) if (users !== null) yield* users;
  }

  /** The sum of users that are named: those of several nodes count several times. */
  namedCount(log: LogId): number {
    let sum = 0;
    for (const { users } of this.#nodes(log)) sum += users?.size ?? 0;
    return sum;
  }

  /** The sum of users that are only counted: those of several nodes count several times. */
  unnamedCount(log: LogId): number {
    let sum = 0;
    for (const { users, count } of this.#nodes(log)) if (users === null) sum += count;
    return sum;
  }

  /** Takes what a node says of a room that is followed. */
  take(log: LogId, signal: PresenceSignal, at: number): RemoteChange {
    const nodes = this.#rooms.get(log);
    if (nodes === undefined) return noChange;
    const before = nodes.get(signal.node);
    const named = before?.users ?? new Set<string>();
    const isNamed = signal.entered.length + signal.left.length > 0 || signal.count <= this.#countMax;
    if (!isNamed || (signal.whole && signal.entered.length !== signal.count)) {
      nodes.set(signal.node, { users: null, count: signal.count, at });
      return { ...noChange, left: [...named] };
    }
    if (signal.whole) return this.#takeWhole(nodes, signal, named, at);
    if (before?.users === null) {
      // Why: this node may not have heard that the users are named again.
      nodes.set(signal.node, { users: null, count: signal.count, at });
      return { ...noChange, isLacking: true };
    }
    const entered = signal.entered.filter((userId) => !named.has(userId));
    const left = signal.left.filter((userId) => named.has(userId));
    for (const userId of entered) named.add(userId);
    for (const userId of left) named.delete(userId);
    if (named.size === 0 && signal.count === 0) nodes.delete(signal.node);
    else nodes.set(signal.node, { users: named, count: signal.count, at });
    return { entered, left, isLacking: named.size !== signal.count };
  }

  #takeWhole(nodes: Map<string, Said>, signal: PresenceSignal, named: Set<string>, at: number): RemoteChange {
    const users = new Set(signal.entered);
    if (users.size === 0) nodes.delete(signal.node);
    else nodes.set(signal.node, { users, count: users.size, at });
    return {
      entered: signal.entered.filter((userId) => !named.has(userId)),
      left: [...named].filter((userId) => !users.has(userId)),
      isLacking: false,
    };
  }

  /** Rooms that the node has users in. */
  roomsOf(node: string): LogId[] {
    return [...this.#rooms].filter(([, nodes]) => nodes.has(node)).map(([log]) => log);
  }

  /** The node is gone from the room. Gives the users that it named. */
  forget(log: LogId, node: string): readonly string[] {
    const nodes = this.#rooms.get(log);
    const users = nodes?.get(node)?.users ?? null;
    nodes?.delete(node);
    return users === null ? [] : [...users];
  }

  /** Nodes that have said nothing of a room since `before`, though they should have, in pairs. */
  *silentSince(before: number): Iterable<readonly [LogId, string, number]> {
    for (const [log, nodes] of this.#rooms) for (const [node, { at }] of nodes) if (at < before) yield [log, node, at];
  }

  #nodes(log: LogId): Iterable<Said> {
    return this.#rooms.get(log)?.values() ?? [];
  }
}
