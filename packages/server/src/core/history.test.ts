import { expect, test } from "vitest";
import { World } from "../../../../test/support/simulation.ts";
import { HistoryPages, historyFrame, type LatestPage } from "./history.ts";
import { logId } from "./log.ts";

const alpha = logId("default", "alpha");

/** Pages of a room with three messages. */
async function setUp() {
  const world = new World();
  const node = await world.startNode();
  const user = { tenant: "default", id: "writer" };
  const send = (text: string) => world.until(node.rooms.send(user, { roomId: "alpha", text }));
  for (const text of ["one", "two", "three"]) await send(text);
  const feed = await world.until(Promise.resolve(node.feeds.open(alpha)));
  const pages = new HistoryPages(world.store, 10_000);
  const latest = (limit = 50, headMin = 0): Promise<LatestPage> => world.until(pages.latest(feed, limit, headMin));
  const reads = () => world.store.calls.get("readMessages") ?? 0;
  return { world, feed, pages, latest, reads, send };
}

test("[FEED-1] a page is shared while the head stands, and has a number of its own once it does not", async () => {
  const { latest, reads, send } = await setUp();
  const page = await latest();
  expect(await latest()).toBe(page);
  expect(reads()).toBe(1);
  await send("four");
  const next = await latest();
  expect(next.head).toBe(4);
  expect(next.number).not.toBe(page.number);
});

test("[FEED-1] those who ask at once share one read, each limit its own, and a page that may be older is read anew", async () => {
  const { world, feed, pages, latest, reads } = await setUp();
  const together = await world.until(Promise.all([1, 2, 3].map(() => pages.latest(feed, 2, 0))));
  expect(new Set(together).size).toBe(1);
  expect(JSON.parse(together[0]?.json ?? "")).toHaveLength(2);
  expect((await latest()).number).not.toBe(together[0]?.number);
  expect(reads()).toBe(2);
  await latest(50, 4);
  expect(reads()).toBe(3);
});

test("[REC-2] the same page under another number has another offset, and the same messages", async () => {
  const { pages, latest } = await setUp();
  const page = await latest();
  const anew = pages.anew(page);
  const texts = [page, anew].map((one) => String(historyFrame(alpha, one, true)));
  expect(texts[0]).toContain(`:3/${page.number}"]`);
  expect(texts[1]).toContain(`:3/${anew.number}"]`);
  expect(anew.number).not.toBe(page.number);
  expect(anew.json).toBe(page.json);
  expect(historyFrame(alpha, page, true)).toBe(historyFrame(alpha, page, true));
  expect(String(historyFrame(alpha, page, false))).not.toContain(`:3/${page.number}`);
});
