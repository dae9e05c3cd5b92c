import { createHmac, generateKeyPairSync } from "node:crypto";
import { exportSPKI, generateKeyPair, SignJWT } from "jose";
import { beforeEach, describe, expect, test } from "vitest";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { type ConfigOverrides, resolveConfig } from "../config.ts";
import { mintToken } from "./token-mint.ts";
import { createTokenVerifier } from "./token-verifier.ts";

const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
let clock: SimulatedClock;

beforeEach(() => {
  clock = new SimulatedClock();
});

type AuthOverrides = NonNullable<ConfigOverrides["auth"]>;

function authConfig(auth: AuthOverrides = {}) {
  return resolveConfig({ mode: "development", overrides: { auth: { secret, ...auth } } }).auth;
}

function encode(value: unknown): string {
  return Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
}

/** Signed by hand: jose refuses to make most of what is tested here. */
function forge(claims: unknown, header: object = { alg: "HS256" }, key: string | Buffer = secret): string {
  const content = `${encode(header)}.${encode(claims)}`;
  return `${content}.${createHmac("sha256", key).update(content).digest("base64url")}`;
}

function seconds(): number {
  return clock.now() / 1_000;
}

function userOf(result: Awaited<ReturnType<typeof verify>>): unknown {
  return result.ok ? result.user : result;
}

function verify(token: unknown, auth: AuthOverrides = {}) {
  return createTokenVerifier(authConfig(auth), clock).verify(token);
}

describe("a good token", () => {
  test("names the user, the roles, and when it was made and ends", async () => {
    const auth = authConfig();
    const token = await mintToken(auth, clock, { userId: "ann", roles: ["admin"], lifetimeSeconds: 60 });
    const user = {
      id: "ann",
      tenant: "default",
      roles: ["admin"],
      issuedAt: seconds(),
      expiresAt: clock.now() + 65_000,
    };
    expect(await createTokenVerifier(auth, clock).verify(token)).toEqual({ ok: true, user });
  });

  test.each([
    [{ role: "admin" }, ["admin"]],
    [{ roles: ["a", "b"] }, ["a", "b"]],
    [{ role: "a", roles: ["a", "b"] }, ["a", "b"]],
    [{ role: null }, []],
    [{}, []],
  ])("takes its roles from `role` or `roles`: %j", async (claims, roles) => {
    const result = await verify(forge({ sub: "ann", exp: seconds() + 60, ...claims }));
    expect(result).toMatchObject({ ok: true, user: { roles } });
  });

  test("takes roles, user and tenant from the claims that are set, also within objects and under names with dots", async () => {
    const token = forge({
      "https://app.example/id": "ann",
      realm_access: { roles: ["admin"] },
      org: { name: "acme" },
      exp: seconds() + 60,
    });
    const auth = { userIdClaim: "https://app.example/id", rolesClaim: ["realm_access.roles"], tenantClaim: "org.name" };
    expect(await verify(token, auth)).toMatchObject({
      ok: true,
      user: { id: "ann", roles: ["admin"], tenant: "acme" },
    });
  });

  test("without exp is taken only where that is allowed", async () => {
    const token = forge({ sub: "ann" });
    expect(await verify(token)).toMatchObject({
      ok: false,
      message: expect.stringContaining("PARLEY_AUTH_EXPIRY_REQUIRED"),
    });
    expect(await verify(token, { expiryRequired: false })).toMatchObject({
      ok: true,
      user: { expiresAt: null, issuedAt: 0 },
    });
  });

  test("that is minted satisfies issuer, audience and claims of the same configuration", async () => {
    const auth = authConfig({
      issuer: "https://i.example",
      audience: "chat",
      algorithms: ["HS512"],
      tenantClaim: "t",
      userIdClaim: "uid",
    });
    const token = await mintToken(auth, clock, {
      userId: "ann",
      roles: ["a", "b"],
      tenant: "acme",
      lifetimeSeconds: 60,
    });
    const result = await createTokenVerifier(auth, clock).verify(token);
    expect(result).toMatchObject({ ok: true, user: { id: "ann", roles: ["a", "b"], tenant: "acme" } });
  });
});

