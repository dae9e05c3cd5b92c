import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { type Config, resolveConfig } from "../../packages/server/src/config.ts";
import { repositoryRoot, spawnProgram, type TestProcess } from "./process.ts";

const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
const apiKey = "test-key-kP3vX9qLw7Zr";
const readySchema = z.object({ event: z.literal("node_ready"), public: z.string(), internal: z.string() });

/** `parley start` under another program (strace, a mount namespace), or with files of the tests preloaded. */
export interface WrappedServer extends AsyncDisposable {
  readonly config: Config;
  readonly url: string;
  readonly child: TestProcess;
  /** The server's own process, which may be a child of the wrapper's. */
  readonly pid: number;
  api(method: string, route: string, body?: object): Promise<unknown>;
  /** SIGTERM to the server itself; gives the exit code. */
  stop(): Promise<number | null>;
}

export interface WrappedServerOptions {
  /** Where the store is; exists, or is made by the wrapper. */
  readonly folder: string;
  /** The command that runs the server's own, which is appended to it. */
  readonly wrapper?: readonly string[];
  /** Names of files of `test/support` that the server's process imports first. */
  readonly preloaded?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

export async function startWrappedServer(options: WrappedServerOptions): Promise<WrappedServer> {
  const { folder, wrapper = [], preloaded = [], environment = {} } = options;
  const main = path.join(repositoryRoot, "packages/server/src/main.ts");
  const imports = preloaded.map(
    (name) => `--import=${pathToFileURL(path.join(repositoryRoot, "test/support", name)).href}`,
  );
  const own = [process.execPath, "--conditions=parley-source", ...imports, main, "start"];
  const [program, ...words] = [...wrapper, ...own];
  if (program === undefined) throw new Error("no program");
  const child = await spawnProgram(program, words, {
    environment: {
      PARLEY_SERVER_PORT: "0",
      PARLEY_INTERNAL_PORT: "0",
      PARLEY_SERVER_HOST: "127.0.0.1",
      PARLEY_STORE_PATH: folder,
      PARLEY_AUTH_SECRET: secret,
      PARLEY_API_KEYS: apiKey,
      ...environment,
    },
  });
  try {
    const [line = ""] = await child.waitForLine(/^.*"node_ready".*$/);
    const { public: url, internal } = readySchema.parse(JSON.parse(line));
    const pid = firstChildOf(child.pid) ?? child.pid;
    return {
      config: resolveConfig({ overrides: { auth: { secret } } }),
      url,
      child,
      pid,
      async stop() {
        process.kill(pid, "SIGTERM");
        return (await child.waitForExit()).code;
      },
      api: (method, route, body) => callApi(`${internal}/api/v1${route}`, method, body),
      [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
    };
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
}

function firstChildOf(pid: number): number | undefined {
  const [first = ""] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ");
  return first === "" ? undefined : Number(first);
}

/** Errors: rejects on any status from 400 on. */
async function callApi(url: string, method: string, body: object | undefined): Promise<unknown> {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetch(url, {
    method,
    headers: { authorization: `Bearer ${apiKey}`, ...json },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}
