interface WaitingPage {
  readonly bytes: number;
  resolve(fits: boolean): void;
}

/** Pages that wait until they fit into the window of a session's connection (FEED-4). The first to wait is served first. */
export class WaitingPages {
  readonly #pages: WaitingPage[] = [];

  /** Resolves to true when so many bytes were granted, to false when nobody can get the page any more. */
  add(bytes: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#pages.push({ bytes, resolve });
    return promise;
  }

  /** Serves them up to the first that is not granted its bytes. True when none waits any more. */
  serve(grant: (bytes: number) => boolean): boolean {
    for (let next = this.#pages[0]; next !== undefined; next = this.#pages[0]) {
      if (!grant(next.bytes)) return false;
      this.#pages.shift();
      next.resolve(true);
    }
    return true;
  }

  dismiss(): void {
    for (const page of this.#pages.splice(0)) page.resolve(false);
  }
}
