import { type ReactNode, useEffect, useRef } from "react";
import { texts } from "../ui/texts.ts";

/** What an administrator may do to a user. */
type OrderName = "kick" | "ban" | "unban";

export interface Order {
  readonly name: OrderName;
  readonly userId: string;
}

/** Asks, over the page, whether an order is meant. Escape says no. */
export function Confirmation({
  order: { name, userId },
  onAnswer,
}: {
  order: Order;
  onAnswer: (confirmed: boolean) => void;
}): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog}
      className="confirmation"
      aria-labelledby="confirmation-title"
      aria-describedby="confirmation-text"
      onClose={({ currentTarget }) => onAnswer(currentTarget.returnValue === "confirm")}
    >
      <h3 id="confirmation-title">{texts.orderQuestion(name, userId)}</h3>
      <p id="confirmation-text">{texts.orderMeaning[name]}</p>
      <form method="dialog">
        <button type="submit" value="cancel" className="quiet-button">
          {texts.cancel}
        </button>
        <button
          type="submit"
          value="confirm"
          className="strong-button"
          data-tone={name === "ban" ? "danger" : undefined}
        >
          {texts.orders[name]}
        </button>
      </form>
    </dialog>
  );
}
