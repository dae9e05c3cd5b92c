import * as fc from "fast-check";
import { expect, test } from "vitest";
import { FakeServer, type Interference } from "../test/fake-server.ts";
import { recordTexts } from "../test/recorder.ts";
import { connect } from "./client.ts";

const room = "r";

/** What happens next to a client that both sends and listens. */
const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("send" as const) }) },
    // Of somebody else; lost on its way, or repeated.
    {
      weight: 6,
      arbitrary: fc.record({ kind: fc.constant("say" as const), lost: fc.boolean(), repeated: fc.boolean() }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("drop" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("kill" as const) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("turn" as const) }) },
  ),
  { minLength: 5, maxLength: 40 },
);

/** What befalls the events that the client sends, one after the other; then nothing does any more. */
const interferences = fc.array(
  fc.constantFrom<Interference | undefined>(
    undefined,
    "swallow",
    "mute",
    { code: "rate_limited" },
    { code: "store_unavailable" },
  ),
  { maxLength: 25 },
);

type Step = typeof steps extends fc.Arbitrary<readonly (infer One)[]> ? One : never;

async function perform(server: FakeServer, step: Step, index: number, send: (text: string) => void): Promise<void> {
  switch (step.kind) {
    case "send":
      return send(`sent ${index}`);
    case "say": {
      const seq = server.say(room, `said ${index}`, { deliver: !step.lost });
      if (step.repeated) server.deliver(room, seq);
      return;
    }
    case "drop":
      return server.dropConnections();
    case "kill":
      await server.kill();
      return server.listen();
    case "turn":
      return new Promise((resolve) => setImmediate(resolve));
  }
}

test("[FEED-1] [REC-1] [LOG-3] whatever happens to a connection: every message arrives once and in order, every send commits once and in order", async () => {
  await fc.assert(
    fc.asyncProperty(steps, interferences, async (plan, faults) => {
      await using server = await FakeServer.start();
      const waiting = [...faults];
      server.interfere = () => waiting.shift();
      const client = connect({ url: server.url, token: "t", backoff: { minMs: 1, maxMs: 4 }, requestTimeoutMs: 30 });
      const received = recordTexts(client.room(room));
      const outcomes: Promise<{ status: string }>[] = [];
      const sent: string[] = [];
      try {
        const send = (text: string): void => {
          sent.push(text);
          outcomes.push(client.room(room).send(text).outcome);
        };
        await client.room(room).join();
        for (const [index, step] of plan.entries()) await perform(server, step, index, send);
        const settled = await Promise.all(outcomes);
        expect(settled.every(({ status }) => status === "sent")).toBe(true);
        // What was lost on its way is missed only when something follows it.
        await server.until(() => server.connections === 1);
        server.say(room, "the end");
        await received.first((text) => text === "the end");
        expect(received.values).toEqual(server.texts(room));
        expect(server.texts(room).filter((text) => String(text).startsWith("sent"))).toEqual(sent);
      } finally {
        client.close();
      }
    }),
    { numRuns: 60 },
  );
}, 60_000);
