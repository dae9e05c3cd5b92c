import { once } from "node:events";
import { connect, createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { mkdtempDisposable } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { handleOf, writeFrames } from "./wire.ts";

/** Both ends of a connection, of which the far one does not read yet. Over a socket file: its buffers are small and stay so. */
async function openPair() {
  const directory = await mkdtempDisposable(path.join(tmpdir(), "parley-test-"));
  const file = path.join(directory.path, "wire");
  const server = createServer().listen(file);
  await once(server, "listening");
  const far = connect(file).pause();
  const [near] = await once(server, "connection");
  if (!(near instanceof Socket)) throw new Error("no connection");
  near.on("error", () => {});
  return {
    near,
    far,
    owner: { wire: near, handle: handleOf(near), usesStream: false, unsentBytes: 0 },
    async [Symbol.asyncDispose]() {
      for (const end of [near, far]) end.destroy();
      server.close();
      await once(server, "close");
      await directory.remove();
    },
  };
}

test("[FEED-4] what the kernel does not take waits, is counted, and goes out in order with what the stream writes", async () => {
  await using pair = await openPair();
  const { near, far, owner } = pair;
  const sent: Buffer[] = [];
  for (let index = 0; owner.unsentBytes === 0; index += 1) {
    const frame = Buffer.alloc(100_000, index);
    sent.push(frame);
    writeFrames(owner, near, [frame]);
  }
  expect([owner.unsentBytes, near.writableLength]).toEqual([100_000, 0]);
  // The first of these by the stream, as `ws` writes its own frames; the others through it, since something waits there.
  const last = [Buffer.from("by ws"), Buffer.from("next"), Buffer.from("and "), Buffer.from("last")];
  const [byWs = Buffer.alloc(0), next = Buffer.alloc(0), ...both] = last;
  owner.usesStream = true;
  near.write(byWs);
  writeFrames(owner, near, [next]);
  writeFrames(owner, near, both);
  expect(near.writableLength).toBe(Buffer.concat(last).length);
  const expected = Buffer.concat([...sent, ...last]);
  const got: Buffer[] = [];
  far.on("data", (chunk: Buffer) => got.push(chunk)).resume();
  await eventually("all of it", () => (Buffer.concat(got).length >= expected.length ? true : undefined));
  expect(Buffer.concat(got).equals(expected)).toBe(true);
  await eventually("nothing to wait", () => (owner.unsentBytes + near.writableLength === 0 ? true : undefined));
  writeFrames(owner, near, [Buffer.from("again past the stream")]);
  expect(owner.unsentBytes + near.writableLength).toBe(0);
});

test("[FEED-4] what waits for one connection is its own, whatever others write meanwhile", async () => {
  await using one = await openPair();
  await using other = await openPair();
  const pairs = [one, other].map(({ near, far, owner }, index) => {
    let bytes = 0;
    for (; owner.unsentBytes === 0; bytes += 100_000) writeFrames(owner, near, [Buffer.alloc(100_000, index)]);
    return { far, owner, expected: Buffer.alloc(bytes, index) };
  });
  for (const { far, owner, expected } of pairs) {
    const got: Buffer[] = [];
    far.on("data", (chunk: Buffer) => got.push(chunk)).resume();
    await eventually("all of it", () => (Buffer.concat(got).length >= expected.length ? true : undefined));
    expect(Buffer.concat(got).equals(expected)).toBe(true);
    await eventually("nothing to wait", () => (owner.unsentBytes === 0 ? true : undefined));
  }
});

test("a connection that ends while something waits tells of it, and takes no more", async () => {
  await using pair = await openPair();
  const { near, far, owner } = pair;
  while (owner.unsentBytes === 0) writeFrames(owner, near, [Buffer.alloc(100_000)]);
  far.destroy();
  await eventually("its end", () => (near.closed ? true : undefined));
  await eventually("nothing to wait", () => (owner.unsentBytes === 0 ? true : undefined));
  writeFrames(owner, near, [Buffer.from("too late")]);
  expect(owner.unsentBytes).toBe(0);
});

test("a connection of which nobody knows that it is gone is closed by the next write", async () => {
  await using pair = await openPair();
  const { near, far, owner } = pair;
  near.pause();
  far.destroy();
  await eventually("its end", () => {
    writeFrames(owner, near, [Buffer.from("anybody?")]);
    return near.closed ? true : undefined;
  });
  expect(owner.unsentBytes).toBe(0);
});
