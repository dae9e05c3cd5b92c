import type { NodeStatistics } from "@parley/client";

export interface Sample {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly statistics: NodeStatistics;
}

/** Two minutes at one sample every two seconds. */
const samplesMax = 60;

export function addSample(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  return [...samples, sample].slice(-samplesMax);
}

/** A figure over time, oldest first; what is no number counts as 0. */
export function seriesOf(samples: readonly Sample[], name: string): readonly number[] {
  return samples.map(({ statistics }) => numberOf(statistics, name));
}

/** How fast a counter grows, per second, between each two samples. A counter that fell began anew: its node restarted. */
export function ratesOf(samples: readonly Sample[], name: string): readonly number[] {
  return samples.slice(1).map((sample, index) => {
    const before = samples[index] ?? sample;
    const grown = numberOf(sample.statistics, name) - numberOf(before.statistics, name);
    const seconds = (sample.atMs - before.atMs) / 1_000;
    return grown < 0 || seconds <= 0 ? 0 : grown / seconds;
  });
}

function numberOf(statistics: NodeStatistics, name: string): number {
  const value = statistics[name];
  return typeof value === "number" ? value : 0;
}