describe("[IN-1] a bad token gets a coded refusal that names what to change:", () => {
  const good = { sub: "ann", exp: 1_700_000_060 };

  test("none, of another type, garbage, with Bearer in front, or 100 KB long", async () => {
    const cases: [unknown, string][] = [
      [undefined, "auth: {token}"],
      [null, "auth: {token}"],
      ["", "auth: {token}"],
      [{ token: 1 }, "no text"],
      ["garbage", "no JWT"],
      ["a.b.c", "no JWT"],
      [`${encode({ alg: "HS256" })}.${encode("[]")}.`, "signature"],
      [forge("[]"), "no JWT"],
      [`Bearer ${forge(good)}`, "Bearer"],
      ["x".repeat(100_000), "longer than"],
      [forge({ ...good, fill: "x".repeat(100_000) }), "longer than"],
    ];
    for (const [token, message] of cases) {
      expect(await verify(token)).toEqual({
        ok: false,
        code: "unauthorized",
        message: expect.stringContaining(message),
      });
    }
  });

  test.each(["none", "None", "nOnE", "", "constructor", "__proto__", "HS1", 1, null])(
    "alg %j, with and without a signature",
    async (alg) => {
      const signed = forge(good, { alg });
      const bare = signed.slice(0, signed.lastIndexOf(".") + 1);
      for (const token of [signed, bare]) {
        expect(await verify(token)).toMatchObject({ ok: false, code: "unauthorized" });
      }
    },
  );

  test("an algorithm that is not on the list", async () => {
    const content = `${encode({ alg: "HS512" })}.${encode(good)}`;
    const token = `${content}.${createHmac("sha512", secret).update(content).digest("base64url")}`;
    expect(await verify(token)).toMatchObject({
      ok: false,
      message: expect.stringContaining("PARLEY_AUTH_ALGORITHMS=HS256"),
    });
    expect(await verify(token, { algorithms: ["HS512"] })).toMatchObject({ ok: true });
  });

  test("HS256 signed with the public key (HS/RS confusion), with and without a secret set", async () => {
    const { publicKey } = await generateKeyPair("RS256", { extractable: true });
    const token = forge(good, { alg: "HS256" }, await exportSPKI(publicKey));
    expect(await verify(token)).toMatchObject({ ok: false, message: expect.stringContaining("signature") });
    const withoutSecret = { secret: undefined, jwksUrl: "http://127.0.0.1:9/keys" };
    expect(await verify(token, withoutSecret)).toMatchObject({
      ok: false,
      message: expect.stringContaining("algorithm"),
    });
  });

  test("RS256 while only the secret is set, also with a key of its own in the header", async () => {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
    const token = await new SignJWT(good)
      .setProtectedHeader({ alg: "RS256", jwk: publicKey.export({ format: "jwk" }), jku: "http://127.0.0.1:9/keys" })
      .sign(privateKey);
    expect(await verify(token)).toMatchObject({
      ok: false,
      message: expect.stringContaining("PARLEY_AUTH_ALGORITHMS"),
    });
  });

  test("another secret, an empty one, and a key id that is a path", async () => {
    const header = { alg: "HS256", kid: "../../../../../../dev/null" };
    for (const token of [
      forge(good, { alg: "HS256" }, "other"),
      forge(good, header, ""),
      forge(good, header, Buffer.alloc(1)),
    ]) {
      expect(await verify(token)).toMatchObject({ ok: false, message: expect.stringContaining("PARLEY_AUTH_SECRET") });
    }
  });

  test("an unknown critical header, and an unencoded payload", async () => {
    expect(await verify(forge(good, { alg: "HS256", crit: ["x"], x: 1 }))).toMatchObject({
      ok: false,
      code: "unauthorized",
    });
    expect(await verify(forge(good, { alg: "HS256", crit: ["b64"], b64: false }))).toMatchObject({
      ok: false,
      code: "unauthorized",
    });
  });

  test.each([
    [{ exp: undefined }, "no exp"],
    [{ exp: "1900000000" }, "exp is no date"],
    [{ exp: 1e20 }, "exp is no date"],
    [{ exp: -1 }, "has expired"],
    [{ exp: null }, "exp is no date"],
    [{ exp: [1_900_000_000] }, "exp is no date"],
    [{ nbf: 1_700_000_030 }, "not valid yet (nbf)"],
    [{ nbf: "soon" }, "nbf is no date"],
    [{ iat: 1_700_000_030 }, "iat lies in the future"],
    [{ iat: 1e20 }, "iat is no date"],
    [{ iat: -1 }, "iat is no date"],
    [{ sub: undefined }, "sub is no user id"],
    [{ sub: 42 }, "sub is no user id"],
    [{ sub: "" }, "userId is empty"],
    [{ sub: "x".repeat(10_000) }, "userId is longer"],
    [{ sub: "ann\n\u001b[31m" }, "control character"],
    [{ sub: "\ud800" }, "control character or a lone surrogate"],
    [{ roles: { admin: true } }, "PARLEY_AUTH_ROLES_CLAIM"],
    [{ roles: [1] }, "PARLEY_AUTH_ROLES_CLAIM"],
    [{ roles: Array.from({ length: 101 }, (_, index) => `r${index}`) }, "PARLEY_AUTH_ROLES_CLAIM"],
  ])("claims %j", async (claims, message) => {
    const result = await verify(forge({ ...good, ...claims }));
    const code = message === "has expired" ? "token_expired" : "unauthorized";
    expect(result).toEqual({ ok: false, code, message: expect.stringContaining(message) });
  });

  test.each([undefined, "", "a/b", "@x", "a\nb", 7, "x".repeat(65)])("tenant %j", async (tenant) => {
    const result = await verify(forge({ ...good, tenant }), { tenantClaim: "tenant" });
    expect(result).toMatchObject({ ok: false, message: expect.stringContaining("PARLEY_AUTH_TENANT_CLAIM") });
  });

  test("dated ahead by more than clocks may differ", async () => {
    const tolerant = { clockToleranceSeconds: 7 };
    expect(await verify(forge({ ...good, iat: seconds() + 7 }), tolerant)).toMatchObject({ ok: true });
    expect(await verify(forge({ ...good, iat: seconds() + 8 }), tolerant)).toMatchObject({ ok: false });
  });

  test("a wrong or missing issuer or audience", async () => {
    const auth = { issuer: "https://i.example", audience: "chat" };
    const both = { ...good, iss: "https://i.example", aud: ["other", "chat"] };
    expect(await verify(forge(both), auth)).toMatchObject({ ok: true });
    expect(await verify(forge({ ...both, iss: undefined }), auth)).toMatchObject({
      message: expect.stringContaining("PARLEY_AUTH_ISSUER"),
    });
    expect(await verify(forge({ ...both, iss: "https://i.example/" }), auth)).toMatchObject({
      message: expect.stringContaining("PARLEY_AUTH_ISSUER"),
    });
    expect(await verify(forge({ ...both, aud: undefined }), auth)).toMatchObject({
      message: expect.stringContaining("PARLEY_AUTH_AUDIENCE"),
    });
    expect(await verify(forge({ ...both, aud: "other" }), auth)).toMatchObject({
      message: expect.stringContaining("PARLEY_AUTH_AUDIENCE"),
    });
  });

  test("claims named like an object's own members are looked for in the token alone", async () => {
    expect(await verify(forge(good), { userIdClaim: "constructor.name" })).toMatchObject({
      ok: false,
      code: "unauthorized",
    });
    expect(await verify(forge(good), { tenantClaim: "__proto__" })).toMatchObject({ ok: false, code: "unauthorized" });
  });
});

