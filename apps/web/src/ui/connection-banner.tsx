import type { ConnectionState } from "@parley/client";
import type { ReactNode } from "react";
import { texts } from "./texts.ts";
import { useSecondsUntil } from "./use-time.ts";

interface BannerProps {
  readonly state: ConnectionState;
  /** What is so while there is no connection. */
  readonly waiting: string;
  readonly onRetry: () => void;
}

/** Says what the connection is doing whenever that is not simply "connected". */
export function ConnectionBanner({ state, waiting, onRetry }: BannerProps): ReactNode {
  return (
    <output className="connection-banner" data-state={state.state}>
      {bannerContent(state, waiting, onRetry)}
    </output>
  );
}

function bannerContent(state: ConnectionState, waiting: string, onRetry: () => void): ReactNode {
  switch (state.state) {
    case "connected":
      return null;
    case "connecting":
      return <span>{texts.connecting}</span>;
    case "waiting":
      return (
        <>
          <span>{waiting}</span>
          <Countdown atMs={state.retryAtMs} />
          <button type="button" className="quiet-button" onClick={onRetry}>
            {texts.retryNow}
          </button>
        </>
      );
    case "closed":
      return (
        <>
          <span>{texts.ended(state.verdict.message)}</span>
          <button type="button" className="quiet-button" onClick={() => location.reload()}>
            {texts.reload}
          </button>
        </>
      );
  }
}

// Why hidden: a screen reader would read every second aloud.
function Countdown({ atMs }: { atMs: number }): ReactNode {
  return (
    <span className="countdown" aria-hidden="true">
      {texts.retriesIn(useSecondsUntil(atMs))}
    </span>
  );
}
