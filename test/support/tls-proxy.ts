import { readFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { createServer } from "node:tls";
import type { CertificateFiles } from "./certificate.ts";

export interface TlsProxy extends AsyncDisposable {
  readonly port: number;
}

/** Speaks TLS on a port of 127.0.0.1, as a balancer does, and passes all to `port` in plain. */
export async function startTlsProxy(port: number, files: CertificateFiles): Promise<TlsProxy> {
  const [key, cert] = await Promise.all([readFile(files.key), readFile(files.certificate)]);
  const sockets = new Set<Socket>();
  const server = createServer({ key, cert }, (client) => {
    const target = connect({ host: "127.0.0.1", port, noDelay: true });
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the proxy has no port");
  return {
    port: address.port,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
