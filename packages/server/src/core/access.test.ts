import { describe, expect, test } from "vitest";
import { World } from "../../../../test/support/simulation.ts";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import type { User } from "../gateway/connection.ts";
import { Access, type AccessLimits, type AccessQuestion, type Rights } from "./access.ts";
import { type LogId, logId } from "./log.ts";

const allowed: Rights = { read: true, send: true, role: null };
const refused: Rights = { read: false, send: false, role: null };
const limits: AccessLimits = { accessTtlMs: 30_000, accessTimeoutMs: 5_000, cacheMax: 3 };
const alpha = logId("default", "alpha");

function userOf(id: string, roles: readonly string[] = []): User {
  return { id, tenant: "default", roles, expiresAt: null, issuedAt: 0 };
}

const ada = userOf("ada");

/** A policy that answers as `rights` says, `latencyMs` later. */
function setUp(questionsMax = 1_000, callsMax = Number.POSITIVE_INFINITY) {
  const clock = new SimulatedClock();
  const policy = { rights: allowed, latencyMs: 10, fails: false };
  const asked: string[][] = [];
  const failures: unknown[] = [];
  const trust = { remembers: true };
  const check = async (questions: readonly AccessQuestion[]): Promise<readonly Rights[]> => {
    asked.push(questions.map(({ user, log }) => `${user.id} ${log}`));
    const { rights, fails } = policy;
    await new Promise<void>((resolve) => void clock.after(policy.latencyMs, resolve));
    if (fails) throw new Error("the policy is broken");
    return questions.map(() => rights);
  };
  const access = new Access(
    { questionsMax, callsMax, namesRooms: true, check },
    clock,
    limits,
    (error) => failures.push(error),
    () => trust.remembers,
  );
  /** What is answered by the time the policy can have. */
  const rights = async (user = ada, log: LogId = alpha): Promise<Rights> => {
    const answer = access.rights(user, log);
    if (answer instanceof Promise) await clock.advance(policy.latencyMs);
    return answer;
  };
  return { clock, policy, asked, failures, trust, access, rights };
}

describe("remembered answers", () => {
  test("[ACC-1] hold as long as `accessTtlMs`, for the same roles", async () => {
    const { clock, asked, access, rights } = setUp();
    await rights();
    await clock.advance(limits.accessTtlMs - 1);
    expect(access.rights(ada, alpha)).toEqual(allowed);
    await clock.advance(1);
    await rights();
    expect(asked).toHaveLength(2);
    await rights(userOf("ada", ["moderator"]));
    expect(asked).toHaveLength(3);
  });

  test("[ACC-1] are forgotten of one room, of one user and of all, and each is asked for again", async () => {
    const { asked, access, rights } = setUp();
    const beta = logId("default", "beta");
    const all = [
      [ada, alpha],
      [ada, beta],
      [userOf("bob"), alpha],
    ] as const;
    const askAll = async (): Promise<string[]> => {
      asked.length = 0;
      for (const [user, log] of all) await rights(user, log);
      return asked.flat();
    };
    await askAll();
    expect(await askAll()).toEqual([]);
    access.forget("default", "ada", alpha);
    expect(await askAll()).toEqual(["ada default/alpha"]);
    access.forget("default", "ada");
    expect(await askAll()).toEqual(["ada default/alpha", "ada default/beta"]);
    access.forgetLog(alpha);
    expect(await askAll()).toEqual(["ada default/alpha", "bob default/alpha"]);
    access.forgetAll();
    expect(await askAll()).toHaveLength(3);
  });

  test("[ACC-1] an answer that was on its way as the right was lost is not remembered", async () => {
    const { clock, policy, access, rights } = setUp();
    const before = access.rights(ada, alpha);
    await clock.advance(5);
    policy.rights = refused;
    access.forgetLog(alpha);
    const after = access.rights(ada, alpha);
    await clock.advance(2 * policy.latencyMs);
    expect(await before).toEqual(allowed);
    expect(await after).toEqual(refused);
    expect(await rights()).toEqual(refused);
  });

  test("[ACC-1] an answer that came late does not take the place of a newer one", async () => {
    const { clock, policy, access } = setUp();
    policy.latencyMs = 100;
    const slow = access.rights(ada, alpha);
    await clock.advance(10);
    policy.rights = refused;
    policy.latencyMs = 1;
    const now = access.rightsNow(ada, alpha);
    await clock.advance(200);
    expect([await slow, await now]).toEqual([allowed, refused]);
    expect(access.rights(ada, alpha)).toEqual(refused);
  });

  test("[ACC-1] count for nothing while a loss may not have been heard of", async () => {
    const { trust, policy, asked, rights } = setUp();
    await rights();
    trust.remembers = false;
    policy.rights = refused;
    expect(await rights()).toEqual(refused);
    expect(asked).toHaveLength(2);
  });

  test("are `cacheMax` at most: the oldest goes", async () => {
    const { asked, rights } = setUp();
    for (const id of ["a", "b", "c", "d"]) await rights(userOf(id));
    asked.length = 0;
    for (const id of ["d", "c", "b", "a"]) await rights(userOf(id));
    expect(asked.flat()).toEqual(["a default/alpha"]);
  });
});

