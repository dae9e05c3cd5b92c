import { setTimeout as delay } from "node:timers/promises";
import { Cluster } from "../support/cluster.ts";
import { seededRandom } from "../support/random.ts";
import { Roamer } from "../support/roamer.ts";
import { StockClient, transportOptions } from "../support/stock-client.ts";
import { rooms, until } from "./crowd.ts";
import { Member } from "./member.ts";

export interface RecoveriesOptions {
  readonly kills: number;
  readonly seed: number;
  /** On the node that is killed, at each kill. */
  readonly clients: number;
  /** Messages per second, of each of the senders that the nodes have. */
  readonly sendsPerSecond: number;
  /** A kill comes at a random moment within so long after all are back from the one before. */
  readonly calmMsMax: number;
  readonly print: (line: string) => void;
}

export interface RecoveriesReport {
  /** Clients whose node was killed, counted at each kill. */
  readonly killed: number;
  /** Of those, who had joined a room within 50 ms before. */
  readonly early: number;
  /** Who came back as another socket: must be none. */
  readonly unrecovered: number;
  /** Entries that never came, or came with another text: must be none. */
  readonly faults: readonly string[];
  /** Entries that came again, with the same seq, as may be after a kill. */
  readonly repeats: number;
  /** First pages that came again, as may be when their arrival was not stored before the kill. */
  readonly pagesAgain: number;
  /** From the kill until each client was welcomed on another node, and until it had all that was acknowledged by then. */
  readonly welcomeSeconds: readonly number[];
  readonly completeSeconds: readonly number[];
}

const nodes = 3;
const earlyMs = 50;
/** Of the clients, before each kill. */
const earlyPart = 0.3;

/** Nodes are killed under load, again and again; their stock clients must recover on the others (REC-2). */
export async function runRecoveries(options: RecoveriesOptions): Promise<RecoveriesReport> {
  await using resources = new AsyncDisposableStack();
  const cluster = resources.use(await Cluster.start({ nodes }));
  for (const room of rooms) await cluster.makeRoom(room);
  const run = new Run(cluster, options, resources);
  await run.gather();
  for (let kill = 1; kill <= options.kills; kill += 1) await run.kill(kill);
  return await run.end();
}

class Run {
  readonly #cluster: Cluster;
  readonly #options: RecoveriesOptions;
  readonly #resources: AsyncDisposableStack;
  readonly #random: () => number;
  readonly #heads = new Map<string, number>();
  readonly #members: Member[] = [];
  /** All that messages are sent to: the last one is new at each kill. */
  #busy: readonly string[] = rooms;
  #stopLoad: () => void = () => {};
  #killed = 0;
  #early = 0;
  readonly #welcomeSeconds: number[] = [];
  readonly #completeSeconds: number[] = [];

  constructor(cluster: Cluster, options: RecoveriesOptions, resources: AsyncDisposableStack) {
    this.#cluster = cluster;
    this.#options = options;
    this.#resources = resources;
    this.#random = seededRandom(options.seed);
  }

