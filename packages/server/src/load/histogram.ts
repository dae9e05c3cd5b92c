const subBucketBits = 7;
const subBuckets = 1 << subBucketBits;
const bucketCount = subBuckets * (32 - subBucketBits + 1);

/**
 * Latencies in whole microseconds, in buckets no wider than 1/128 of their value: percentiles are over the union of
 * all clients, at a cost of one increment per delivery. Values reach 2^31 µs (35 min).
 */
export class Histogram {
  readonly #counts = new Float64Array(bucketCount);
  #count = 0;
  #max = 0;

  get count(): number {
    return this.#count;
  }

  record(micros: number): void {
    const value = micros < 0 ? 0 : micros | 0;
    const index = bucketOf(value);
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#count += 1;
    if (value > this.#max) this.#max = value;
  }

  /** Upper end of the bucket in which the percentile lies, in µs: never flatters. `undefined` when nothing was recorded. */
  percentile(fraction: number): number | undefined {
    if (this.#count === 0) return undefined;
    const wanted = Math.max(1, Math.ceil(this.#count * fraction));
    let seen = 0;
    for (let index = 0; index < bucketCount; index += 1) {
      seen += this.#counts[index] ?? 0;
      if (seen >= wanted) return Math.min(this.#max, lowerEnd(index + 1) - 1);
    }
    return this.#max;
  }

  get maxMicros(): number {
    return this.#max;
  }
}

function bucketOf(value: number): number {
  if (value < subBuckets * 2) return value;
  const shift = 31 - Math.clz32(value) - subBucketBits;
  return (shift << subBucketBits) + (value >>> shift);
}

function lowerEnd(index: number): number {
  if (index < subBuckets * 2) return index;
  const shift = (index >>> subBucketBits) - 1;
  return (index - (shift << subBucketBits)) * 2 ** shift;
}
