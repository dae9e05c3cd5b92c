import type { ReactNode } from "react";
import { texts } from "../ui/texts.ts";

/** Asks for what development mode gives by itself. The token is kept in memory only. */
export function TokenForm({ onSubmit }: { onSubmit: (token: string, roomId: string) => void }): ReactNode {
  const submit = (data: FormData): void => {
    const token = data.get("token");
    const roomId = data.get("room");
    if (typeof token === "string" && typeof roomId === "string") onSubmit(token.trim(), roomId.trim());
  };
  return (
    <main className="sheet">
      <form action={submit} className="token-form">
        <p>{texts.formIntro}</p>
        <label>
          {texts.token}
          <input name="token" type="password" required autoComplete="off" spellCheck={false} />
        </label>
        <label>
          {texts.room}
          <input name="room" required maxLength={128} autoComplete="off" spellCheck={false} />
        </label>
        <button type="submit" className="strong-button">
          {texts.enter}
        </button>
      </form>
    </main>
  );
}
