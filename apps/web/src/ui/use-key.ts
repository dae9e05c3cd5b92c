import { useEffect, useEffectEvent } from "react";

type Test = (event: KeyboardEvent) => boolean;

/** Calls `onPress` for a key that means it, wherever the focus is; not under an open dialog. */
export function useKey(isMeant: Test, onPress: () => void): void {
  const press = useEffectEvent((event: KeyboardEvent) => {
    if (event.defaultPrevented || !isMeant(event) || document.querySelector("dialog[open]") !== null) return;
    event.preventDefault();
    onPress();
  });
  useEffect(() => {
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
}

/** A key that writes something, and means something else only where nothing is written. */
export function isCharacter(event: KeyboardEvent, character: string): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.key.toLowerCase() !== character) return false;
  return !(event.target instanceof Element && event.target.matches("input, textarea"));
}

/** With Ctrl, or the command key of a Mac. */
export function isCommand(event: KeyboardEvent, letter: string): boolean {
  return (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === letter;
}
