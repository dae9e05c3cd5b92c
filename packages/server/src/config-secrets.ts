import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Config, ConfigError } from "./config.ts";
import { isSymmetric } from "./config-rules.ts";

/** A configuration whose secrets are there, and the one that signs the administrator's tickets. */
export interface WithSecrets {
  readonly config: Config;
  readonly adminSecret: string;
}

/**
 * Development mode keeps a token secret and an API key in the store's folder (`secret`, `api-key`, readable by their owner
 * alone), so that tokens survive a restart. A production node that has no secret, because its tokens are verified by a
 * JWKS, keeps one for the administrator's tickets alone.
 * Errors: throws `ConfigError` when the folder cannot be written to.
 */
export function keepSecrets(config: Config): WithSecrets {
  const { auth, api } = config;
  const adminSecret = auth.secret ?? keptSecret(config.store.path, "secret");
  if (config.mode === "production") return { config, adminSecret };
  const keys = api.keys.length > 0 ? api.keys : [keptSecret(config.store.path, "api-key")];
  const secret = auth.algorithms.some(isSymmetric) ? adminSecret : auth.secret;
  return {
    config: Object.freeze({
      ...config,
      auth: Object.freeze({ ...auth, secret }),
      api: Object.freeze({ keys: Object.freeze(keys) }),
    }),
    adminSecret,
  };
}

function keptSecret(folder: string, name: "secret" | "api-key"): string {
  const file = path.join(folder, name);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    createSecret(file);
    chmodSync(file, 0o600);
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError([
      `store.path: ${folder} cannot be written to (${reason}): set PARLEY_STORE_PATH to a folder that can`,
    ]);
  }
}

// Why `wx`: of two processes that start at once, one creates the file and both read it.
function createSecret(file: string): void {
  try {
    writeFileSync(file, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600, flag: "wx" });
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error.code !== "EEXIST") throw error;
  }
}
