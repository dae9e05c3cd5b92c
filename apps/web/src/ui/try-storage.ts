/** Undefined where the browser keeps nothing, or no more: naming its storage throws then, as does writing to a full one. */
export function tryStorage<Value>(use: () => Value): Value | undefined {
  try {
    return use();
  } catch {
    return undefined;
  }
}
