import { type ReactNode, StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { connect } from "@parley/client";
import { ParleyProvider, useConnection, useRoom } from "@parley/client/react";

// The page that test/sdk-react.test.ts opens in a browser: two views of one room, which a button takes away.
const client = connect({ token: new URLSearchParams(location.search).get("token") ?? "" });

function Messages(): ReactNode {
  const { messages, outgoing, state, error, people } = useRoom("lobby");
  return (
    <section>
      <p id="state">{error === undefined ? state : error.code}</p>
      <p id="people">{people.join(" ")}</p>
      <ol>
        {messages.map(({ id, text }) => (
          <li key={id}>{text}</li>
        ))}
      </ol>
      <p id="outgoing">{outgoing.length}</p>
    </section>
  );
}

function Composer(): ReactNode {
  const { send } = useRoom("lobby");
  return (
    <button id="send" type="button" onClick={() => send("from the page")}>
      Send
    </button>
  );
}

function Page(): ReactNode {
  const connection = useConnection();
  const [isOpen, setOpen] = useState(true);
  return (
    <main>
      <p id="connection">{connection.state}</p>
      <button id="toggle" type="button" onClick={() => setOpen(!isOpen)}>
        Toggle
      </button>
      {isOpen && (
        <>
          <Messages />
          <Composer />
        </>
      )}
    </main>
  );
}

const root = document.querySelector("#root");
if (root !== null)
  createRoot(root).render(
    <StrictMode>
      <ParleyProvider client={client}>
        <Page />
      </ParleyProvider>
    </StrictMode>,
  );
