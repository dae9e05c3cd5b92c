import type { Entry } from "../../packages/server/src/core/log.ts";
import { systemClock } from "../../packages/server/src/core/clock.ts";
import { defaultTenant, logId } from "../../packages/server/src/core/log.ts";
import { openSqliteStore } from "../../packages/server/src/store/sqlite.ts";
import { openPostgresStore } from "../../packages/server/src/store/postgres.ts";
import type { Store } from "../../packages/server/src/store/store.ts";
import type { ChaosClient } from "./chaos-client.ts";

/** What the checker counted; everything but `acknowledged` and `delivered` must be 0. */
export interface Verdict {
  readonly acknowledged: number;
  /** Deliveries, pages left out. */
  readonly delivered: number;
  /** Acknowledged, and not in the log as acknowledged; or not at a client that follows the room. */
  readonly lost: number;
  /** Twice in the log under one client id, or delivered twice. */
  readonly repeated: number;
  /** A sender's messages in another order than it sent them, or entries delivered in another order than the log's. */
  readonly outOfOrder: number;
  /** Jumps in a log, pages in the place of entries, and texts that are not the log's. */
  readonly unexplained: number;
  /** `room_gap`s that the server told of: no fault, but none is expected either. */
  readonly toldGaps: number;
  /** Ids of the rules that are broken. */
  readonly broken: readonly string[];
  readonly findings: readonly string[];
}

const pageEntries = 500;
const pageBytes = 1_048_576;

/** As it lies on disk. No node may run on the folder. */
export async function readSqliteLogs(folder: string, rooms: readonly string[]) {
  await using store = await openSqliteStore({ folder, clock: systemClock });
  return await readLogs(store, rooms);
}

export async function readPostgresLogs(url: string, rooms: readonly string[]) {
  await using store = await openPostgresStore({ url, clock: systemClock });
  return await readLogs(store, rooms);
}

/** The whole log of each room. */
async function readLogs(store: Store, rooms: readonly string[]): Promise<ReadonlyMap<string, readonly Entry[]>> {
  const logs = new Map<string, readonly Entry[]>();
  for (const room of rooms) {
    const entries: Entry[] = [];
    for (;;) {
      const page = await store.readAfter(logId(defaultTenant, room), entries.at(-1)?.seq ?? 0, pageEntries, pageBytes);
      if (page === undefined || page.entries.length === 0) break;
      entries.push(...page.entries);
    }
    logs.set(room, entries);
  }
  return logs;
}

/** What was found to be wrong, and which rule that breaks. */
export class Findings {
  readonly counts = { lost: 0, repeated: 0, outOfOrder: 0, unexplained: 0 };
  readonly broken = new Set<string>();
  readonly texts: string[] = [];

  note(rule: string, kind: keyof Findings["counts"], times: number, text: string): void {
    if (times === 0) return;
    this.counts[kind] += times;
    this.broken.add(rule);
    // Why a bound: the first ones tell what happened.
    if (this.texts.length < 20) this.texts.push(`${rule}: ${kind}: ${text}`);
  }
}

/** Reads every client's journal against the logs. */
export function check(
  clients: readonly ChaosClient[],
  logs: ReadonlyMap<string, readonly Entry[]>,
  findings = new Findings(),
): Verdict {
  const retried = new Set(clients.flatMap(({ journal }) => [...journal.retried]));
  for (const [room, entries] of logs) {
    checkLog(findings, room, entries, retried);
    for (const client of clients) checkDeliveries(findings, client, room, entries);
  }
  for (const client of clients) checkAcknowledged(findings, client, logs);
  const journals = clients.map(({ journal }) => journal);
  const transcripts = journals.flatMap((journal) => [...logs.keys()].map((room) => journal.transcript(room)));
  return {
    acknowledged: sum(journals.map(({ acknowledged }) => acknowledged.length)),
    delivered: sum(transcripts.map(({ entries }) => entries)),
    ...findings.counts,
    toldGaps: sum(transcripts.map(({ gaps }) => gaps.length)),
    broken: [...findings.broken].toSorted(),
    findings: findings.texts,
  };
}

function checkLog(findings: Findings, room: string, entries: readonly Entry[], retried: ReadonlySet<string>): void {
  const known = new Set<string>();
  const lastOf = new Map<string, number>();
  for (const [index, { seq, actor, clientId, data }] of entries.entries()) {
    if (seq !== index + 1) findings.note("LOG-2", "unexplained", 1, `${room} has ${seq} at place ${index + 1}`);
    const key = `${actor} ${clientId}`;
    if (known.has(key)) findings.note("LOG-3", "repeated", 1, `${room} has ${key} twice, the second time at ${seq}`);
    known.add(key);
    // What its sender has sent again itself has the order of that.
    if (clientId !== null && retried.has(clientId)) continue;
    const number = numberIn(textOf(data));
    const last = lastOf.get(actor) ?? 0;
    if (number <= last) findings.note("LOG-2", "outOfOrder", 1, `${room}: ${actor} sent ${number} before ${last}`);
    lastOf.set(actor, number);
  }
}

function checkDeliveries(findings: Findings, client: ChaosClient, room: string, entries: readonly Entry[]): void {
  const transcript = client.journal.transcript(room);
  const { faults } = transcript;
  const where = `${client.name} in ${room}`;
  findings.note("FEED-1", "repeated", faults.repeated, `${where} got ${faults.repeated} twice`);
  findings.note("FEED-1", "outOfOrder", faults.outOfOrder, `${where} got ${faults.outOfOrder} late`);
  findings.note("FEED-1", "unexplained", faults.unexplained, `${where} got ${faults.unexplained} out of the blue`);
  findings.note("FEED-1", "lost", faults.missing, `${where} misses ${faults.missing}`);
  const behind = entries.length - (transcript.reached ?? 0);
  findings.note("FEED-2", "lost", Math.max(0, behind), `${where} misses the last ${behind} of ${entries.length}`);
  for (const [seq, text] of client.journal.texts(room)) {
    const entry = entries[seq - 1];
    if (entry === undefined || textOf(entry.data) !== text)
      findings.note(
        "FEED-1",
        "unexplained",
        1,
        `${where} got ${JSON.stringify(text)} at ${seq}, where the log has another`,
      );
  }
}

function checkAcknowledged(
  findings: Findings,
  { name, journal }: ChaosClient,
  logs: ReadonlyMap<string, readonly Entry[]>,
): void {
  for (const { room, seq, clientId, text } of journal.acknowledged) {
    const entry = logs.get(room)?.[seq - 1];
    if (entry?.clientId !== clientId || textOf(entry.data) !== text)
      findings.note("LOG-1", "lost", 1, `${name} was told that ${JSON.stringify(text)} is ${seq} of ${room}`);
  }
}

function textOf(data: string): string {
  const { text }: { text: string } = JSON.parse(data);
  return text;
}

/** Texts are `alice 17 …`: the number counts the messages of one sender. */
function numberIn(text: string): number {
  return Number(text.split(" ")[1]);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
