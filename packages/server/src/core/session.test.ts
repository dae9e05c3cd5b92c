import { describe, expect, test } from "vitest";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { SimulatedConnection } from "../../../../test/support/simulated-connection.ts";
import { textFrame } from "./frame.ts";
import { Session } from "./session.ts";

const windowBytes = 10_000;

/** A session on a connection whose client reads `bytesPerMs`; the test is its flusher. */
function createSession(bytesPerMs: number) {
  const clock = new SimulatedClock();
  const payloads: string[] = [];
  const connection = new SimulatedConnection(
    "c",
    { clock, windowBytes, bytesPerMs },
    { onPayload: (payload) => payloads.push(payload), onClosed: () => {} },
  );
  const user = { id: "user", tenant: "default", roles: [], expiresAt: null, issuedAt: 0 };
  let due = false;
  const session = new Session(
    { id: "s", pid: "p", offsets: true, kept: false, generation: 1, user },
    {
      onDue: () => {
        if (due) return;
        due = true;
        clock.immediate(() => {
          due = false;
          session.flush();
        });
      },
      onBehind: () => {},
      onArrived: () => {},
      delivered: () => {},
    },
  );
  session.connect(connection);
  connection.session = session;
  const page = async (bytes: number): Promise<boolean> => {
    const fits = await session.spare(bytes);
    if (fits) session.emit(textFrame("p".repeat(bytes - 10)));
    return fits;
  };
  return { clock, connection, session, payloads, page };
}

describe("pages", () => {
  test("[FEED-4] pages that wait go out in their order, as the window has room", async () => {
    const { clock, connection, session, payloads, page } = createSession(10);
    session.open();
    const pages = [4_000, 5_000, 6_000, 3_000, 9_000].map(page);
    await clock.advance(10_000);
    expect(await Promise.all(pages)).toEqual([true, true, true, true, true]);
    expect(payloads.map(({ length }) => length + 10)).toEqual([4_000, 5_000, 6_000, 3_000, 9_000]);
    expect(connection.unansweredMax).toBeLessThanOrEqual(windowBytes);
  });

  test("[FEED-4] a page that waited before CONNECT was answered goes out after it", async () => {
    const { clock, session, payloads, page } = createSession(10);
    const pages = [6_000, 6_000].map(page);
    await clock.advance(1_000);
    expect(payloads).toEqual([]);
    session.open();
    await clock.advance(5_000);
    expect(await Promise.all(pages)).toEqual([true, true]);
    expect(payloads.length).toBe(2);
  });

  test("[FEED-4] a page larger than the window goes out alone, once nothing is unanswered", async () => {
    const { clock, connection, session, payloads, page } = createSession(10);
    session.open();
    session.emit(textFrame("first"));
    await clock.settle();
    const large = page(3 * windowBytes);
    const small = page(1_000);
    await clock.settle();
    expect(connection.unanswered).toBeLessThan(100);
    await clock.advance(30_000);
    expect([await large, await small]).toEqual([true, true]);
    expect(payloads.map(({ length }) => length)).toEqual([5, 3 * windowBytes - 10, 990]);
    expect(connection.unansweredMax).toBeLessThanOrEqual(3 * windowBytes);
  });

  test("[FEED-4] a page that waits is told when its connection is gone", async () => {
    const { clock, session, page } = createSession(0);
    session.open();
    await page(9_000);
    await clock.settle();
    const waiting = page(9_000);
    session.disconnect();
    expect(await waiting).toBe(false);
  });
});

describe("signals", () => {
  test.each([
    ["written in their turn", (session: Session, frame: Buffer) => session.signal(frame)],
    ["gathered", (session: Session, frame: Buffer) => void session.signalLater(frame)],
  ])("[FEED-4] signals that are %s keep within the window, and none is kept for a slow reader", async (_, signal) => {
    const { clock, connection, session } = createSession(0);
    session.open();
    const frame = textFrame("s".repeat(80));
    for (let turn = 0; turn < 20; turn += 1) {
      for (let count = 0; count < 1_000; count += 1) signal(session, frame);
      await clock.turn();
      await clock.settle();
    }
    expect(connection.unansweredMax).toBeGreaterThan(0);
    expect(connection.unansweredMax).toBeLessThanOrEqual(windowBytes);
  });

  test("[FEED-4] signals before CONNECT was answered are bounded", async () => {
    const { clock, connection, session } = createSession(0);
    for (let count = 0; count < 10_000; count += 1) session.signal(textFrame("s".repeat(80)));
    session.open();
    await clock.settle();
    expect(connection.unansweredMax).toBeLessThanOrEqual(windowBytes);
  });
});

describe("notices", () => {
  test("[REC-3] what is told while nobody is connected is told to the next connection", async () => {
    const { clock, connection, session, payloads } = createSession(1_000);
    session.open();
    const subscriber = session.add("default/club", "e", 3);
    session.disconnect();
    session.remove(subscriber);
    session.tell(subscriber, { frame: textFrame("closed"), joined: false });
    session.connect(connection);
    session.rewind(null);
    session.open();
    await clock.advance(100);
    expect(payloads).toEqual(["closed"]);
  });
});
