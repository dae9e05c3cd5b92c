import { createServer } from "node:net";
import { z } from "zod";
import { type Config, ConfigError } from "../config.ts";

/** Where the settings of a port are. */
export type PortSection = "server" | "internal";

const listenProblems: Readonly<Record<string, (port: number, host: string) => string>> = {
  EADDRINUSE: (port, host) => `port ${port} on ${host} is in use`,
  EACCES: (port) => `port ${port} needs more rights than this process has`,
  EADDRNOTAVAIL: (_port, host) => `${host} is no address of this machine`,
  ENOTFOUND: (_port, host) => `${host} is no address of this machine`,
};

const listenErrorSchema = z.object({ code: z.string() });

/** Why a port cannot be had, as a problem with its setting; undefined when it is no such error. */
export function listenProblem(error: unknown, section: PortSection, config: Config): ConfigError | undefined {
  const { port, host } = config[section];
  const parsed = listenErrorSchema.safeParse(error);
  if (parsed.success && parsed.data.code === "ENOTSUP") {
    return new ConfigError([
      "server.workers: this system does not spread the connections of one port over processes; set PARLEY_SERVER_WORKERS to 1",
    ]);
  }
  const describe = parsed.success ? listenProblems[parsed.data.code] : undefined;
  if (describe === undefined) return undefined;
  const setting = describe(port, host).startsWith("port") ? "PORT" : "HOST";
  return new ConfigError([
    `${section}.${setting.toLowerCase()}: ${describe(port, host)}; set PARLEY_${section.toUpperCase()}_${setting} to another`,
  ]);
}

/** `http://127.0.0.1:3000`: where this machine reaches the port. */
export function urlOfPort({ host, port }: { readonly host: string; readonly port: number }): string {
  const shown = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${shown.includes(":") ? `[${shown}]` : shown}:${port}`;
}

/**
 * The public port, for processes that will share it: a free one for 0. Listening alone for a moment shows that nobody
 * else does; processes that share a port would not notice.
 * Errors: rejects with `ConfigError`, naming the setting, when it cannot be had.
 */
export async function findPublicPort(config: Config): Promise<number> {
  const { port, host } = config.server;
  const probe = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      probe.once("error", reject);
      probe.listen({ port, host }, resolve);
    });
  } catch (error) {
    throw listenProblem(error, "server", config) ?? error;
  }
  const address = probe.address();
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  return typeof address === "object" && address !== null ? address.port : port;
}
