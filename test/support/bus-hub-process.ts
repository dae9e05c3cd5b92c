// The hub of the bus between processes. Usage: bus-hub-process.ts <nodes>; the pipes are those of node-1, node-2, …
import type { BusMessage } from "../../packages/server/src/bus/messages.ts";
import { BusHub, type ToHub } from "../../packages/server/src/bus/workers.ts";
import { linkToParent } from "./linked-process.ts";

/** `settle` is answered when all that came before it was done. */
export type ToHubProcess = { readonly type: "bus"; readonly message: ToHub } | { readonly type: "settle" };
export type FromHubProcess = { readonly type: "bus"; readonly message: BusMessage } | { readonly type: "settled" };

const hub = new BusHub();

for (let pipe = 0; pipe < Number(process.argv[2]); pipe += 1) {
  const link = linkToParent<FromHubProcess, ToHubProcess>(pipe, (message) => {
    if (message.type === "bus") member.take(message.message);
    else link.send({ type: "settled" });
  });
  const member = hub.join(`node-${pipe + 1}`, (message) => link.send({ type: "bus", message }));
}
