import { expect, test } from "vitest";
import { World } from "../../../../test/support/simulation.ts";
import { Admission, arrivalsMax, refuseLate } from "./admission.ts";

/** A client that is let in when `open` is called; the promise gives how that ended. */
function arrive(admission: Admission, entered: string[], name: string, signal = new AbortController().signal) {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const done = admission.pass({ signal }, () => {
    entered.push(name);
    return promise;
  });
  return {
    done: done.catch((error: unknown) => error),
    open: () => resolve(name),
    fail: (error: Error) => reject(error),
  };
}

test("so many at once are let in; the others wait, first come first served, also when one is refused", async () => {
  const admission = new Admission();
  const entered: string[] = [];
  const first = Array.from({ length: arrivalsMax }, (_, index) => arrive(admission, entered, `${index}`));
  const others = ["a", "b", "c"].map((name) => arrive(admission, entered, name));
  expect(entered).toHaveLength(arrivalsMax);
  first[7]?.open();
  expect(await first[7]?.done).toBe("7");
  first[3]?.fail(new Error("refused"));
  expect(await first[3]?.done).toEqual(new Error("refused"));
  expect(entered.slice(arrivalsMax)).toEqual(["a", "b"]);
  for (const { open } of [...first, ...others]) open();
  await Promise.all([...first, ...others].map(({ done }) => done));
  expect(entered).toHaveLength(arrivalsMax + 3);
  const later = arrive(admission, entered, "later");
  expect(entered.at(-1)).toBe("later");
  later.open();
  await later.done;
});

test("who left while it waited gives its place to the next", async () => {
  const admission = new Admission();
  const entered: string[] = [];
  const first = Array.from({ length: arrivalsMax }, (_, index) => arrive(admission, entered, `${index}`));
  const left = new AbortController();
  const gone = arrive(admission, entered, "gone", left.signal);
  const next = arrive(admission, entered, "next");
  left.abort();
  first[0]?.open();
  expect(await gone.done).toMatchObject({ code: "overloaded" });
  for (const { open } of [...first, next]) open();
  expect(await next.done).toBe("next");
  expect(entered).not.toContain("gone");
});

test("[REC-2] who cannot be asked about once more, as somebody is revoked, still has the session to come back to", async () => {
  const world = new World();
  const node = await world.startNode();
  const client = world.addClient("ada");
  await world.until(client.connect(node));
  await world.until(client.join("alpha"));
  await world.clock.advance(2_000);
  client.drop(true);
  await world.until(client.connect(node, "session"));
  const { session, connection } = client;
  if (session === null || connection === null) throw new Error("the client is not connected");
  world.cutStore(node, true);
  const asked = refuseLate(node, { session, result: "session" }, connection);
  await expect(world.until(asked)).rejects.toThrow("cut");
  world.cutStore(node, false);
  client.drop(true);
  await world.clock.advance(3_000);
  await world.until(client.connect(node, "session"));
  expect(client.recovered).toBe(2);
  await world.stop();
});
