import { type Arrival, Client, type Target } from "./client.ts";
import type { ComingBack } from "./past.ts";
import { signToken } from "./token.ts";
import { count, nowMicros, type RoomTraffic, type Traffic } from "./traffic.ts";

const connectTimeoutMs = 30_000;
const sourceAddresses = 16;

export interface Gathering {
  readonly traffic: Traffic;
  /** Where the clients connect to, in turn. */
  readonly nodes: readonly Pick<Target, "host" | "port">[];
  readonly secret: string;
  readonly arrival: Arrival;
  readonly comingBack?: ComingBack;
  /** Handshakes under way at once. */
  readonly atOnce: number;
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
  let next = 0;
  async function connectSome(): Promise<void> {
    while (next < rooms.length) {
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
  await Promise.all(Array.from({ length: gathering.atOnce }, connectSome));
  return {
    clients,
    attempted: rooms.length,
    failures,
    elapsedMs: (nowMicros() - beganMicros) / 1000,
    [Symbol.dispose]: () => {
      for (const client of all) client.close();
    },
  };
}

export function userName(index: number): string {
  return `user-${String(index).padStart(5, "0")}`;
}

function newClient({ traffic, nodes, secret, comingBack }: Gathering, user: number): Client {
  const node = nodes[user % nodes.length];
  if (node === undefined) throw new Error("there is no node to connect to");
  const { host, port } = node;
  const sourceAddress = `127.0.0.${1 + (user % sourceAddresses)}`;
  return new Client(traffic, { host, port, sourceAddress }, signToken(secret, userName(user)), comingBack);
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
