import type { Config } from "../config.ts";
import { urlOfPort } from "../http/port.ts";
import type { Load } from "../load/measurement.ts";
import {
  type CommandContext,
  type CommandOptions,
  tenantOption,
  textOption,
  textsOption,
  UsageError,
} from "./command.ts";

/** A node as it was named, and what the generator connects to. */
export interface BenchNode {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
}

export interface BenchPlan {
  readonly nodes: readonly BenchNode[];
  /** Internal port of one of the nodes. */
  readonly apiUrl: string;
  readonly apiKey: string;
  readonly tenant: string | undefined;
  readonly tokenFile: string | undefined;
  readonly members: number;
  readonly rooms: number;
  readonly load: Load;
  readonly seconds: number;
  readonly json: boolean;
}

/** Protocols of a public port, and whether they are spoken over TLS. */
const secureProtocols: ReadonlyMap<string, boolean> = new Map([
  ["http:", false],
  ["ws:", false],
  ["https:", true],
  ["wss:", true],
]);
const nodesMax = 100;
const membersMax = 50_000;
const roomsMax = 10_000;
// Together less than the 10^8 messages of a room that the generator can number.
const rateMax = 50_000;
const secondsMax = 1_800;
const inFlightMax = 1_000;
const defaults = { members: 100, rooms: 10, rate: 100, seconds: 10 };

/** Errors: throws `UsageError`, which names the option. */
export function readPlan({ options }: Pick<CommandContext, "options">, config: Config): BenchPlan {
  const members = wholeNumber(options, "members", membersMax) ?? defaults.members;
  const rooms = wholeNumber(options, "rooms", roomsMax) ?? Math.min(defaults.rooms, members);
  if (rooms > members)
    throw new UsageError(`--rooms ${rooms} is more than --members ${members}: each room has a member`);
  const tenant = tenantOption(options);
  const apiUrl = textOption(options, "api-url") ?? urlOfPort(config.internal);
  if (!URL.canParse(apiUrl)) throw new UsageError("--api-url is an address like http://127.0.0.1:3001");
  const apiKey = textOption(options, "key") ?? config.api.keys[0];
  if (apiKey === undefined)
    throw new UsageError("rooms are made with an API key: set PARLEY_API_KEYS as on the nodes, or give --key");
  return {
    nodes: readNodes(options, config),
    apiUrl,
    apiKey,
    tenant,
    tokenFile: textOption(options, "token-file"),
    members,
    rooms,
    load: readLoad(options),
    seconds: wholeNumber(options, "seconds", secondsMax) ?? defaults.seconds,
    json: options["json"] === true,
  };
}

function readLoad(options: CommandOptions): Load {
  const rate = wholeNumber(options, "rate", rateMax);
  const inFlight = wholeNumber(options, "in-flight", inFlightMax);
  if (inFlight === undefined) return { kind: "fixed_rate", rate: rate ?? defaults.rate };
  if (rate !== undefined) throw new UsageError("--rate and --in-flight exclude each other");
  return { kind: "maximum", inFlight };
}

function readNodes(options: CommandOptions, { server }: Config): readonly BenchNode[] {
  const given = textsOption(options, "url");
  if (given.length > nodesMax) throw new UsageError(`--url is given ${nodesMax} times at most`);
  if (given.length === 0 && server.port === 0) throw new UsageError("--url is needed: the public port of a node");
  return (given.length === 0 ? [urlOfPort(server)] : given).map(readNode);
}

function readNode(text: string): BenchNode {
  const url = URL.parse(text);
  const isOrigin = url !== null && ["/", ""].includes(url.pathname + url.search + url.hash) && url.username === "";
  const tls = secureProtocols.get(url?.protocol ?? "");
  if (!isOrigin || tls === undefined)
    throw new UsageError(`--url ${JSON.stringify(text)} is not like http://10.0.0.1:3000 or wss://chat.example`);
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const usualPort = tls ? 443 : 80;
  return { url: url.origin, host, port: url.port === "" ? usualPort : Number(url.port), tls };
}

/** Undefined when the option was not given. Errors: throws `UsageError` unless it is a whole number from 1 to `max`. */
function wholeNumber(options: CommandOptions, name: string, max: number): number | undefined {
  const text = textOption(options, name);
  if (text === undefined) return undefined;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > max)
    throw new UsageError(`--${name} is a whole number from 1 to ${max.toLocaleString("en-US")}`);
  return value;
}
