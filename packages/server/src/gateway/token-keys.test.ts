import { randomUUID } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { describe, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { resolveConfig } from "../config.ts";
import { createTokenVerifier } from "./token-verifier.ts";

type Answer = (response: ServerResponse) => void;

/** An identity provider on a loopback port. */
async function startProvider() {
  let requests = 0;
  let answer: Answer = (response) => response.end();
  const server = createServer((_request, response) => {
    requests += 1;
    answer(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}/keys`,
    get requests() {
      return requests;
    },
    answer(next: Answer) {
      answer = next;
    },
    serve(...keys: readonly object[]) {
      answer = (response) => response.end(JSON.stringify({ keys }));
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function createKey(kid: string, alg = "RS256") {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const sign = (clock: SimulatedClock, header: object = { kid }) =>
    new SignJWT({ sub: "ann" })
      .setProtectedHeader({ alg, ...header })
      .setExpirationTime(Math.floor(clock.now() / 1_000) + 1_000_000)
      .sign(privateKey);
  return { jwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" }, sign };
}

function setUp(url: string) {
  const clock = new SimulatedClock();
  const failures: unknown[] = [];
  const { auth } = resolveConfig({ mode: "development", overrides: { auth: { jwksUrl: url } } });
  const create = () => createTokenVerifier(auth, clock, { onKeysFailure: (error) => failures.push(error) });
  return { clock, failures, create, verifier: create() };
}

const accepted = { ok: true, user: { id: "ann" } };
const unavailable = { ok: false, code: "access_unavailable" };

test("tokens are verified by the provider's keys, which are fetched once for a storm", async () => {
  await using provider = await startProvider();
  const { clock, create, verifier } = setUp(provider.url);
  const [first, second] = [await createKey("one"), await createKey("two", "ES256")];
  provider.serve(first.jwk, second.jwk);
  const tokens = await Promise.all([
    first.sign(clock),
    second.sign(clock),
    first.sign(clock, { kid: "one", typ: "JWT" }),
  ]);
  const results = await Promise.all(tokens.map((token) => verifier.verify(token)));
  expect(results).toEqual(tokens.map(() => expect.objectContaining({ ok: true })));
  expect(provider.requests).toBe(1);
  const stranger = await createKey("one");
  expect(await create().verify(await stranger.sign(clock))).toMatchObject({ ok: false, code: "unauthorized" });
});

test("a key that the provider rotated in is found; one that it does not have is a verdict", async () => {
  await using provider = await startProvider();
  const { clock, verifier } = setUp(provider.url);
  const [old, next, stranger] = [await createKey("old"), await createKey("next"), await createKey("stranger")];
  provider.serve(old.jwk);
  expect(await verifier.verify(await old.sign(clock))).toMatchObject(accepted);
  provider.serve(old.jwk, next.jwk);
  await clock.advance(10_000);
  expect(await verifier.verify(await next.sign(clock))).toMatchObject(accepted);
  await clock.advance(10_000);
  const refusal = await verifier.verify(await stranger.sign(clock));
  expect(refusal).toMatchObject({
    ok: false,
    code: "unauthorized",
    message: expect.stringContaining("PARLEY_AUTH_JWKS_URL"),
  });
  expect(provider.requests).toBe(3);
});

test("invented key ids do not become requests to the provider, whatever they look like", async () => {
  await using provider = await startProvider();
  const { clock, verifier } = setUp(provider.url);
  const key = await createKey("one");
  provider.serve(key.jwk);
  expect(await verifier.verify(await key.sign(clock))).toMatchObject(accepted);
  for (const kid of ["../../../etc/passwd", "http://127.0.0.1:9/keys", "__proto__", "constructor", "x".repeat(5_000)]) {
    expect(await verifier.verify(await key.sign(clock, { kid }))).toMatchObject(unavailable);
  }
  const unknown = await key.sign(clock, { kid: "two" });
  await clock.advance(9_999);
  expect(await verifier.verify(unknown)).toMatchObject(unavailable);
  expect(provider.requests).toBe(1);
  await clock.advance(1);
  expect(await verifier.verify(unknown)).toMatchObject({ ok: false, code: "unauthorized" });
  expect(provider.requests).toBe(2);
});

test("keys that are ten minutes old are fetched anew behind the back of who asks, and a withdrawn one ends", async () => {
  await using provider = await startProvider();
  const { clock, verifier } = setUp(provider.url);
  const withdrawn = await createKey("one");
  const next = await createKey("two");
  provider.serve(withdrawn.jwk);
  expect(await verifier.verify(await withdrawn.sign(clock))).toMatchObject(accepted);
  await clock.advance(10 * 60_000 + 1);
  provider.serve(next.jwk);
  const sign = () => withdrawn.sign(clock, { kid: "one", jti: randomUUID() });
  expect(await verifier.verify(await sign())).toMatchObject(accepted);
  await eventually("the withdrawn key is gone", async () => {
    const { ok } = await verifier.verify(await sign());
    return ok ? undefined : true;
  });
  expect(provider.requests).toBe(2);
});

describe("keys of an answer", () => {
  const many = (jwk: object): object[] => Array.from({ length: 201 }, () => jwk);
  test.each<[string, (jwk: object, elsewhere: string) => Answer]>([
    ["with an error's status", (jwk) => (response) => response.writeHead(500).end(JSON.stringify({ keys: [jwk] }))],
    ["from elsewhere", (_jwk, elsewhere) => (response) => response.writeHead(302, { location: elsewhere }).end()],
    [
      "larger than 1 MiB",
      (jwk) => (response) => response.end(`${JSON.stringify({ keys: [jwk] })}${" ".repeat(2 ** 20)}`),
    ],
    ["with more than 200 of them", (jwk) => (response) => response.end(JSON.stringify({ keys: many(jwk) }))],
  ])("%s are not taken", async (_name, answer) => {
    await using provider = await startProvider();
    await using elsewhere = await startProvider();
    const { clock, failures, verifier } = setUp(provider.url);
    const key = await createKey("one");
    elsewhere.serve(key.jwk);
    provider.answer(answer(key.jwk, elsewhere.url));
    expect(await verifier.verify(await key.sign(clock))).toMatchObject(unavailable);
    expect(failures).toHaveLength(1);
  });
});

test("while the provider is away known keys serve, for a day", async () => {
  await using provider = await startProvider();
  const { clock, failures, verifier } = setUp(provider.url);
  const key = await createKey("one");
  provider.serve(key.jwk);
  expect(await verifier.verify(await key.sign(clock))).toMatchObject(accepted);
  provider.answer((response) => response.writeHead(503).end("{}"));
  await clock.advance(11 * 60_000);
  expect(await verifier.verify(await key.sign(clock))).toMatchObject(accepted);
  await clock.advance(24 * 3_600_000);
  expect(await verifier.verify(await key.sign(clock))).toMatchObject(unavailable);
  expect(failures.length).toBeGreaterThan(0);
  provider.serve(key.jwk);
  await clock.advance(10_000);
  expect(await verifier.verify(await key.sign(clock))).toMatchObject(accepted);
});

test("a provider that was away from the start is asked again after a second", async () => {
  await using provider = await startProvider();
  const { clock, verifier } = setUp(provider.url);
  const key = await createKey("one");
  provider.answer((response) => response.destroy());
  const token = await key.sign(clock);
  expect(await verifier.verify(token)).toMatchObject(unavailable);
  expect(await verifier.verify(token)).toMatchObject(unavailable);
  expect(provider.requests).toBe(1);
  provider.serve(key.jwk);
  await clock.advance(1_000);
  expect(await verifier.verify(token)).toMatchObject(accepted);
});

test("a provider that does not answer holds nobody longer than the time given", async () => {
  await using provider = await startProvider();
  const { clock, verifier } = setUp(provider.url);
  const key = await createKey("one");
  const asked = new Promise<void>((resolve) => provider.answer(() => resolve()));
  const result = verifier.verify(await key.sign(clock));
  await asked;
  await clock.advance(5_000);
  expect(await result).toMatchObject(unavailable);
  expect(clock.waiting).toBe(0);
});

test.each<[string, Answer]>([
  ["no JSON", (response) => response.end("<html>")],
  ["no keys", (response) => response.end('{"keys":[]}')],
  ["something else", (response) => response.end('["keys"]')],
  ["a redirect", (response) => response.writeHead(302, { location: "http://127.0.0.1:9/" }).end()],
  ["two megabytes", (response) => response.end(`{"keys":[${" ".repeat(2_000_000)}]}`)],
])("an answer that is %s is a failure, no verdict", async (_name, answer) => {
  await using provider = await startProvider();
  const { clock, failures, verifier } = setUp(provider.url);
  const key = await createKey("one");
  provider.answer(answer);
  expect(await verifier.verify(await key.sign(clock))).toMatchObject(unavailable);
  expect(failures).toHaveLength(1);
});

test("a symmetric key among the provider's verifies nothing", async () => {
  await using provider = await startProvider();
  const { clock, verifier } = setUp(provider.url);
  provider.serve({ kty: "oct", k: Buffer.from("public knowledge").toString("base64url"), kid: "one", alg: "HS256" });
  const token = await new SignJWT({ sub: "ann" })
    .setProtectedHeader({ alg: "HS256", kid: "one" })
    .setExpirationTime(Math.floor(clock.now() / 1_000) + 60)
    .sign(Buffer.from("public knowledge"));
  expect(await verifier.verify(token)).toMatchObject({ ok: false, code: "unauthorized" });
});
