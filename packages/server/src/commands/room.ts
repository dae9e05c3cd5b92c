import { RefusalError, roomAccessSchema, roomIdSchema } from "@parley/protocol";
import type { RoomDescription } from "../core/operations.ts";
import { developmentRoom } from "../http/development.ts";
import { urlOfPort } from "../http/port.ts";
import { createLog } from "../log.ts";
import { NoNode, remoteRooms, type RoomOperations } from "./api-rooms.ts";
import { type CommandContext, CommandFailed, type Run, tenantOption, textOption, UsageError } from "./command.ts";
import { modeOf, toolSettings } from "./settings.ts";

const pageLimit = 500;

export const createRoom: Run = async (context) => {
  const access = roomAccessSchema.optional().safeParse(textOption(context.options, "access"));
  if (!access.success) throw new UsageError("--access is public or members");
  const retain = textOption(context.options, "retain");
  if (retain !== undefined && !/^\d{1,15}$/.test(retain))
    throw new UsageError("--retain is a number of entries; 0 keeps all");
  const settings = {
    ...(access.data === undefined ? {} : { access: access.data }),
    ...(retain === undefined ? {} : { retainEntriesMax: Number(retain) }),
  };
  const roomId = roomOf(context);
  const room = await withRooms(context, (rooms) => rooms.putRoom({ ...tenantOf(context), roomId, ...settings }));
  context.print(describe(room));
  return 0;
};

export const listRooms: Run = async (context) => {
  const names = new Set<string>();
  await withRooms(context, async (rooms) => {
    for (let after: string | undefined = ""; after !== undefined; ) {
      const page: readonly RoomDescription[] = await rooms.rooms({
        ...tenantOf(context),
        ...(after === "" ? {} : { after }),
        limit: pageLimit,
      });
      for (const room of page) {
        names.add(room.roomId);
        context.print(describe(room));
      }
      after = page.length < pageLimit ? undefined : page.at(-1)?.roomId;
    }
  });
  // Why as errors: who reads the list by a program gets rooms alone.
  if (names.size === 0) context.printError("There are no rooms.");
  if (isOpenUnlisted(context, names))
    context.printError(`${developmentRoom} is open to every user in development mode, and not listed.`);
  return 0;
};

function isOpenUnlisted(context: CommandContext, listed: ReadonlySet<string>): boolean {
  const isOwnNode = ["url", "tenant"].every((name) => textOption(context.options, name) === undefined);
  return isOwnNode && modeOf(context) === "development" && !listed.has(developmentRoom);
}

export const deleteRoom: Run = async (context) => {
  const roomId = roomOf(context);
  await withRooms(context, (rooms) => rooms.deleteRoom({ ...tenantOf(context), roomId }));
  context.print(`Deleted ${JSON.stringify(roomId)}.`);
  return 0;
};

/**
 * Asks the running node, by its API. Where none runs on this machine (and none is named by `--url`), the store is opened
 * for the moment: by a node on free ports.
 */
async function withRooms<Result>(
  context: CommandContext,
  use: (rooms: RoomOperations) => Promise<Result>,
): Promise<Result> {
  const { config, adminSecret } = toolSettings(context);
  const url = textOption(context.options, "url");
  const key = textOption(context.options, "key") ?? config.api.keys[0];
  const address = url ?? urlOfPort(config.internal);
  if (!URL.canParse(address)) throw new UsageError("--url is an address like http://127.0.0.1:3001");
  try {
    return await use(remoteRooms(address, key ?? ""));
  } catch (error) {
    if (error instanceof RefusalError) throw new CommandFailed(`${error.code}: ${error.message}`);
    if (!(error instanceof NoNode)) throw error;
    if (url !== undefined) throw new CommandFailed(error.message);
  }
  const { startNode } = await context.compose();
  const own = {
    ...config,
    server: { ...config.server, host: "127.0.0.1", port: 0 },
    internal: { host: "127.0.0.1", port: 0 },
  };
  const node = await startNode(own, {
    log: createLog({ ...config.log, level: "error" }, () => undefined),
    adminSecret,
  });
  try {
    return await use(node.operations);
  } catch (error) {
    throw error instanceof RefusalError ? new CommandFailed(`${error.code}: ${error.message}`) : error;
  } finally {
    await node.stop();
  }
}

function roomOf({ words: [name] }: CommandContext): string {
  const room = roomIdSchema.safeParse(name);
  if (!room.success) throw new UsageError(room.error.issues[0]?.message ?? "the room has no name");
  return room.data;
}

function tenantOf({ options }: CommandContext): { tenant?: string } {
  const tenant = tenantOption(options);
  return tenant === undefined ? {} : { tenant };
}

function describe({ roomId, access, retainEntriesMax, head, floor, createdAt }: RoomDescription): string {
  const kept = retainEntriesMax === 0 ? "keeps all" : `keeps ${retainEntriesMax}`;
  return `${JSON.stringify(roomId)}  ${access}  entries ${floor}–${head}, ${kept}  since ${createdAt}`;
}
