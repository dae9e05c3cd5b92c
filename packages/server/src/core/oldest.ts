/**
 * Has the oldest keys deleted of a map or set that has more than `countMax`: down to a hundredth below it. `drop` deletes
 * the key.
 *
 * Why not one at a time: the place of a deleted key stays until V8 rehashes, and the first key is looked for behind all
 * of them. That costs 100 µs at 100,000.
 */
export function dropOldest<Key>(
  keyed: ReadonlyMap<Key, unknown> | ReadonlySet<Key>,
  countMax: number,
  drop: (key: Key) => void,
): void {
  if (keyed.size <= countMax) return;
  const kept = countMax - Math.floor(countMax / 100);
  for (const key of keyed.keys()) {
    if (keyed.size <= kept) return;
    drop(key);
  }
}
