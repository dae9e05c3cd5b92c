import * as fc from "fast-check";
import { expect, test } from "vitest";
import { following, parseOffset } from "./position.ts";

const epochs = fc.stringMatching(/^[A-Za-z0-9._-]{1,20}$/);
const seqs = fc.nat();

test("an offset is read back whatever the room is called", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), epochs, seqs, (log, epoch, seq) => {
      expect(parseOffset(`${log}:${epoch}:${seq}`)).toEqual({ log, position: { epoch, seq } });
    }),
  );
});

test("the offset of a page of history has the page's number behind it", () => {
  expect(parseOffset("a:b:e1:7/3")).toEqual({ log: "a:b", position: { epoch: "e1", seq: 7 } });
});

test("anything else is no offset", () => {
  const values = [
    undefined,
    null,
    5,
    {},
    "",
    "r",
    "r:e",
    ":e:1",
    "r:e:",
    "r:e:x",
    "r::1",
    "r:e e:1",
    "r:e:-1",
    "r:e:1.5",
  ];
  expect(values.filter((value) => parseOffset(value) !== undefined)).toEqual([]);
});

test("[FEED-1] of the entries of one life only the next is delivered", () => {
  fc.assert(
    fc.property(epochs, fc.nat(1_000), fc.nat(1_000), (epoch, reached, seq) => {
      const expected = seq <= reached ? "repeated" : seq === reached + 1 ? "next" : "gap";
      expect(following({ epoch, seq: reached }, { epoch, seq })).toBe(expected);
      expect(following({ epoch: `${epoch}-`, seq: reached }, { epoch, seq })).toBe("other_epoch");
    }),
  );
});
