/** Where the token comes from: given once, or fetched from the app when one is needed. */
export class TokenSource {
  readonly renewable: boolean;
  readonly #getToken: () => Promise<string | undefined>;
  #kept: string | undefined;
  #fetching: Promise<string | undefined> | undefined;

  constructor(source: {
    readonly token?: string | undefined;
    readonly getToken?: (() => Promise<string>) | undefined;
  }) {
    const { token, getToken } = source;
    this.renewable = getToken !== undefined;
    this.#getToken = getToken ?? (() => Promise.resolve(token));
  }

  /** The present token, fetched when there is none; undefined for a guest. Errors: rejects as `getToken` does. */
  async current(): Promise<string | undefined> {
    return this.#kept ?? (await this.renew());
  }

  /** A new token, which replaces the present one. Callers at the same time share one call of `getToken`. */
  renew(): Promise<string | undefined> {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  /** The present token was refused: the next one is fetched. */
  discard(): void {
    this.#kept = undefined;
  }

  async #fetch(): Promise<string | undefined> {
    this.#kept = await this.#getToken();
    return this.#kept;
  }
}
