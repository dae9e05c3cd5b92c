import type { ConnectionState } from "@parley/client";
import type { ReactNode } from "react";
import { texts } from "./texts.ts";

const words: Readonly<Record<ConnectionState["state"], string>> = {
  connected: texts.connected,
  connecting: texts.connecting,
  waiting: texts.offline,
  closed: texts.offline,
};

/** The state of the connection in a word, with a dot. */
export function ConnectionDot({ state }: { state: ConnectionState }): ReactNode {
  return (
    <span className="connection-dot" data-state={state.state}>
      {words[state.state]}
    </span>
  );
}