  /** All clients on node 0, in all rooms; and the senders. */
  async gather(): Promise<void> {
    const { clients, sendsPerSecond } = this.#options;
    const arriving = Array.from({ length: clients }, (_, index) => this.#arrive(`user-${index}`));
    this.#members.push(...(await Promise.all(arriving)));
    const senders: StockClient[] = [];
    for (const { server } of this.#cluster.nodes) {
      const auth = { token: await this.#cluster.tokenFor(`sender-${senders.length}`) };
      senders.push(this.#resources.use(new StockClient(server.url, { ...transportOptions.websocket, auth })));
    }
    let number = 0;
    const timer = setInterval(
      () => {
        const sender = senders[number % senders.length];
        number += 1;
        this.#send(sender, this.#pick(this.#busy), `message ${number}`);
      },
      1_000 / (sendsPerSecond * senders.length),
    );
    this.#stopLoad = () => clearInterval(timer);
    this.#resources.defer(this.#stopLoad);
  }

  async #arrive(userId: string): Promise<Member> {
    const member = new Member(this.#resources.use(await Roamer.start(this.#cluster, 0, userId)));
    await Promise.all(rooms.map((room) => member.join(room)));
    return member;
  }

  /** Kills the node where all clients are; they go to the others, and later meet again on the next that is killed. */
  async kill(number: number): Promise<void> {
    const victim = this.#members[0]?.roamer.at ?? 0;
    const { server } = this.#cluster.node(victim);
    await delay(this.#random() * this.#options.calmMsMax);
    const early = await this.#joinLate(`late-${number}`);
    this.#early += early;
    this.#killed += this.#members.length;
    for (const member of this.#members) member.killed();
    const killedAt = performance.now();
    const gone = server.kill();
    const others = [0, 1, 2].filter((index) => index !== victim);
    for (const { roamer } of this.#members) roamer.lead(this.#pick(others));
    await gone;
    const welcomes = this.#members.map((member) => member.welcomedAfter(killedAt));
    const seconds = (await Promise.all(welcomes)).map((ms) => ms / 1_000);
    this.#welcomeSeconds.push(...seconds);
    const heads = new Map(this.#heads);
    this.#completeSeconds.push(...(await this.#complete(heads, killedAt)));
    const { print } = this.#options;
    print(
      `kill ${number}: ${this.#members.length} clients, ${early} of which had just joined, back after at most ${Math.max(...seconds).toFixed(2)} s`,
    );
    await server.start();
    await this.#gatherOn(this.#pick(others));
  }

  async end(): Promise<RecoveriesReport> {
    this.#stopLoad();
    await this.#complete(new Map(this.#heads), performance.now());
    const records = this.#members.flatMap((member) => [...member.records.values()]);
    return {
      killed: this.#killed,
      early: this.#early,
      unrecovered: this.#members.reduce((sum, member) => sum + member.unrecovered, 0),
      faults: records.flatMap(({ faults }) => faults),
      repeats: records.reduce((sum, { repeats }) => sum + repeats, 0),
      pagesAgain: records.reduce((sum, { pagesAgain }) => sum + pagesAgain, 0),
      welcomeSeconds: this.#welcomeSeconds,
      completeSeconds: this.#completeSeconds,
    };
  }

  /** Some join a room of their own, and the kill comes within 50 ms of it. Gives their number. */
  async #joinLate(room: string): Promise<number> {
    await this.#cluster.makeRoom(room);
    this.#busy = [...rooms, room];
    const joining = this.#members.filter(() => this.#random() < earlyPart);
    await Promise.all(joining.map((member) => member.join(room)));
    await delay(this.#random() * earlyMs);
    return joining.length;
  }

  async #gatherOn(index: number): Promise<void> {
    const elsewhere = this.#members.filter(({ roamer }) => roamer.at !== index);
    await Promise.all(
      elsewhere.map(async (member) => {
        member.roamer.lead(index);
        const since = performance.now();
        await member.roamer.lose("cut");
        await member.welcomedAfter(since);
      }),
    );
  }

  #send(sender: StockClient | undefined, room: string, text: string): void {
    if (sender === undefined || !sender.socket.connected) return;
    sender.socket.emit("send_message", { roomId: room, text }, (answer: { ok: boolean; seq?: number }) => {
      if (answer.ok) this.#heads.set(room, Math.max(this.#heads.get(room) ?? 0, answer.seq ?? 0));
    });
  }

  /** Gives after how many seconds each had everything. */
  async #complete(heads: ReadonlyMap<string, number>, since: number): Promise<readonly number[]> {
    const seconds: number[] = [];
    const waiting = new Set(this.#members);
    await until("all clients to have everything", () => {
      for (const member of waiting) {
        if (!member.hasAll(heads)) continue;
        waiting.delete(member);
        seconds.push((performance.now() - since) / 1_000);
      }
      return waiting.size === 0;
    }).catch((error: unknown) => {
      const lines = [...waiting].map((member) => member.describe(heads));
      throw new Error(lines.join("\n"), { cause: error });
    });
    return seconds;
  }

  #pick<Item>(items: readonly Item[]): Item {
    const item = items[Math.floor(this.#random() * items.length)];
    if (item === undefined) throw new Error("nothing to choose from");
    return item;
  }
}
