import { type Arrival, Client } from "./client.ts";
import type { ComingBack } from "./past.ts";
import type { Target } from "./target.ts";
import { count, nowMicros, type RoomTraffic, type Traffic } from "./traffic.ts";

const connectTimeoutMs = 30_000;
const sourceAddresses = 16;

export interface Gathering {
  readonly traffic: Traffic;
  /** Where the clients connect to, in turn. */
  readonly nodes: readonly Pick<Target, "host" | "port" | "tls">[];
  /** The token of a user, who is a number from 0 on. */
  readonly tokenOf: (user: number) => string;
  readonly arrival: Arrival;
  readonly comingBack?: ComingBack;
  /** Handshakes under way at once. */
  readonly atOnce: number;
  /** Ends the gathering, and all connections: who has not joined by then is a failure. */
  readonly stopped?: AbortSignal;
}

export interface Crowd extends Disposable {
  /** Those that connected and joined. */
  readonly clients: readonly Client[];
  readonly attempted: number;
  readonly failures: ReadonlyMap<string, number>;
  readonly elapsedMs: number;
}

/**
 * Connects one client per element of `rooms` and lets it join the rooms listed there, each under a user of its own. A client that fails
 * is counted by reason and left out.
 */
export async function gather(
  gathering: Gathering,
  rooms: readonly (readonly RoomTraffic[])[],
  firstUser = 0,
): Promise<Crowd> {
  const clients: Client[] = [];
  const all: Client[] = [];
  const failures = new Map<string, number>();
  const beganMicros = nowMicros();
  const { stopped } = gathering;
  let next = 0;
  async function connectSome(): Promise<void> {
    while (next < rooms.length && stopped?.aborted !== true) {
      const index = next;
      next += 1;
      const client = newClient(gathering, firstUser + index);
      all.push(client);
      try {
        await withinTime(enter(client, gathering.arrival, rooms[index] ?? []), connectTimeoutMs);
        clients.push(client);
      } catch (error) {
        client.close();
        count(failures, error instanceof Error ? error.message : String(error));
      }
    }
  }
  const closeAll = (): void => all.forEach((client) => client.close());
  stopped?.addEventListener("abort", closeAll, { once: true });
  await Promise.all(Array.from({ length: gathering.atOnce }, connectSome));
  stopped?.removeEventListener("abort", closeAll);
  return {
    clients,
    attempted: rooms.length,
    failures,
    elapsedMs: (nowMicros() - beganMicros) / 1000,
    [Symbol.dispose]: closeAll,
  };
}

function newClient({ traffic, nodes, tokenOf, comingBack }: Gathering, user: number): Client {
  const node = nodes[user % nodes.length];
  if (node === undefined) throw new Error("there is no node to connect to");
  const target = { ...node, sourceAddress: sourceAddressOf(node.host, user) };
  return new Client(traffic, target, tokenOf(user), comingBack);
}

/** Linux alone has all of 127.0.0.0/8 without being told. */
function sourceAddressOf(host: string, user: number): string | undefined {
  const isLoopback = process.platform === "linux" && /^127(\.\d{1,3}){3}$/.test(host);
  return isLoopback ? `127.0.0.${1 + (user % sourceAddresses)}` : undefined;
}

async function enter(client: Client, arrival: Arrival, rooms: readonly RoomTraffic[]): Promise<void> {
  await client.connect(arrival);
  for (const room of rooms) await client.join(room);
}

/** Errors: rejects when `work` does, or is not done after `timeoutMs`. */
export async function withinTime(work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not joined within ${timeoutMs / 1000} s`)), timeoutMs);
  });
  try {
    await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
