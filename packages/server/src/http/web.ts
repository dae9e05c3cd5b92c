import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import fastifyStatic from "@fastify/static";
import type { FastifyInstance } from "fastify";

// In the published package the page lies beside the built modules, in the repository where it is built.
const builtFolders = ["../web", "../../../../apps/web/dist"].map((folder) =>
  fileURLToPath(new URL(folder, import.meta.url)),
);

/** The folder of the built web app; undefined when it is not built. */
export function findWebFolder(): string | undefined {
  return builtFolders.find((folder) => existsSync(path.join(folder, "index.html")));
}

const contentPolicy = [
  "default-src 'self'",
  "img-src 'self' data: blob:",
  "font-src 'self' data:",
  "style-src 'self' 'unsafe-inline'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'self'",
].join("; ");

/** For every answer of a server whose pages a browser shows. */
export function protectPages(app: FastifyInstance): void {
  app.addHook("onRequest", async (_request, reply) => {
    reply.headers({
      "content-security-policy": contentPolicy,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    });
  });
}

/** Serves the page `entry` at `route`, and the scripts and styles that both pages share. */
export async function serveWeb(
  app: FastifyInstance,
  folder: string | undefined,
  route: string,
  entry: string,
): Promise<void> {
  if (folder === undefined) {
    app.get(route, { schema: { hide: true } }, (_request, reply) =>
      reply.code(503).type("text/plain").send("The web app is not built. In the repository: npm run build\n"),
    );
    return;
  }
  await app.register(fastifyStatic, {
    root: folder,
    prefix: "/",
    index: false,
    schemaHide: true,
    // Each port has its own page.
    allowedPath: (name) => !name.endsWith(".html") || name.replace(/^\//, "") === entry,
    cacheControl: false,
    setHeaders: (response, file) => {
      // Why: the names of built assets hold the hash of their content.
      const immutable = file.includes(`${path.sep}assets${path.sep}`);
      response.header("cache-control", immutable ? "public, max-age=31536000, immutable" : "no-cache");
    },
  });
  app.get(route, { schema: { hide: true } }, (_request, reply) =>
    reply.header("cache-control", "no-cache").sendFile(entry),
  );
}
