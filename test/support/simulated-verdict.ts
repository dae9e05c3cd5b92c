import { z } from "zod";
import { type Entry, inboxOf, type LogId, logId, type LogState, roomOf } from "../../packages/server/src/core/log.ts";
import type { SimulatedClient } from "./simulated-client.ts";
import type { Delivery } from "./simulated-transcript.ts";
import type { MembershipChange, Turmoil } from "./simulated-turmoil.ts";
import { simulatedWindowBytes } from "./simulation.ts";

type Entries = ReadonlyMap<number, Entry>;

/** One small reply may exceed the window. */
const smallReplyBytes = 1_024;

/** What is wrong with a world after `Turmoil.heal`: nothing, when every promise was kept. */
export async function judge(turmoil: Turmoil): Promise<string[]> {
  const { world } = turmoil;
  const states = new Map<string, LogState>();
  const entries = new Map<string, Entries>();
  const inboxes = world.clients.map(({ user }) => roomOf(inboxOf("default", user.id)));
  for (const room of new Set([...turmoil.rooms, "@announcements", ...inboxes])) {
    const [state] = await world.until(world.store.states([logId("default", room)]));
    if (state === undefined) continue;
    states.set(room, state);
    entries.set(room, await readAll(turmoil, logId("default", room)));
  }
  return [
    ...world.clients.flatMap((client) => judgeClient(client, states)),
    ...world.clients.flatMap((client) => judgeShown(client, states, entries)),
    ...judgeLogs(states, entries),
    ...judgeAcknowledged(turmoil, states, entries),
    ...judgeMemberships(turmoil),
    ...judgeNotices(turmoil, entries),
  ];
}

async function readAll({ world }: Turmoil, log: LogId): Promise<Map<number, Entry>> {
  const entries = new Map<number, Entry>();
  for (let after = 0; ; ) {
    const page = await world.until(world.store.readAfter(log, after, 500, 1_000_000));
    const last = page?.entries.at(-1);
    if (page === undefined || last === undefined) return entries;
    for (const entry of page.entries) entries.set(entry.seq, entry);
    after = last.seq;
  }
}

function judgeClient(client: SimulatedClient, states: ReadonlyMap<string, LogState>): string[] {
  const { transcript, user } = client;
  const faults = [...transcript.faults];
  if (client.connection === null) faults.push("is not connected");
  for (const room of transcript.rooms)
    if (!transcript.seen.has(room) && !transcript.uncertain.has(room)) faults.push(`${room}: nothing after the join`);
  for (const [room, seen] of transcript.seen) {
    const state = states.get(room);
    if (seen.seq !== state?.head || seen.epoch !== state.epoch)
      faults.push(`${room}: at ${seen.epoch}:${seen.seq} of ${state?.epoch}:${state?.head}`);
  }
  const most = Math.max(client.unansweredMax, client.connection?.unansweredMax ?? 0);
  if (most > simulatedWindowBytes + smallReplyBytes) faults.push(`${most} bytes unanswered`);
  return faults.map((fault) => `${user.id} ${fault}`);
}

const messageFields = z.looseObject({ text: z.string() });

/** Messages as the client shows them are the messages as they are. */
function judgeShown(
  { transcript, user }: SimulatedClient,
  states: ReadonlyMap<string, LogState>,
  entries: ReadonlyMap<string, Entries>,
): string[] {
  const faults: string[] = [];
  for (const [room, messages] of transcript.shown) {
    const floor = states.get(room)?.floor ?? 0;
    for (const [seq, { text }] of messages) {
      const entry = entries.get(room)?.get(seq);
      if (seq < floor || entry === undefined) continue;
      const now = messageFields.parse(JSON.parse(entry.data)).text;
      if (now !== text) faults.push(`${user.id} ${room} ${seq}: shows ${text.slice(0, 20)}, is ${now.slice(0, 20)}`);
    }
  }
  return faults;
}

function judgeLogs(states: ReadonlyMap<string, LogState>, entries: ReadonlyMap<string, Entries>): string[] {
  const faults: string[] = [];
  for (const [room, { floor, head }] of states)
    for (let seq = floor; seq <= head; seq += 1)
      if (entries.get(room)?.has(seq) === false) faults.push(`${room}: the log lacks ${seq}`);
  return faults;
}

function judgeAcknowledged(
  { acknowledged }: Turmoil,
  states: ReadonlyMap<string, LogState>,
  entries: ReadonlyMap<string, Entries>,
): string[] {
  const faults: string[] = [];
  const places = new Set<string>();
  for (const { room, epoch, seq, text } of acknowledged) {
    const place = `${room} ${epoch}:${seq}`;
    if (places.has(place)) faults.push(`${place} was acknowledged twice`);
    places.add(place);
    const state = states.get(room);
    if (state?.epoch !== epoch || seq < state.floor) continue;
    const entry = entries.get(room)?.get(seq);
    const now = entry?.type === "message" ? messageFields.parse(JSON.parse(entry.data)).text : undefined;
    const changed = now === "" || now?.startsWith("changed") === true;
    if (now !== text && !changed)
      faults.push(`${place} was acknowledged as ${text.slice(0, 20)}, is ${now?.slice(0, 20)}`);
  }
  return faults;
}

/** ACC-1: who lost the right got nothing from the entry on that says so, until let in again. */
function judgeMemberships({ world, changes, options }: Turmoil): string[] {
  const faults: string[] = [];
  const inOrder = changes.toSorted((one, other) => one.seq - other.seq);
  for (const { user, transcript } of world.clients) {
    for (const room of options.memberRooms ?? []) {
      const mine = inOrder.filter((change) => change.room === room && change.userId === user.id);
      const got = [...transcript.deliveries, ...transcript.pages].filter((delivery) => delivery.room === room);
      for (const delivery of got)
        if (!mayHave(delivery, mine))
          faults.push(`${user.id} ${room}: got ${delivery.event} ${delivery.seq} without the right to it`);
      if (mine.at(-1)?.role === null && transcript.rooms.has(room) && !transcript.uncertain.has(room))
        faults.push(`${user.id} ${room}: was not told`);
    }
  }
  return faults;
}

function mayHave({ seq, at }: Delivery, mine: readonly MembershipChange[]): boolean {
  const asOf = mine.findLast((change) => change.seq <= seq);
  if (asOf?.role !== null) return true;
  return mine.some(({ role, seq: later, askedAt }) => role !== null && later > asOf.seq && askedAt <= at);
}

const noticeFields = z.looseObject({ data: z.looseObject({ number: z.number() }) });

/** Each notification reached one of its user's connections at least, if the store (restored, maybe) still has it. */
function judgeNotices({ world, notices, restored }: Turmoil, entries: ReadonlyMap<string, Entries>): string[] {
  const faults: string[] = [];
  const kept = new Map<number, string>();
  for (const userId of new Set(world.clients.map(({ user }) => user.id)))
    for (const { type, data } of entries.get(`@user:${userId}`)?.values() ?? [])
      if (type === "notification") kept.set(noticeFields.parse(JSON.parse(data)).data.number, userId);
  for (const { number, userId } of notices)
    if (!restored && !kept.has(number)) faults.push(`${userId}: notification ${number} is not in the store`);
  for (const [number, userId] of kept) {
    const tabs = world.clients.filter(({ user }) => user.id === userId);
    if (!tabs.some(({ transcript }) => transcript.notices.has(number)))
      faults.push(`${userId}: notification ${number} was lost`);
  }
  return faults;
}
