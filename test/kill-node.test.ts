import { describe, expect, test } from "vitest";
import type { Entry } from "../packages/server/src/core/log.ts";
import { type ChaosClient, Journal } from "./chaos/chaos-client.ts";
import { check } from "./chaos/check.ts";
import { runKills } from "./chaos/kills.ts";

// The long form is `npm run chaos -- --kills 100`.
test("[LOG-1] [LOG-3] [FEED-1] [REC-1] a node is killed under load, again and again: nothing acknowledged is lost, repeated or reordered", async () => {
  const { verdict, readySeconds, refused } = await runKills({
    kills: 5,
    seed: 3,
    clients: 8,
    sendsPerSecond: 20,
    calmMsMax: 600,
    reconnecting: "at_once",
    earlyPart: 0.2,
    print: () => {},
  });
  expect(verdict).toMatchObject({
    lost: 0,
    repeated: 0,
    outOfOrder: 0,
    unexplained: 0,
    findings: [],
  });
  expect(verdict.acknowledged).toBeGreaterThan(100);
  expect(verdict.delivered).toBeGreaterThan(verdict.acknowledged);
  expect(readySeconds).toHaveLength(5);
  expect(refused).toEqual([]);
}, 90_000);

describe("the checker", () => {
  const room = "red";
  const logged = (seq: number, text: string, clientId = `id-${seq}`): Entry => ({
    ...{ seq, text, clientId, id: `m${seq}`, type: "message", actor: "user-0", at: 0, v: 1 },
    data: JSON.stringify({ text }),
  });
  const log = [logged(1, "0 1"), logged(2, "0 2"), logged(3, "0 3")];

  function clientWith(seqs: readonly number[], texts: readonly string[] = ["0 1", "0 2", "0 3"]): ChaosClient {
    const journal = new Journal([room]);
    journal.transcript(room).starts();
    journal.page(room, []);
    for (const seq of seqs) journal.entry(room, seq, texts[seq - 1] ?? "");
    const idle = { start: () => {}, send: () => {}, [Symbol.dispose]: () => {} };
    return { name: "a client", journal, connected: true, following: true, unacknowledged: 0, ...idle };
  }

  const verdictOn = (client: ChaosClient, entries = log) => check([client], new Map([[room, entries]]));
  const none = { lost: 0, repeated: 0, outOfOrder: 0, unexplained: 0 };

  test("finds nothing where nothing is wrong", () => {
    const client = clientWith([1, 2, 3]);
    client.journal.acknowledged.push({ room, seq: 2, clientId: "id-2", text: "0 2" });
    expect(verdictOn(client)).toMatchObject({ ...none, acknowledged: 1, delivered: 3, findings: [] });
  });

  test.each([
    { what: "a missing entry", client: clientWith([1, 3]), found: { lost: 1 } },
    { what: "a missing end", client: clientWith([1]), found: { lost: 2 } },
    { what: "a repeat", client: clientWith([1, 2, 2, 3]), found: { repeated: 1 } },
    { what: "another order", client: clientWith([1, 3, 2]), found: { outOfOrder: 1 } },
    { what: "another text", client: clientWith([1, 2, 3], ["0 1", "0 x", "0 3"]), found: { unexplained: 1 } },
  ])("finds $what among deliveries", ({ client, found }) => {
    expect(verdictOn(client)).toMatchObject({ ...none, ...found });
  });

  test.each([
    { what: "a jump", entries: [logged(1, "0 1"), logged(3, "0 3")], found: { unexplained: 1 } },
    { what: "a repeat", entries: [logged(1, "0 1", "same"), logged(2, "0 2", "same")], found: { repeated: 1 } },
    { what: "another order", entries: [logged(1, "0 2"), logged(2, "0 1")], found: { outOfOrder: 1 } },
  ])("finds $what in the log", ({ entries, found }) => {
    expect(verdictOn(clientWith([]), entries)).toMatchObject({ ...found, lost: entries.length });
  });

  test("finds an acknowledgement that the log does not bear out, and a page without a reason", () => {
    const client = clientWith([1, 2, 3]);
    client.journal.acknowledged.push({ room, seq: 4, clientId: "id-4", text: "0 4" });
    client.journal.acknowledged.push({ room, seq: 3, clientId: "another", text: "0 3" });
    client.journal.page(room, []);
    expect(verdictOn(client)).toMatchObject({ lost: 5, unexplained: 1 });
  });
});
