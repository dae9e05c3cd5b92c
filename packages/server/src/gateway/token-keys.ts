import { createLocalJWKSet, errors, type JWTHeaderParameters, type LocalJWKSet } from "jose";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";

/** The identity provider's keys could not be asked for: the same token may be accepted later. */
export class KeysUnavailable extends Error {
  override readonly name = "KeysUnavailable";
}

export interface RemoteKeys {
  /**
   * The public key that a token's header asks for.
   * Errors: `KeysUnavailable`; jose's `JWKSNoMatchingKey` when the provider has no such key.
   */
  find(header: JWTHeaderParameters): ReturnType<LocalJWKSet>;
}

export interface RemoteKeysOptions {
  readonly url: string;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** A fetch failed; keys fetched before stay in use. */
  readonly onFailure?: (error: unknown) => void;
}

const refreshAfterMs = 10 * 60_000;
const staleMaxMs = 24 * 3_600_000;
// Why: anyone can send tokens with invented key ids; each must not become a request to the provider.
const askAgainAfterMs = 10_000;
const askFirstAgainAfterMs = 1_000;
const responseBytesMax = 1_048_576;

const keySetSchema = z.object({
  keys: z
    .array(z.looseObject({ kty: z.string() }))
    .min(1)
    .max(200),
});

interface LoadedKeys {
  readonly resolve: LocalJWKSet;
  readonly at: number;
}

/**
 * Keys of a JWKS URL: fetched when first needed, again in the background when ten minutes old, and when a token names
 * an unknown key. While the provider is away, known keys serve for a day. A key id is compared and nothing else.
 */
export function createRemoteKeys({ url, timeoutMs, clock, onFailure }: RemoteKeysOptions): RemoteKeys {
  let loaded: LoadedKeys | undefined;
  let fetching: Promise<LoadedKeys> | undefined;
  let triedAt = -Infinity;

  function refresh(): Promise<LoadedKeys> {
    if (fetching !== undefined) return fetching;
    const pauseMs = loaded === undefined ? askFirstAgainAfterMs : askAgainAfterMs;
    if (clock.monotonic() - triedAt < pauseMs) {
      return Promise.reject(new KeysUnavailable("the identity provider was asked a moment ago"));
    }
    triedAt = clock.monotonic();
    fetching = fetchKeys(url, timeoutMs, clock)
      .then((resolve) => {
        loaded = { resolve, at: clock.monotonic() };
        return loaded;
      })
      .catch((error: unknown) => {
        onFailure?.(error);
        throw new KeysUnavailable("the identity provider's keys could not be fetched", { cause: error });
      })
      .finally(() => {
        fetching = undefined;
      });
    return fetching;
  }

  async function current(): Promise<LoadedKeys> {
    if (loaded === undefined || clock.monotonic() - loaded.at > staleMaxMs) return refresh();
    // A failure was reported to `onFailure`; the keys at hand serve on.
    if (clock.monotonic() - loaded.at > refreshAfterMs) refresh().catch(() => undefined);
    return loaded;
  }

  return {
    async find(header) {
      const keys = await current();
      try {
        return await keys.resolve(header);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        const fresh = await refresh();
        return fresh.resolve(header);
      }
    },
  };
}

async function fetchKeys(url: string, timeoutMs: number, clock: Clock): Promise<LocalJWKSet> {
  const abort = new AbortController();
  const cancel = clock.after(timeoutMs, () => abort.abort(new Error(`no answer within ${timeoutMs} ms`)));
  try {
    const headers = { accept: "application/jwk-set+json, application/json" };
    const response = await fetch(url, { signal: abort.signal, redirect: "error", headers });
    const text = await readBounded(response);
    if (!response.ok) throw new Error(`status ${response.status}`);
    return createLocalJWKSet(keySetSchema.parse(JSON.parse(text)));
  } finally {
    cancel();
  }
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    // Leaving the loop cancels the rest of the body.
    if (size > responseBytesMax) throw new Error(`the answer is larger than ${responseBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
