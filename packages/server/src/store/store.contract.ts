import { describe } from "vitest";
import type { StoreHarness } from "./contract-steps.contract.ts";
import { directoryContract, journalContract } from "./store-directory.contract.ts";
import { appendContract, lifeContract } from "./store-log.contract.ts";
import { messageContract } from "./store-messages.contract.ts";
import { propertyContract } from "./store-property.contract.ts";
import { leaseContract, sessionContract } from "./store-sessions.contract.ts";

export type { StoreHarness } from "./contract-steps.contract.ts";

/** What every implementation of the port `Store` does. `open` gives a fresh, empty store. */
export function storeContract(name: string, open: () => Promise<StoreHarness>): void {
  describe(`store: ${name}`, { timeout: 120_000 }, () => {
    appendContract(open);
    lifeContract(open);
    messageContract(open);
    journalContract(open);
    directoryContract(open);
    sessionContract(open);
    leaseContract(open);
    propertyContract(open);
  });
}
