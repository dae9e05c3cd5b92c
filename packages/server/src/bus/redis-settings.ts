import { readFileSync } from "node:fs";
import type { RedisBusSettings, RedisLogin, RedisMode } from "./redis.ts";

/** The settings as they are written down; what each means is said where the configuration is described. */
export interface RedisOptions {
  /** `redis://[username:password@]host[:port]`, or `rediss://` for TLS; all of one scheme, at least one. */
  readonly url: readonly string[];
  readonly mode: RedisMode;
  readonly sentinelName: string;
  readonly sentinelPassword?: string | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly tlsCaFile?: string | undefined;
  readonly prefix: string;
  readonly secret: string;
}

const defaultPorts: Readonly<Record<RedisMode, number>> = { single: 6379, cluster: 6379, sentinel: 26379 };

/** Errors: throws, naming the setting, when the file of certificates cannot be read. */
export function redisSettings(node: string, options: RedisOptions): RedisBusSettings {
  const { mode, sentinelName, sentinelPassword, prefix, secret } = options;
  const urls = options.url.map((text) => new URL(text));
  const tls = tlsOf(urls, options.tlsCaFile);
  return {
    node,
    mode,
    addresses: urls.map(({ hostname, port }) => ({
      host: hostname.replaceAll(/^\[|\]$/g, ""),
      port: port === "" ? defaultPorts[mode] : Number(port),
    })),
    login: { ...credentialsOf(urls, options), tls },
    sentinelLogin: { username: undefined, password: sentinelPassword, tls },
    sentinelName,
    prefix,
    secret,
  };
}

function tlsOf(urls: readonly URL[], caFile: string | undefined): RedisLogin["tls"] {
  if (urls[0]?.protocol !== "rediss:") return null;
  if (caFile === undefined) return { ca: undefined };
  try {
    return { ca: readFileSync(caFile, "utf8") };
  } catch (error) {
    throw new Error(`bus.tlsCaFile: ${caFile} cannot be read`, { cause: error });
  }
}

function credentialsOf(urls: readonly URL[], { username, password }: RedisOptions) {
  const named = urls.find((url) => url.username !== "" || url.password !== "");
  return {
    username: username ?? plain(named?.username),
    password: password ?? plain(named?.password),
  };
}

function plain(part: string | undefined): string | undefined {
  return part === undefined || part === "" ? undefined : decodeURIComponent(part);
}
