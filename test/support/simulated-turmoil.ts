import { logId, type Seq } from "../../packages/server/src/core/log.ts";
import type { ParleyNode } from "../../packages/server/src/core/node.ts";
import type { AppendEffect } from "../../packages/server/src/store/store.ts";
import type { AppendFault } from "./memory-store.ts";
import type { SimulatedClient } from "./simulated-client.ts";
import type { World } from "./simulation.ts";

export interface Acknowledged {
  readonly room: string;
  readonly epoch: string;
  readonly seq: Seq;
  readonly text: string;
}

export interface MembershipChange {
  readonly room: string;
  readonly userId: string;
  readonly role: "member" | null;
  readonly seq: Seq;
  readonly askedAt: number;
}

export interface Notice {
  readonly number: number;
  readonly userId: string;
}

export interface TurmoilOptions {
  readonly rooms: readonly string[];
  /** Rooms of members alone; every user begins as one. */
  readonly memberRooms?: readonly string[];
  /** How likely each thing is at a step, by share of the sum; what is not named does not happen. */
  readonly weights: Partial<Record<Action, number>>;
  readonly appendFaults?: readonly AppendFault[];
  readonly stepMaxMs?: number;
  /** How likely a client that comes back does so as a stock client does, by its session, to any node. */
  readonly roams?: number;
}

/** What is likely at a step when only nodes, links, hints and the store fail. */
export const ordinaryWeights: Partial<Record<Action, number>> = {
  send: 50,
  join: 9,
  joinWhereLeft: 1,
  leave: 3,
  drop: 5,
  connect: 7,
  failAppend: 1,
  busDown: 0.5,
  storeDown: 0.5,
  kill: 0.3,
  nothing: 23,
};

/** What strikes a world and what its users do, step by step, and what they were promised meanwhile. */
export class Turmoil {
  readonly world: World;
  readonly options: TurmoilOptions;
  readonly acknowledged: Acknowledged[] = [];
  readonly changes: MembershipChange[] = [];
  readonly notices: Notice[] = [];
  lastBackup: string | null = null;
  restored = false;
  #steps = 0;
  #notified = 0;
  #sums: [Action, number][] = [];
  #sum = 0;

  constructor(world: World, options: TurmoilOptions) {
    this.world = world;
    this.options = options;
    for (const action of actionNames) {
      this.#sum += options.weights[action] ?? 0;
      this.#sums.push([action, this.#sum]);
    }
  }

  /** Rooms of members alone are made, and all users are let in. */
  async begin(): Promise<void> {
    const { world } = this;
    const operations = world.operations(world.pick(world.nodes));
    for (const roomId of this.options.memberRooms ?? []) {
      await world.until(operations.putRoom({ roomId, access: "members" }));
      for (const userId of new Set(world.clients.map(({ user }) => user.id)))
        await world.until(this.#setMembership(world.pick(world.nodes), roomId, userId, "member"));
    }
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step += 1) {
      this.#steps += 1;
      const dice = this.world.random() * this.#sum;
      const action = this.#sums.find(([, until]) => dice < until)?.[0] ?? "nothing";
      await actions[action](this);
      await this.world.clock.advance(Math.floor(this.world.random() * (this.options.stepMaxMs ?? 30)));
    }
  }

  /** Faults end, everyone reads and is connected, each log gets one more entry, and all settles. */
  async heal(): Promise<void> {
    const { world } = this;
    world.network.setDown(false);
    world.store.heal();
    await world.clock.advance(2_000);
    for (const client of world.clients) {
      client.bytesPerMs = 1_000;
      client.connection?.resumeReading(1_000);
    }
    for (let tries = 0; tries < 5 && world.clients.some(({ connection }) => connection === null); tries += 1) {
      for (const client of world.clients) if (client.connection === null) connect(this, client);
      await world.clock.advance(1_000);
    }
    for (const room of this.rooms) this.send(world.pick(world.nodes), room, "the last word");
    world.background(world.operations(world.pick(world.nodes)).announce({ message: "the last word" }));
    for (const userId of new Set(world.clients.map(({ user }) => user.id)))
      this.notify(world.pick(world.nodes), userId);
    await world.clock.advance(40_000);
  }

