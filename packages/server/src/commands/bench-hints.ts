import type { Refusal, RefusalCode } from "../load/rules.ts";
import type { BenchResult } from "./bench-report.ts";

const reasonsShown = 3;

/** What to do about a connection that was not made or not kept. The first one that matches. */
const connectionHints: readonly (readonly [reason: RegExp, hint: string])[] = [
  [/Invalid namespace/, "that is the node's internal port: --url is the public one, 3000 unless set otherwise"],
  [
    /CONNECT refused/,
    "the nodes refuse the tokens: PARLEY_AUTH_SECRET and the other PARLEY_AUTH_… settings must be theirs, or give tokens of theirs with --token-file",
  ],
  [/ECONNREFUSED/, "nothing listens there: --url is the public port of a node, 3000 unless set otherwise"],
  [/ENOTFOUND|EAI_AGAIN/, "there is no such host"],
  [
    /CERT|SELF_SIGNED|UNABLE_TO_VERIFY/,
    "the certificate is not believed: name the file of the authority that signed it in NODE_EXTRA_CA_CERTS",
  ],
  [/ERR_SSL|EPROTO/, "what listens there speaks no TLS: --url is like http://10.0.0.1:3000 then"],
  [/EADDRNOTAVAIL/, "this machine has no more ports to connect from: name more nodes, or use more machines"],
  [/EMFILE|ENFILE/, "too many open files: ulimit -n"],
  [/status 503/, "the node is full (PARLEY_LIMITS_CONNECTIONS_MAX) or about to stop"],
  [/upgrade: status/, "that is no Parley node: --url is the public port of one, 3000 unless set otherwise"],
  [/join_room refused/, "the access policy must let these users into public rooms"],
  [/not joined within/, "the nodes do not keep up with arrivals, or what listens there is none"],
  [/closed with/, "with few tokens, PARLEY_LIMITS_CONNECTIONS_PER_USER_MAX may be why; the nodes' logs say more"],
  [/closed by|ECONNRESET|EPIPE/, "the node has gone, or something between here and there"],
];

/** The most frequent reasons, and what to do about them. */
export function explainFailures(failures: ReadonlyMap<string, number>): string {
  const worst = [...failures].toSorted((a, b) => b[1] - a[1]).slice(0, reasonsShown);
  return worst
    .map(([reason, times]) => {
      const hint = connectionHints.find(([pattern]) => pattern.test(reason))?.[1];
      return `${times} × ${reason}${hint === undefined ? "" : ` (${hint})`}`;
    })
    .join("; ");
}

const ownLimit =
  "this process did not keep up: the figures say less of the nodes than of this machine; give it one of its own, or run several at once";
const warningHints: Partial<Record<RefusalCode, string>> = {
  generator_at_its_limit: ownLimit,
  generator_late: ownLimit,
  too_long: "the nodes fell behind: lower the load",
};

/** Beginning with a semicolon where there is one. */
export function hintOf({ code }: Refusal, result: BenchResult): string {
  const hint = code === "sends_refused" ? refusedHint(result) : warningHints[code];
  return hint === undefined ? "" : `; ${hint}`;
}

function refusedHint({ refused, rate, rooms }: BenchResult): string {
  const codes = Object.entries(refused)
    .map(([code, times]) => `${times} × ${code}`)
    .join(", ");
  if (refused["rate_limited"] !== undefined) {
    const each = rate === null ? "as fast as it is served" : `${(rate / rooms).toFixed(1)}/s`;
    return `${codes}: each room has one sender, which sends ${each} here; for more, raise PARLEY_LIMITS_EVENTS_PER_SECOND, PARLEY_LIMITS_EVENTS_BURST, PARLEY_LIMITS_USER_EVENTS_PER_SECOND and PARLEY_LIMITS_USER_EVENTS_BURST on the nodes, or give more --rooms`;
  }
  return refused["overloaded"] === undefined ? codes : `${codes}: the store does not keep up; lower the load`;
}
