import { storeContract } from "../packages/server/src/store/store.contract.ts";
import { MemoryStore } from "./support/memory-store.ts";
import { SimulatedClock } from "./support/simulated-clock.ts";

storeContract("memory", async () => {
  let aheadMs = 0;
  const simulated = new SimulatedClock();
  const clock = {
    now: () => simulated.now() + aheadMs,
    monotonic: () => simulated.monotonic(),
    after: (ms: number, callback: () => void) => simulated.after(ms, callback),
    immediate: (callback: () => void) => simulated.immediate(callback),
  };
  const store = new MemoryStore({ clock });
  return {
    store,
    advance: (ms) => void (aheadMs += ms),
    async restored() {
      await store.backup("backup");
      store.restore("backup");
      return store;
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
});