  get rooms(): readonly string[] {
    return [...this.options.rooms, ...(this.options.memberRooms ?? [])];
  }

  get step(): number {
    return this.#steps;
  }

  send(node: ParleyNode, room: string, text: string): void {
    const message = { roomId: room, text, clientId: `id-${this.#steps}-${room}` };
    node.rooms.send({ tenant: "default", id: "writer" }, message).then(
      ({ seq, epoch }) => this.acknowledged.push({ room, epoch, seq, text }),
      () => {},
    );
  }

  /** An edit or a deletion of a message that was acknowledged. */
  change(node: ParleyNode, { room, seq }: Acknowledged, type: "edit" | "deletion"): void {
    const text = `changed ${this.#steps}`;
    const effect: AppendEffect =
      type === "edit"
        ? { kind: "edit", target: seq, text, byModerator: true }
        : { kind: "delete", target: seq, byModerator: true };
    const append = {
      log: logId("default", room),
      id: `change-${this.#steps}`,
      type,
      actor: "writer",
      at: this.world.clock.now(),
      v: 1,
      data: JSON.stringify({ target: seq, text }),
      clientId: null,
      effect,
    };
    this.world.background(node.sequencer.append(append));
  }

  setMembership(node: ParleyNode, room: string, userId: string, role: "member" | null): void {
    this.world.background(this.#setMembership(node, room, userId, role));
  }

  async #setMembership(node: ParleyNode, room: string, userId: string, role: "member" | null): Promise<void> {
    const askedAt = this.world.clock.now();
    const change = { roomId: room, userId, role };
    const { seq } = await this.world.operations(node).setMembership(change);
    this.changes.push({ room, userId, role, seq, askedAt });
  }

