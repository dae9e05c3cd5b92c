import type { TcpNetConnectOpts } from "node:net";

/** Where a client connects to, and from where. */
export interface Target {
  readonly host: string;
  readonly port: number;
  /** Loopback addresses other than the first give more ephemeral ports than the 28,000 of one address. Undefined: the system chooses. */
  readonly sourceAddress: string | undefined;
}

/** What `net.connect` takes. */
export function socketOptions({ host, port, sourceAddress }: Target): TcpNetConnectOpts {
  return { host, port, noDelay: true, ...(sourceAddress === undefined ? {} : { localAddress: sourceAddress }) };
}

/** As the header `Host` has it. */
export function authorityOf({ host, port }: Target): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
