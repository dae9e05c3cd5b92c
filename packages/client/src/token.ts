/** Where the token comes from: given once, or fetched from the app when one is needed. */
export class TokenSource {
  readonly renewable: boolean;
  readonly #getToken: () => Promise<string | undefined>;
  #kept: string | undefined;
  #fetching: Promise<string | undefined> | undefined;
  /** Counts discards, so that a fetch that was given up changes nothing when it ends after all. */
  #generation = 0;

  constructor(source: {
    readonly token?: string | undefined;
    readonly getToken?: (() => Promise<string>) | undefined;
  }) {
    const { token, getToken } = source;
    this.renewable = getToken !== undefined;
    // Why async: an app's function that throws at once rejects like one that fails later.
    this.#getToken = getToken === undefined ? () => Promise.resolve(token) : async () => getToken();
  }

  /** The present token, fetched when there is none; undefined for a guest. Errors: rejects as `getToken` does. */
  async current(): Promise<string | undefined> {
    return this.#kept ?? (await this.renew());
  }

  /** A new token, which replaces the present one. Callers at the same time share one call of `getToken`. */
  renew(): Promise<string | undefined> {
    this.#fetching ??= this.#fetch(this.#generation);
    return this.#fetching;
  }

  /** The present token was refused, or takes too long: the next one is fetched anew. */
  discard(): void {
    this.#generation += 1;
    this.#kept = undefined;
    this.#fetching = undefined;
  }

  async #fetch(generation: number): Promise<string | undefined> {
    try {
      const token = await this.#getToken();
      if (generation === this.#generation) this.#kept = token;
      return token;
    } finally {
      if (generation === this.#generation) this.#fetching = undefined;
    }
  }
}
