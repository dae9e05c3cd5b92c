import type { AdminClient } from "@parley/client";
import { type FormEvent, type ReactNode, useState } from "react";
import { texts } from "../ui/texts.ts";
import { Confirmation, type Order } from "./confirmation.tsx";
import { type Failure, failureOf } from "./failure.ts";

type Result = { readonly kind: "none" | "pending" } | { readonly kind: "done"; readonly order: Order } | Failure;

/** Disconnects, bans and readmits a user, on all nodes. What takes something away is confirmed first. */
export function UserForm({ client, connected }: { client: AdminClient; connected: boolean }): ReactNode {
  const [asked, setAsked] = useState<Order | null>(null);
  const [result, setResult] = useState<Result>({ kind: "none" });
  const give = (order: Order): void => {
    setResult({ kind: "pending" });
    carryOut(client, order).then(
      () => setResult({ kind: "done", order }),
      (error: unknown) => setResult(failureOf(error)),
    );
  };
  const onSubmit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const order = orderIn(event);
    // Why not disabled meanwhile: the button that was pressed would lose the focus.
    if (order === undefined || result.kind === "pending") return;
    setResult({ kind: "none" });
    if (order.name === "unban") give(order);
    else setAsked(order);
  };
  const onAnswer = (confirmed: boolean): void => {
    setAsked(null);
    if (confirmed && asked !== null) give(asked);
  };
  return (
    <section className="orders" aria-labelledby="orders-title">
      <h2 id="orders-title">{texts.usersTitle}</h2>
      <p className="announce-hint">{texts.usersHint}</p>
      <OrderFields disabled={!connected} onSubmit={onSubmit} />
      <output className="announce-result" data-kind={result.kind}>
        {result.kind === "done" && texts.orderDone(result.order.name, result.order.userId)}
        {result.kind === "failed" && (result.unclear ? texts.orderUnclear : texts.orderFailed)(result.reason)}
      </output>
      {asked !== null && <Confirmation order={asked} onAnswer={onAnswer} />}
    </section>
  );
}

function OrderFields({
  disabled,
  onSubmit,
}: {
  disabled: boolean;
  onSubmit: (event: FormEvent<HTMLFormElement>) => void;
}): ReactNode {
  return (
    <form onSubmit={onSubmit}>
      <input
        name="userId"
        required
        maxLength={128}
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
        dir="auto"
        aria-label={texts.userLabel}
        placeholder={texts.userLabel}
      />
      <div className="orders-buttons">
        <button type="submit" value="kick" className="strong-button" disabled={disabled}>
          {texts.orders.kick}
        </button>
        <button type="submit" value="ban" className="strong-button" data-tone="danger" disabled={disabled}>
          {texts.orders.ban}
        </button>
        <button type="submit" value="unban" className="quiet-button" disabled={disabled}>
          {texts.orders.unban}
        </button>
      </div>
    </form>
  );
}

/** The button says what, the field whom. Undefined while the field is empty. */
function orderIn({ currentTarget, nativeEvent }: FormEvent<HTMLFormElement>): Order | undefined {
  const submitter = "submitter" in nativeEvent ? nativeEvent.submitter : null;
  const name = submitter instanceof HTMLButtonElement ? submitter.value : "";
  const userId = new FormData(currentTarget).get("userId");
  if (typeof userId !== "string" || userId.trim() === "") return undefined;
  // Why kick: it takes the least away of what Enter, without a button, could mean.
  return { name: name === "ban" || name === "unban" ? name : "kick", userId: userId.trim() };
}

async function carryOut(client: AdminClient, { name, userId }: Order): Promise<void> {
  if (name === "kick") await client.kick(userId);
  else if (name === "ban") await client.ban(userId);
  else await client.unban(userId);
}