describe("[ACC-2] an expired token", () => {
  test("is refused as such once the tolerance has passed, also when it was verified before", async () => {
    const verifier = createTokenVerifier(authConfig({ clockToleranceSeconds: 5 }), clock);
    const token = forge({ sub: "ann", exp: seconds() + 10 });
    expect(await verifier.verify(token)).toMatchObject({ ok: true, user: { expiresAt: clock.now() + 15_000 } });
    await clock.advance(14_999);
    expect(await verifier.verify(token)).toMatchObject({ ok: true });
    await clock.advance(1);
    expect(await verifier.verify(token)).toMatchObject({ ok: false, code: "token_expired" });
  });
});

test("verified tokens are remembered, a bounded number of them", async () => {
  const verifier = createTokenVerifier(authConfig({ verifiedTokensMax: 4 }), clock);
  const tokens = ["a", "b", "c", "d", "e"].map((sub) => forge({ sub, exp: seconds() + 60 }));
  const usersInTurn = async (inTurn: readonly string[]) => {
    const users = [];
    for (const token of inTurn) users.push(userOf(await verifier.verify(token)));
    return users;
  };
  const first = await usersInTurn(tokens);
  // The newest first, so that the oldest are the ones that are verified anew.
  const second = (await usersInTurn(tokens.toReversed())).toReversed();
  expect(second).toEqual(first);
  expect(second.map((user, index) => user === first[index])).toEqual([false, false, true, true, true]);
});

test("a remembered token is verified anew after five minutes at the latest", async () => {
  const verifier = createTokenVerifier(authConfig(), clock);
  const token = forge({ sub: "a", exp: seconds() + 3_600 });
  const first = userOf(await verifier.verify(token));
  await clock.advance(149_000);
  expect(userOf(await verifier.verify(token))).toBe(first);
  await clock.advance(151_000);
  expect(userOf(await verifier.verify(token))).not.toBe(first);
});
