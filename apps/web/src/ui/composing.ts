/**
 * Whether a key belongs to an input method that composes a character. Why 229, too: Safari ends the composition before it
 * tells of the key that ended it.
 */
export function belongsToComposition({
  isComposing,
  keyCode,
}: Pick<KeyboardEvent, "isComposing" | "keyCode">): boolean {
  return isComposing || keyCode === 229;
}
