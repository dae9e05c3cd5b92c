import type { AdminClient } from "@parley/client";
import { type ReactNode, useActionState } from "react";
import { Icon } from "../ui/icons.tsx";
import { texts } from "../ui/texts.ts";
import { type Failure, failureOf } from "./failure.ts";

type Result = { readonly kind: "none" | "done" } | (Failure & { readonly text: string });

/** Tells everyone. What failed stays in the field. */
export function AnnounceForm({ client, connected }: { client: AdminClient; connected: boolean }): ReactNode {
  const announce = async (_before: Result, data: FormData): Promise<Result> => {
    const text = data.get("message");
    if (typeof text !== "string" || text.trim() === "") return { kind: "none" };
    try {
      await client.announce(text.trim());
      return { kind: "done" };
    } catch (error) {
      return { ...failureOf(error), text };
    }
  };
  const [result, submit, pending] = useActionState(announce, { kind: "none" });
  return (
    <section className="announce" aria-labelledby="announce-title">
      <h2 id="announce-title">{texts.announceTitle}</h2>
      <p className="announce-hint">{texts.announceHint}</p>
      {/* Why not disabled meanwhile: the button that was pressed would lose the focus. */}
      <form action={submit} onSubmit={(event) => pending && event.preventDefault()}>
        <textarea
          name="message"
          rows={3}
          required
          maxLength={4_000}
          dir="auto"
          aria-label={texts.announceLabel}
          placeholder={texts.announceLabel}
          defaultValue={result.kind === "failed" ? result.text : ""}
        />
        <button type="submit" className="strong-button" disabled={!connected}>
          <Icon name="megaphone" />
          {texts.announce}
        </button>
      </form>
      <output className="announce-result" data-kind={result.kind}>
        {!pending && result.kind === "done" && texts.announced}
        {!pending &&
          result.kind === "failed" &&
          (result.unclear ? texts.announceUnclear : texts.announceFailed)(result.reason)}
      </output>
    </section>
  );
}
