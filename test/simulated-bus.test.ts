import { busContract } from "../packages/server/src/bus/bus.contract.ts";
import { seededRandom } from "./support/random.ts";
import { SimulatedBusNetwork } from "./support/simulated-bus.ts";
import { SimulatedClock } from "./support/simulated-clock.ts";

busContract("simulated network", async () => {
  const clock = new SimulatedClock();
  const network = new SimulatedBusNetwork(clock, seededRandom(1));
  return {
    join: (node) => network.join(node),
    settle: () => clock.advance(network.faults.delayMaxMs),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
});
