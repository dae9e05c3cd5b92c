import type { Config } from "../config.ts";
import { type CommandContext, type Run, textOption, textsOption, UsageError } from "./command.ts";
import { renderHaproxy } from "./proxy-haproxy.ts";
import { renderNginx } from "./proxy-nginx.ts";
import { load } from "./settings.ts";

/** What a balancer's configuration is written from. */
export interface ProxyPlan {
  /** `host:port` of the public port of each node. */
  readonly nodes: readonly string[];
  /** What the balancer listens on: a port, or `address:port`. */
  readonly listen: string;
  /** Longer than a healthy connection is ever silent. */
  readonly idleSeconds: number;
  readonly payloadBytesMax: number;
}

const marginSeconds = 15;
const nodePattern = /^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(?<port>[0-9]{1,5})$/;
const listenPattern = /^((\[[0-9a-fA-F:]+\]|[A-Za-z0-9._*-]+):)?(?<port>[0-9]{1,5})$/;

export const printNginx: Run = async (context) => print(context, renderNginx);
export const printHaproxy: Run = async (context) => print(context, renderHaproxy);

function print(context: CommandContext, render: (plan: ProxyPlan) => string): number {
  const { config } = load(context, "production", false);
  context.print(render(planOf(context, config)).trimEnd());
  return 0;
}

function planOf({ options }: CommandContext, { heartbeat, limits }: Config): ProxyPlan {
  const nodes = textsOption(options, "node");
  if (nodes.length === 0)
    throw new UsageError("name each node's public port: --node 10.0.0.1:3000 --node 10.0.0.2:3000");
  // Why checked: what is printed is run by a proxy, often as root.
  for (const node of nodes) checkAddress("--node", node, nodePattern, "10.0.0.1:3000");
  const listen = textOption(options, "listen") ?? "80";
  checkAddress("--listen", listen, listenPattern, "80 or 127.0.0.1:8080");
  const idleMs = heartbeat.pingIntervalMs + heartbeat.pingTimeoutMs;
  return {
    nodes,
    listen,
    idleSeconds: Math.ceil(idleMs / 1_000) + marginSeconds,
    payloadBytesMax: limits.payloadBytesMax,
  };
}

function checkAddress(option: string, given: string, pattern: RegExp, example: string): void {
  const port = Number(pattern.exec(given)?.groups?.["port"]);
  if (!(port >= 1 && port <= 65_535)) throw new UsageError(`${option} ${JSON.stringify(given)} is not like ${example}`);
}
