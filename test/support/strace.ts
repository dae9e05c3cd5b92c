// What writes to files and sockets, and what syncs files.
const tracedCalls = "fsync,fdatasync,write,writev,pwrite64,pwritev,sendto,sendmsg";

/**
 * The command that runs a program under strace, which writes what `parseTrace` reads to `traceFile`. All threads are
 * followed, paths stand beside descriptors, and texts are not cut.
 */
export function straceCommand(traceFile: string, program: readonly string[]): readonly string[] {
  return ["strace", "-f", "-y", "-s", "1000000", "-e", `trace=${tracedCalls}`, "-o", traceFile, ...program];
}

interface SystemCall {
  readonly name: string;
  /** Arguments as strace prints them: a descriptor with its path, texts as in C. */
  readonly values: string;
  readonly result: string;
  /** Places in the trace. A call that ends at a place below another's start had returned before that one began. */
  readonly startedAt: number;
  readonly endedAt: number;
}

/** The calls of a trace, by the order of their ends. Calls that did not return are left out. */
export function parseTrace(trace: string): readonly SystemCall[] {
  const calls: SystemCall[] = [];
  const unfinished = new Map<string, Omit<SystemCall, "result" | "endedAt">>();
  for (const [place, line] of trace.split("\n").entries()) {
    const match = /^(\d+) +(<\.\.\. )?(\w+)(?: resumed>|\()(.*)$/.exec(line);
    if (match === null) continue;
    const [, thread = "", resumed, name = "", rest = ""] = match;
    const begun = resumed === undefined ? { name, values: rest, startedAt: place } : unfinished.get(thread);
    if (begun === undefined) continue;
    const values = resumed === undefined ? rest : begun.values + rest;
    if (rest.endsWith("<unfinished ...>")) {
      unfinished.set(thread, { ...begun, values: values.slice(0, -"<unfinished ...>".length) });
      continue;
    }
    unfinished.delete(thread);
    const result = /\) += (.*)$/.exec(rest)?.[1] ?? "";
    calls.push({ ...begun, values, result, endedAt: place });
  }
  return calls;
}

/** What is committed, and what says so to the client: texts of which each occurs for one message only. */
export interface Acknowledgement {
  readonly written: string;
  readonly acknowledged: string;
}

const fileWrites: ReadonlySet<string> = new Set(["write", "pwrite64", "pwritev", "writev"]);
const socketWrites: ReadonlySet<string> = new Set(["write", "writev", "sendto", "sendmsg"]);
const syncs: ReadonlySet<string> = new Set(["fsync", "fdatasync"]);

/**
 * LOG-1 in a trace: the acknowledgements that left before a file that holds what they acknowledge was synced (the write
 * had returned, and after it a sync of that file, both before the write to the socket began), or that never left.
 * Gives their `acknowledged`.
 */
export function unsyncedAcknowledgements(
  trace: string,
  acknowledgements: readonly Acknowledgement[],
): readonly string[] {
  const calls = parseTrace(trace);
  const unsynced = acknowledgements.filter(({ written, acknowledged }) => {
    const sent = calls.filter((call) => writesTo(call, "socket") && call.values.includes(inC(acknowledged)));
    const [first] = sent.toSorted((one, other) => one.startedAt - other.startedAt);
    return first === undefined || !isSyncedBefore(calls, written, first.startedAt);
  });
  return unsynced.map(({ acknowledged }) => acknowledged);
}

function isSyncedBefore(calls: readonly SystemCall[], written: string, place: number): boolean {
  const before = calls.filter((call) => call.endedAt < place);
  return before
    .filter((call) => writesTo(call, "file") && call.values.includes(inC(written)))
    .some((write) =>
      before.some(
        (sync) =>
          syncs.has(sync.name) &&
          sync.result === "0" &&
          sync.startedAt > write.endedAt &&
          pathOf(sync) === pathOf(write),
      ),
    );
}

function writesTo({ name, values }: SystemCall, what: "file" | "socket"): boolean {
  const isSocket = /^\d+<(?:socket|TCP|UNIX)/.test(values);
  return what === "socket" ? isSocket && socketWrites.has(name) : !isSocket && fileWrites.has(name);
}

function pathOf({ values }: SystemCall): string | undefined {
  return /^\d+<([^>]*)>/.exec(values)?.[1];
}

/** A text as it stands within a text of C. */
function inC(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}
