import type { ConnectionState } from "@parley/client";
import type { ReactNode } from "react";
import { texts } from "./texts.ts";

/** The state of the connection in one word, with a dot. */
export function ConnectionDot({ state }: { state: ConnectionState }): ReactNode {
  return (
    <span className="connection-dot" data-state={state.state}>
      {state.state === "connected" ? texts.connected : state.state === "closed" ? "–" : texts.connecting}
    </span>
  );
}
