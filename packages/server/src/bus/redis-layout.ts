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
  /** What was found turned out not to be so: the next time maybe another is asked. */
  doubt(): void;
  /** Errors: rejects when the server at the other end is not a master. */
  verify(connection: RedisConnection): Promise<void>;
}

export interface LayoutSettings {
  readonly mode: RedisMode;
  /** The server; or the sentinels, or some servers of the cluster, of which one that answers is enough. */
  readonly addresses: readonly RedisAddress[];
  /** Of the servers. */
  readonly login: RedisLogin;
  readonly sentinelLogin: RedisLogin;
  /** The name under which the sentinels know the master. */
  readonly sentinelName: string;
}

export function layoutSource(settings: LayoutSettings, clock: Clock): LayoutSource {
  if (settings.mode === "sentinel") return sentinelSource(settings, clock);
  if (settings.mode === "cluster") return clusterSource(settings, clock);
  const layout = oneMaster(settings.addresses.slice(0, 1));
  return { find: () => Promise.resolve(layout), doubt() {}, verify: () => Promise.resolve(), [Symbol.dispose]() {} };
}

function oneMaster(masters: readonly RedisAddress[]): Layout {
  return { masters, owners: new Int16Array(slots) };
}

const sentinelAnswer = z.tuple([z.string(), z.coerce.number().int().min(1).max(65_535)]);
const roleAnswer = z.tuple([z.literal("master")]).rest(z.unknown());

function sentinelSource({ addresses, sentinelLogin, sentinelName }: LayoutSettings, clock: Clock): LayoutSource {
  const inquirer = new Inquirer(sentinelLogin, clock);
  return {
    find: () =>
      inquirer.ask(addresses, async (connection) => {
        const answer = await connection.command(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinelName]);
        const [host, port] = sentinelAnswer.parse(answer);
        return oneMaster([{ host, port }]);
      }),
    doubt: () => inquirer.leave(),
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

function clusterSource({ addresses, login }: LayoutSettings, clock: Clock): LayoutSource {
  const inquirer = new Inquirer(login, clock);
  let known: readonly RedisAddress[] = [];
  return {
    async find() {
      const found = await inquirer.ask([...known, ...addresses], (connection) => askCluster(connection));
      known = found.servers;
      return found.layout;
    },
    doubt: () => inquirer.leave(),
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
  const masters = new Map<string, { index: number; address: RedisAddress }>();
  const servers: RedisAddress[] = [];
  // Why in order: the same cluster is to give the same layout, whichever of its servers is asked.
  for (const [first, last, ...members] of ranges.toSorted(([one], [other]) => one - other)) {
    const found = members.map((member) => addressOf(member, connection));
    const [address] = found;
    if (address === undefined) continue;
    const name = `${address.host} ${address.port}`;
    const master = masters.get(name) ?? { index: masters.size, address };
    masters.set(name, master);
    owners.fill(master.index, first, last + 1);
    servers.push(...found);
  }
  return { layout: { masters: [...masters.values()].map(({ address }) => address), owners }, servers };
}

/** An empty host means the server that was asked. */
function addressOf([host, port]: z.output<typeof clusterServer>, asked: RedisConnection): RedisAddress {
  return { host: host === null || host === "" ? asked.address.host : host, port };
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
    const unique = new Map(addresses.map((address) => [`${address.host} ${address.port}`, address]));
    // Why in any order: not every node is to ask the same one.
    for (const address of shuffled([...unique.values()])) {
      if (this.#closed) break;
      try {
        return await question(await this.#open(address));
      } catch (error) {
        cause = error;
        this.leave();
      }
    }
    throw cause;
  }

  /** The next question goes to any of the servers. */
  leave(): void {
    if (this.#connection !== null) this.#drop(this.#connection);
  }

  close(): void {
    this.#closed = true;
    this.leave();
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

function shuffled<Item>(items: readonly Item[]): Item[] {
  return items
    .map((item) => ({ item, place: Math.random() }))
    .toSorted((one, other) => one.place - other.place)
    .map(({ item }) => item);
}
