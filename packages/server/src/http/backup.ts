import { randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import type { FastifyInstance } from "fastify";
import type { CallerCheck } from "./api-key.ts";

/**
 * `POST /api/v1/backup` answers with a copy of the running store, consistent as of one commit. It is sent, and not written
 * where the caller says: a key of the API gives no right to the server's files.
 */
export function registerBackup(
  app: FastifyInstance,
  checkCaller: CallerCheck,
  backup: (target: string) => Promise<void>,
  folder: string,
): void {
  app.post("/api/v1/backup", {
    schema: { summary: "Copy the running store", tags: ["node"] },
    onRequest: async (request) => {
      request.caller = await checkCaller(request.headers);
    },
    handler: async (_request, reply) => {
      const copy = path.join(folder, `backup-${randomUUID()}`);
      try {
        await backup(copy);
      } catch (error) {
        await rm(copy, { force: true, recursive: true });
        throw error;
      }
      const content = createReadStream(copy);
      // Also when the caller goes away half-way.
      content.once("close", () => void rm(copy, { force: true }));
      return reply.type("application/octet-stream").send(content);
    },
  });
}
