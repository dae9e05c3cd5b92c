import { createServer } from "node:http";
import { expect, test } from "vitest";
import { textFrame } from "../packages/server/src/core/frame.ts";
import { PollingTransport } from "../packages/server/src/gateway/polling.ts";
import { eventually } from "./support/eventually.ts";
import { SimulatedClock } from "./support/simulated-clock.ts";

test("[FEED-1] what is written between a GET that a probe let go and the flush meant for it is not lost", async () => {
  const clock = new SimulatedClock();
  const polling = new PollingTransport("sid", { clock, payloadBytesMax: 1_000, linger: () => {} });
  polling.adopt({ onText: () => {}, onBinary: () => {}, onTransportClosed: () => {} });
  let waiting = 0;
  const server = createServer((request, response) => {
    waiting += 1;
    polling.onGet(request, response);
  });
  await using opened = new AsyncDisposableStack();
  opened.defer(() => new Promise<void>((resolve) => server.close(() => resolve())));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;

  const answer = fetch(`http://127.0.0.1:${port}`, { headers: { connection: "close" } });
  await eventually("the GET", () => waiting > 0 || undefined);
  const [first, second] = [textFrame("4first"), textFrame("4second")];
  polling.write([first]);
  polling.release();
  polling.write([second]);
  await clock.settle();
  expect(await (await answer).text()).toBe("4first");
  expect(polling.retire()).toEqual([second]);
});