  notify(node: ParleyNode, userId: string): void {
    const number = (this.#notified += 1);
    const notice = { userId, event: "notice", data: { number } };
    this.world
      .operations(node)
      .notifyUser(notice)
      .then(
        () => this.notices.push({ number, userId }),
        () => {},
      );
  }
}

function connect({ world, options }: Turmoil, client: SimulatedClient): void {
  if (options.roams !== undefined && world.random() < options.roams) {
    world.background(client.connect(world.pick(world.nodes), "session"));
    return;
  }
  const home = client.node;
  const stays = home !== null && world.nodes.includes(home) && world.random() < 0.6;
  const by = world.random() < 0.9 ? "positions" : "nothing";
  world.background(stays ? client.connect(home, "session") : client.connect(world.pick(world.nodes), by));
}

type Act = (turmoil: Turmoil) => void | Promise<void>;

const actions = {
  send: (turmoil) => {
    const { world } = turmoil;
    const text = `text ${turmoil.step} ${"x".repeat(world.random() * 200)}`;
    turmoil.send(world.pick(world.nodes), world.pick(turmoil.rooms), text);
  },
  join: ({ world, rooms }) => world.background(world.pick(world.clients).join(world.pick(rooms))),
  joinShort: ({ world, rooms }) => world.background(world.pick(world.clients).join(world.pick(rooms), "page", 2)),
  joinWhereLeft: ({ world, rooms }) =>
    world.background(world.pick(world.clients).join(world.pick(rooms), "where it left")),
  leave: ({ world, rooms }) => world.background(world.pick(world.clients).leave(world.pick(rooms))),
  history: ({ world, rooms }) => world.background(world.pick(world.clients).history(world.pick(rooms), 50)),
  typing: ({ world, rooms }) => world.background(world.pick(world.clients).typing(world.pick(rooms))),
  drop: ({ world }) => world.pick(world.clients).drop(world.random() < 0.5),
  connect: (turmoil) => {
    const client = turmoil.world.pick(turmoil.world.clients);
    if (client.connection === null) connect(turmoil, client);
  },
  /** Its client comes back before the loss of its connection was noticed, or twice at once. */
  connectAgain: (turmoil) => {
    const client = turmoil.world.pick(turmoil.world.clients);
    connect(turmoil, client);
    if (turmoil.world.random() < 0.3) connect(turmoil, client);
  },
  stall: ({ world }) => {
    const { connection, bytesPerMs } = world.pick(world.clients);
    if (connection === null) return;
    connection.resumeReading(0);
    world.clock.after(Math.floor(world.random() * 2_000), () => connection.resumeReading(bytesPerMs));
  },
  failAppend: ({ world, options }) =>
    world.store.failNextAppends(
      world.pick(options.appendFaults ?? ["unavailable", "unknown_committed", "unknown_not_committed"]),
    ),
  busDown: ({ world }) => {
    world.network.setDown(true);
    world.clock.after(Math.floor(world.random() * 3_000), () => world.network.setDown(false));
  },
  storeDown: ({ world }) => {
    world.store.setDown(true);
    world.clock.after(Math.floor(world.random() * 1_000), () => world.store.setDown(false));
  },
  /** One node does not reach the store; the others do. */
  cutStore: ({ world }) => {
    const node = world.pick(world.nodes);
    world.cutStore(node, true);
    world.clock.after(Math.floor(world.random() * 2_000), () => {
      if (world.nodes.includes(node)) world.cutStore(node, false);
    });
  },
  kill: async ({ world }) => {
    world.kill(world.pick(world.nodes));
    await world.startNode();
  },
  edit: (turmoil) => changeOne(turmoil, "edit"),
  delete: (turmoil) => changeOne(turmoil, "deletion"),
  notify: (turmoil) => {
    const { world } = turmoil;
    turmoil.notify(world.pick(world.nodes), world.pick(world.clients).user.id);
  },
  announce: ({ world, step }) =>
    world.background(world.operations(world.pick(world.nodes)).announce({ message: `news ${step}` })),
  remove: (turmoil) => setOne(turmoil, null),
  admit: (turmoil) => setOne(turmoil, "member"),
  trim: async ({ world, rooms }) => {
    const log = logId("default", world.pick(rooms));
    const states = world.store.states([log]);
    const trim = async (): Promise<void> => {
      const [state] = await states;
      const kept = Math.floor(world.random() * 20);
      if (state !== undefined) await world.store.trim(log, Math.max(1, state.head + 1 - kept));
    };
    world.background(trim());
  },
  deleteRoom: ({ world, rooms }) => {
    const operations = world.operations(world.pick(world.nodes));
    world.background(operations.deleteRoom({ roomId: world.pick(rooms) }));
  },
  backup: (turmoil) => {
    const name = `backup-${turmoil.step}`;
    const kept = turmoil.world.store.backup(name).then(() => {
      turmoil.lastBackup = name;
    });
    turmoil.world.background(kept);
  },
  restore: (turmoil) => {
    if (turmoil.lastBackup === null) return;
    turmoil.world.store.restore(turmoil.lastBackup);
    turmoil.restored = true;
  },
  nothing: () => {},
} satisfies Record<string, Act>;

export type Action = keyof typeof actions;

const actionNames: readonly Action[] = Object.keys(actions).filter((name): name is Action => name in actions);

function changeOne(turmoil: Turmoil, type: "edit" | "deletion"): void {
  const { world, acknowledged } = turmoil;
  if (acknowledged.length > 0) turmoil.change(world.pick(world.nodes), world.pick(acknowledged.slice(-50)), type);
}

function setOne(turmoil: Turmoil, role: "member" | null): void {
  const { world, options } = turmoil;
  const room = world.pick(options.memberRooms ?? []);
  turmoil.setMembership(world.pick(world.nodes), room, world.pick(world.clients).user.id, role);
}
