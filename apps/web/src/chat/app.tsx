import { type ReactNode, useEffect, useState } from "react";
import { texts } from "../ui/texts.ts";
import { findAccess, tokenUser } from "./access.ts";
import { type ChatSession, openChat } from "./chat-session.ts";
import { TokenForm } from "./token-form.tsx";
import { Windows } from "./windows.tsx";

type Shown =
  | { readonly kind: "asking" }
  | { readonly kind: "form" }
  | { readonly kind: "windows"; readonly sessions: readonly ChatSession[] };

/** The page: the users of development mode side by side, or whoever the form lets in. */
export function ChatApp(): ReactNode {
  const [shown, setShown] = useState<Shown>({ kind: "asking" });
  useEffect(() => {
    let mounted = true;
    void findAccess().then((access) => {
      if (!mounted) return;
      setShown(access.kind === "form" ? access : { kind: "windows", sessions: access.users.map(openChat) });
    });
    return () => {
      mounted = false;
    };
  }, []);
  const enter = (token: string, roomId: string): void => {
    setShown({ kind: "windows", sessions: [openChat(tokenUser(token, roomId))] });
  };
  return (
    <div className="page">
      <header className="masthead">
        <h1 className="wordmark">Parley</h1>
        {shown.kind === "windows" && <p className="room-name">{shown.sessions[0]?.user.roomId}</p>}
      </header>
      {shown.kind === "asking" && <p className="page-note">{texts.loading}</p>}
      {shown.kind === "form" && <TokenForm onSubmit={enter} />}
      {shown.kind === "windows" && <Windows sessions={shown.sessions} />}
    </div>
  );
}
