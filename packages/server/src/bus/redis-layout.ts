import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { slots } from "./redis-channels.ts";
import { type RedisAddress, RedisConnection, type RedisLogin } from "./redis-connection.ts";

export type RedisMode = "single" | "sentinel" | "cluster";

/** The masters, and which slots of a Redis Cluster each has; without a cluster one master has all. */
export interface Layout {
  readonly masters: readonly RedisAddress[];
  /** By slot: index in `masters`; -1 for a slot that nobody has. */
  readonly owners: Int16Array;
}

/** Finds out where the masters are. */
export interface LayoutSource extends Disposable {
  /** Errors: rejects when nobody could be asked, or those who were do not know. */
  find(): Promise<Layout>;
  /** Errors: rejects when the server at the other end is not a master. */
  verify(connection: RedisConnection): Promise<void>;
}

export interface LayoutParts {
  readonly addresses: readonly RedisAddress[];
  /** Of what is asked: the sentinels, or the cluster's servers. */
  readonly login: RedisLogin;
  readonly sentinelName: string;
  readonly clock: Clock;
}

export function layoutSource(mode: RedisMode, parts: LayoutParts): LayoutSource {
  if (mode === "sentinel") return sentinelSource(parts);
  if (mode === "cluster") return clusterSource(parts);
  const layout = oneMaster(parts.addresses.slice(0, 1));
  return { find: () => Promise.resolve(layout), verify: () => Promise.resolve(), [Symbol.dispose]() {} };
}

function oneMaster(masters: readonly RedisAddress[]): Layout {
  return { masters, owners: new Int16Array(slots) };
}

const sentinelAnswer = z.tuple([z.string(), z.coerce.number().int().min(1).max(65_535)]);
const roleAnswer = z.tuple([z.literal("master")]).rest(z.unknown());

function sentinelSource({ addresses, login, sentinelName, clock }: LayoutParts): LayoutSource {
  const inquirer = new Inquirer(login, clock);
  return {
    find: () =>
      inquirer.ask(addresses, async (connection) => {
        const answer = await connection.command(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinelName]);
        const [host, port] = sentinelAnswer.parse(answer);
        return oneMaster([{ host, port }]);
      }),
    // Why: a sentinel that was cut off names a master that is one no longer.
    async verify(connection) {
      roleAnswer.parse(await connection.command(["ROLE"]));
    },
    [Symbol.dispose]: () => inquirer.close(),
  };
}

const clusterServer = z.tuple([z.string().nullable(), z.int().min(1).max(65_535)]).rest(z.unknown());
const slotNumber = z
  .int()
  .min(0)
  .max(slots - 1);
const clusterSlots = z.array(z.tuple([slotNumber, slotNumber, clusterServer]).rest(clusterServer));

function clusterSource({ addresses, login, clock }: LayoutParts): LayoutSource {
  const inquirer = new Inquirer(login, clock);
  let known: readonly RedisAddress[] = [];
  return {
    async find() {
      const found = await inquirer.ask([...known, ...addresses], (connection) => askCluster(connection));
      known = found.servers;
      return found.layout;
    },
    verify: () => Promise.resolve(),
    [Symbol.dispose]: () => inquirer.close(),
  };
}

async function askCluster(connection: RedisConnection): Promise<{ layout: Layout; servers: RedisAddress[] }> {
  const info = await connection.command(["CLUSTER", "INFO"]);
  // Why: a server that was cut off from the others does not know who took its place.
  if (typeof info !== "string" || !info.includes("cluster_state:ok")) throw new Error("the cluster is not ok");
  const ranges = clusterSlots.parse(await connection.command(["CLUSTER", "SLOTS"]));
  const owners = new Int16Array(slots).fill(-1);
  const masters: RedisAddress[] = [];
  const servers: RedisAddress[] = [];
  for (const [first, last, ...members] of ranges) {
    // An empty host means the one that was asked.
    const found = members.map(([host, port]) => ({
      host: host === null || host === "" ? connection.address.host : host,
      port,
    }));
    const [master] = found;
    if (master === undefined) continue;
    let index = masters.findIndex((other) => sameAddress(other, master));
    if (index < 0) index = masters.push(master) - 1;
    owners.fill(index, first, last + 1);
    servers.push(...found);
  }
  return { layout: { masters, owners }, servers };
}

export function sameAddress(one: RedisAddress, other: RedisAddress): boolean {
  return one.host === other.host && one.port === other.port;
}

/** Asks the first of several servers that gives an answer, and goes on asking that one while it does. */
class Inquirer {
  readonly #login: RedisLogin;
  readonly #clock: Clock;
  #connection: RedisConnection | null = null;
  #closed = false;

  constructor(login: RedisLogin, clock: Clock) {
    this.#login = login;
    this.#clock = clock;
  }

  async ask<Found>(
    addresses: readonly RedisAddress[],
    question: (connection: RedisConnection) => Promise<Found>,
  ): Promise<Found> {
    let cause: unknown = new Error("there is nobody to ask");
    const before = this.#connection;
    if (before !== null) {
      try {
        return await question(before);
      } catch (error) {
        cause = error;
        this.#drop(before);
      }
    }
    const asked = new Set<string>();
    for (const address of addresses) {
      if (this.#closed || asked.has(`${address.host}:${address.port}`)) continue;
      asked.add(`${address.host}:${address.port}`);
      try {
        return await question(await this.#open(address));
      } catch (error) {
        cause = error;
        if (this.#connection !== null) this.#drop(this.#connection);
      }
    }
    throw cause;
  }

  close(): void {
    this.#closed = true;
    if (this.#connection !== null) this.#drop(this.#connection);
  }

  async #open(address: RedisAddress): Promise<RedisConnection> {
    const connection = await RedisConnection.open(address, this.#login, this.#clock, {
      onMessage() {},
      onMoved() {},
      onLost: () => this.#drop(connection),
    });
    if (this.#closed) {
      connection.close();
      throw new Error("closed");
    }
    this.#connection = connection;
    return connection;
  }

  #drop(connection: RedisConnection): void {
    connection.close();
    if (this.#connection === connection) this.#connection = null;
  }
}
