import { expect, test } from "vitest";
import { TokenSource } from "./token.ts";

function slowIssuer() {
  const calls: PromiseWithResolvers<string>[] = [];
  const source = new TokenSource({
    getToken: () => {
      const call = Promise.withResolvers<string>();
      calls.push(call);
      return call.promise;
    },
  });
  return { source, calls };
}

test("callers at the same time share one call, and the token is kept", async () => {
  const { source, calls } = slowIssuer();
  const both = Promise.all([source.current(), source.renew()]);
  expect(calls).toHaveLength(1);
  calls[0]?.resolve("t1");
  expect(await both).toEqual(["t1", "t1"]);
  expect(await source.current()).toBe("t1");
  expect(calls).toHaveLength(1);
});

test("a call that was given up changes nothing when it ends after all", async () => {
  const { source, calls } = slowIssuer();
  const early = source.current();
  source.discard();
  const late = source.current();
  calls[0]?.resolve("given up");
  expect(await early).toBe("given up");
  const shared = source.renew();
  expect(calls).toHaveLength(2);
  calls[1]?.resolve("t2");
  expect(await Promise.all([late, shared])).toEqual(["t2", "t2"]);
  expect(await source.current()).toBe("t2");
});

test("a token that was given up last is not kept", async () => {
  const { source, calls } = slowIssuer();
  const early = source.current();
  source.discard();
  calls[0]?.resolve("given up");
  await early;
  const late = source.current();
  calls[1]?.resolve("t2");
  expect(await late).toBe("t2");
});
