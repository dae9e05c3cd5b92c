const bitsOfFilter = 1 << 20;
const probes = 6;

/** Bytes of one filter: 16 bits for each of 65,536 keys, of which one in a thousand unknown ones seems known. */
export const filterBytes = bitsOfFilter / 8;

/** Two hashes of a key, from which its bits in every filter follow. */
export interface FilterKey {
  readonly first: number;
  readonly step: number;
}

/** FNV-1a, twice: the keys are digests already, so any spread of their characters will do. */
export function filterKey(key: string): FilterKey {
  let first = 0x811c9dc5;
  let step = 0x9747b28c;
  for (let index = 0; index < key.length; index++) {
    const code = key.charCodeAt(index);
    first = Math.imul(first ^ code, 0x01000193);
    step = Math.imul(step ^ code, 0x85ebca6b);
  }
  return { first, step: step | 1 };
}

export function addToFilter(filter: Uint8Array, { first, step }: FilterKey): void {
  for (let probe = 0, bit = first; probe < probes; probe++, bit = (bit + step) | 0) {
    const index = (bit >>> 0) % bitsOfFilter;
    filter[index >>> 3] = (filter[index >>> 3] ?? 0) | (1 << (index & 7));
  }
}

/** False: the key was never added. True: it probably was. */
export function mayBeInFilter(filter: Uint8Array, { first, step }: FilterKey): boolean {
  for (let probe = 0, bit = first; probe < probes; probe++, bit = (bit + step) | 0) {
    const index = (bit >>> 0) % bitsOfFilter;
    if (((filter[index >>> 3] ?? 0) & (1 << (index & 7))) === 0) return false;
  }
  return true;
}
