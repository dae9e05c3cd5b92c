import { type ReactNode, useEffect, useRef } from "react";
import { texts } from "../ui/texts.ts";

/** Every key of the page, over it. Escape closes it. */
export function KeyList({ manyWindows, onClose }: { manyWindows: boolean; onClose: () => void }): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const { keys } = texts;
  return (
    <dialog ref={dialog} className="key-list" aria-labelledby="key-list-title" onClose={onClose}>
      <h2 id="key-list-title">{texts.keysTitle}</h2>
      <dl>
        <KeyRow names={["Enter"]} meaning={texts.send} />
        <KeyRow names={["Shift", "Enter"]} meaning={keys.newLine} />
        <KeyRow names={["Esc"]} meaning={keys.escape} />
        <KeyRow names={["↑", "↓"]} meaning={keys.arrows} />
        <KeyRow names={["Home", "End"]} meaning={keys.ends} />
        <KeyRow names={["N"]} meaning={texts.toUnread} />
        {manyWindows && <KeyRow names={["Ctrl", "K"]} meaning={keys.nextWindow} />}
        <KeyRow names={["?"]} meaning={keys.list} />
      </dl>
      <form method="dialog">
        <button type="submit" className="quiet-button">
          {texts.dismiss}
        </button>
      </form>
    </dialog>
  );
}

function KeyRow({ names, meaning }: { names: readonly string[]; meaning: string }): ReactNode {
  return (
    <div>
      <dt>
        {names.map((name) => (
          <kbd key={name}>{name}</kbd>
        ))}
      </dt>
      <dd>{meaning}</dd>
    </div>
  );
}
