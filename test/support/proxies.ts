import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { eventually } from "./eventually.ts";
import { findFreePort } from "./free-port.ts";
import { repositoryRoot, spawnNode, spawnProgram, type TestProcess } from "./process.ts";
import { createTemporaryFolder } from "./temporary-folder.ts";

export const proxyKinds = ["nginx", "haproxy"] as const;
export type ProxyKind = (typeof proxyKinds)[number];

export interface RunningProxy extends AsyncDisposable {
  readonly url: string;
  readonly child: TestProcess;
}

/** A real nginx or HAProxy in front of nodes, with the configuration that `parley nginx` or `parley haproxy` prints. */
export async function startProxy(kind: ProxyKind, nodeUrls: readonly string[]): Promise<RunningProxy> {
  await using opening = new AsyncDisposableStack();
  const folder = opening.use(await createTemporaryFolder());
  const port = await findFreePort();
  const printed = await printConfiguration(kind, nodeUrls, `127.0.0.1:${port}`);
  const child = opening.use(await starters[kind](folder.path, printed));
  const url = `http://127.0.0.1:${port}`;
  const welcome = `${url}/socket.io/?EIO=4&transport=polling`;
  await eventually(`${kind} to pass on`, async () => (await fetch(welcome)).ok || undefined);
  const opened = opening.move();
  return { url, child, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

const starters: Readonly<Record<ProxyKind, (folder: string, printed: string) => Promise<TestProcess>>> = {
  async nginx(folder, printed) {
    await writeFile(path.join(folder, "parley.conf"), printed);
    const whole = [
      "daemon off; master_process off; pid nginx.pid; error_log stderr warn;",
      "events { worker_connections 4096; }",
      "http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;",
      "  uwsgi_temp_path uwsgi; scgi_temp_path scgi; include parley.conf; }",
    ];
    await writeFile(path.join(folder, "nginx.conf"), whole.join("\n"));
    return spawnProgram(command("nginx"), ["-p", folder, "-c", path.join(folder, "nginx.conf")], { folder });
  },
  async haproxy(folder, printed) {
    const file = path.join(folder, "haproxy.cfg");
    await writeFile(file, printed);
    return spawnProgram(command("haproxy"), ["-db", "-f", file], { folder });
  },
};

async function printConfiguration(kind: ProxyKind, nodeUrls: readonly string[], listen: string): Promise<string> {
  const main = path.join(repositoryRoot, "packages/server/src/main.ts");
  const nodes = nodeUrls.flatMap((url) => ["--node", new URL(url).host]);
  await using child = await spawnNode([main, kind, ...nodes, "--listen", listen]);
  const { code } = await child.waitForExit();
  if (code !== 0) throw new Error(`parley ${kind} ended with ${code}: ${child.stderr}`);
  return child.stdout;
}

/** Debian keeps servers outside a user's PATH. */
function command(name: string): string {
  const system = `/usr/sbin/${name}`;
  return existsSync(system) ? system : name;
}
