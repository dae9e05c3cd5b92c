import { connect, isIP, type Socket, type TcpNetConnectOpts } from "node:net";
import { connect as connectSecurely } from "node:tls";

/** Where a client connects to, and from where. */
export interface Target {
  readonly host: string;
  readonly port: number;
  /** Over TLS. Certificates are believed as Node believes them: `NODE_EXTRA_CA_CERTS` names further authorities. */
  readonly tls?: boolean;
  /** Loopback addresses other than the first give more ephemeral ports than the 28,000 of one address. Undefined: the system chooses. */
  readonly sourceAddress: string | undefined;
}

// Why one buffer for all: each read is parsed before the next one begins, and a buffer per connection or per read
// would be the generator's largest cost. Larger than a socket's usual fill, so that one read empties it.
const readBuffer = Buffer.allocUnsafe(256 * 1024);

/** A connection whose reads are taken with `data`. */
export function openSocket(target: Target): Socket {
  return target.tls === true ? openSecurely(target) : connect(socketOptions(target));
}

/** A connection whose reads `onRead` gets: the first `bytes` of a buffer that is its own until it returns. */
export function openReading(target: Target, onRead: (buffer: Buffer, bytes: number) => void): Socket {
  if (target.tls === true)
    return openSecurely(target).on("data", (chunk: Buffer) => {
      onRead(chunk, chunk.length);
    });
  const callback = (bytes: number): boolean => {
    onRead(readBuffer, bytes);
    return true;
  };
  return connect({ ...socketOptions(target), onread: { buffer: readBuffer, callback } });
}

function openSecurely(target: Target): Socket {
  const { host } = target;
  // Why not always: an address is no name to ask a server for.
  const name = isIP(host) === 0 ? { servername: host } : {};
  return connectSecurely({ ...socketOptions(target), ...name, ALPNProtocols: ["http/1.1"] }).setNoDelay(true);
}

function socketOptions({ host, port, sourceAddress }: Target): TcpNetConnectOpts {
  return { host, port, noDelay: true, ...(sourceAddress === undefined ? {} : { localAddress: sourceAddress }) };
}

/** As the header `Host` has it. */
export function authorityOf({ host, port }: Target): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
