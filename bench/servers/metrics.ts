/** A Prometheus histogram: how many observations were at most `le` seconds, cumulative, ascending, ending with infinity. */
export interface CommitTimes {
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
}

/** The histogram `name` of an exposition, its label sets added up. `undefined` when it is not there. */
export function parseHistogram(exposition: string, name: string): CommitTimes | undefined {
  const counts = new Map<number, number>();
  for (const line of exposition.split("\n")) {
    if (!line.startsWith(`${name}_bucket{`)) continue;
    const le = /le="([^"]+)"/.exec(line)?.[1];
    const count = Number(line.slice(line.lastIndexOf(" ") + 1));
    if (le === undefined || Number.isNaN(count)) continue;
    const bound = le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le);
    counts.set(bound, (counts.get(bound) ?? 0) + count);
  }
  if (counts.size === 0) return undefined;
  return { buckets: [...counts].map(([le, count]) => ({ le, count })).toSorted((a, b) => a.le - b.le) };
}

/**
 * Seconds below which `fraction` of the observations between two scrapes lie, interpolated within a bucket as
 * Prometheus does. `undefined` without observations; the highest finite bound when it lies above that.
 */
export function quantileBetween(before: CommitTimes, after: CommitTimes, fraction: number): number | undefined {
  const earlier = new Map(before.buckets.map(({ le, count }) => [le, count]));
  const buckets = after.buckets.map(({ le, count }) => ({ le, count: count - (earlier.get(le) ?? 0) }));
  const total = buckets.at(-1)?.count ?? 0;
  if (total <= 0) return undefined;
  let lower = { le: 0, count: 0 };
  for (const bucket of buckets) {
    if (bucket.count >= total * fraction) {
      if (bucket.le === Number.POSITIVE_INFINITY) return lower.le;
      const share = (total * fraction - lower.count) / (bucket.count - lower.count);
      return lower.le + (bucket.le - lower.le) * share;
    }
    lower = bucket;
  }
  return lower.le;
}