describe("questions", () => {
  test("of one turn are one call, the same one is asked once, and a call has `questionsMax` at most", async () => {
    const { clock, asked, access } = setUp(3);
    const answers = ["a", "b", "a", "c", "d", "d"].map((id) => access.rights(userOf(id), alpha));
    await clock.advance(10);
    expect(await Promise.all(answers.map((answer) => Promise.resolve(answer)))).toEqual(answers.map(() => allowed));
    expect(asked).toEqual([["a default/alpha", "b default/alpha", "c default/alpha"], ["d default/alpha"]]);
  });

  test("wait while as many calls as may be are under way, and go together then; a call that is late keeps nobody", async () => {
    const { clock, policy, asked, access } = setUp(3, 1);
    const ask = (...ids: readonly string[]) => ids.map(async (id) => access.rights(userOf(id), alpha));
    const first = ask("a");
    await clock.advance(1);
    const next = ask("b", "c", "d", "e");
    await clock.advance(3 * policy.latencyMs);
    expect(await Promise.all([...first, ...next])).toHaveLength(5);
    expect(asked.map((questions) => questions.length)).toEqual([1, 3, 1]);
    policy.latencyMs = limits.accessTimeoutMs + 1_000;
    const [late] = ask("f").map((answer) => answer.catch((error: unknown) => error));
    await clock.advance(1);
    policy.latencyMs = 10;
    const [waited] = ask("g");
    await clock.advance(limits.accessTimeoutMs);
    expect(await late).toMatchObject({ code: "access_unavailable" });
    await clock.advance(policy.latencyMs);
    expect(await waited).toEqual(allowed);
  });

  test("[ACC-1] a policy that is late or fails means refused, is told of, and is asked again", async () => {
    const { clock, policy, failures, access, rights } = setUp();
    policy.latencyMs = limits.accessTimeoutMs + 1_000;
    const late = access.rights(ada, alpha);
    const refusal = Promise.resolve(late).catch((error: unknown) => error);
    await clock.advance(limits.accessTimeoutMs);
    expect(await refusal).toMatchObject({ code: "access_unavailable", retryAfterMs: 1_000 });
    // Its answer, when it comes, is nobody's.
    await clock.advance(2_000);
    policy.latencyMs = 1;
    policy.fails = true;
    await expect(rights()).rejects.toMatchObject({ code: "access_unavailable" });
    policy.fails = false;
    expect(await rights()).toEqual(allowed);
    expect(failures.map(String)).toEqual([
      "Error: the access policy did not answer within 5000 ms",
      "Error: the policy is broken",
    ]);
    expect(clock.waiting).toBe(0);
  });
});

describe("in a cluster", () => {
  test.each(["by its positions", "where it left"])(
    "[ACC-1] who comes %s as the right is lost elsewhere gets nothing from that entry on",
    async (how) => {
      for (let seed = 1; seed <= 100; seed += 1) {
        const world = new World({ seed });
        const first = await world.startNode();
        const second = await world.startNode();
        const operations = world.operations(first);
        await world.until(operations.putRoom({ roomId: "club", access: "members" }));
        await world.until(operations.setMembership({ roomId: "club", userId: "anna", role: "member" }));
        const client = world.addClient("anna");
        await world.until(client.connect(first));
        await world.until(client.join("club"));
        await world.clock.advance(2_000);
        if (how === "where it left") {
          await world.until(client.leave("club"));
          await world.until(client.connect(second));
        }
        const removal = operations.setMembership({ roomId: "club", userId: "anna", role: null });
        await world.clock.advance(Math.floor(world.random() * 10));
        world.background(how === "where it left" ? client.join("club", how) : client.connect(second, "positions"));
        await world.until(removal);
        await world.clock.advance(5_000);
        const got = client.transcript.deliveries.filter(({ room }) => room === "club").map(({ seq }) => seq);
        expect(got, `seed ${seed}`).toEqual([]);
        await world.stop();
      }
    },
  );
});
