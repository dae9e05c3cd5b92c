import { type AdminClient, connectAdmin, type ConnectionState } from "@parley/client";
import { type ReactNode, useEffect, useState, useSyncExternalStore } from "react";
import { ConnectionBanner } from "../ui/connection-banner.tsx";
import { ConnectionDot } from "../ui/connection-dot.tsx";
import { texts } from "../ui/texts.ts";
import { type Admission, findAdmission, forgetAdmission } from "./admission.ts";
import { AnnounceForm } from "./announce-form.tsx";
import { Figures } from "./figures.tsx";
import { addSample, type Sample } from "./samples.ts";
import { UserForm } from "./user-form.tsx";

type Shown =
  | { readonly kind: "asking" }
  | Extract<Admission, { kind: "locked" }>
  | { readonly kind: "open"; readonly client: AdminClient };

const sampleEveryMs = 2_000;

/** The console of one node, for whoever has the one-time link. */
export function ConsoleApp(): ReactNode {
  const [shown, setShown] = useState<Shown>({ kind: "asking" });
  useEffect(() => {
    let mounted = true;
    void findAdmission().then((admission) => {
      if (mounted) setShown(admission.kind === "locked" ? admission : { kind: "open", client: open(admission.token) });
    });
    return () => {
      mounted = false;
    };
  }, []);
  return (
    <div className="console">
      <header className="masthead">
        <h1 className="wordmark">
          Parley <span>{texts.console}</span>
        </h1>
        {shown.kind === "open" && <ConsoleState client={shown.client} />}
      </header>
      <main>
        {shown.kind === "asking" && <p className="page-note">{texts.loading}</p>}
        {shown.kind === "locked" && <Locked reason={shown.reason} />}
        {shown.kind === "open" && <Panels client={shown.client} />}
      </main>
    </div>
  );
}

function open(token: string): AdminClient {
  const client = connectAdmin({ token });
  client.on("state", (state) => {
    if (state.state === "closed") forgetAdmission();
  });
  return client;
}

function Locked({ reason }: { reason: string | undefined }): ReactNode {
  return (
    <section className="sheet">
      <h2>{texts.consoleLocked}</h2>
      {reason !== undefined && <p role="alert">{texts.linkRefused(reason)}</p>}
      <p>{texts.consoleLockedHint}</p>
    </section>
  );
}

function ConsoleState({ client }: { client: AdminClient }): ReactNode {
  return <ConnectionDot state={useConnection(client)} />;
}

function Panels({ client }: { client: AdminClient }): ReactNode {
  const state = useConnection(client);
  const connected = state.state === "connected";
  const samples = useSamples(client, connected);
  return (
    <>
      <ConnectionBanner state={state} waiting={texts.consoleWaiting} onRetry={() => client.retryNow()} />
      <div className="panels">
        <Figures samples={samples} stale={!connected} />
        <div className="actions">
          <AnnounceForm client={client} connected={connected} />
          <UserForm client={client} connected={connected} />
        </div>
      </div>
    </>
  );
}

function useConnection(client: AdminClient): ConnectionState {
  return useSyncExternalStore(
    (onChange) => client.on("state", onChange),
    () => client.state,
  );
}

/** Asks for the figures at once and then every two seconds, while there is a connection. */
function useSamples(client: AdminClient, connected: boolean): readonly Sample[] {
  const [samples, setSamples] = useState<readonly Sample[]>([]);
  useEffect(() => {
    if (!connected) return;
    const ask = (): void => {
      client.statistics().then(
        (statistics) => setSamples((before) => addSample(before, { atMs: Date.now(), statistics })),
        // The next tick asks again.
        () => undefined,
      );
    };
    ask();
    const timer = setInterval(ask, sampleEveryMs);
    return () => clearInterval(timer);
  }, [client, connected]);
  return samples;
}
