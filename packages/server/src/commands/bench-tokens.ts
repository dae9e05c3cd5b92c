import { readFileSync } from "node:fs";
import path from "node:path";
import type { Config } from "../config.ts";
import { systemClock } from "../core/clock.ts";
import { mintToken } from "../gateway/token-mint.ts";
import type { BenchPlan } from "./bench-plan.ts";
import { CommandFailed, UsageError } from "./command.ts";

/** Longer than any run. */
const lifetimeSeconds = 2 * 3_600;
const tokenPattern = /^[\w-]+\.[\w-]+\.[\w-]*$/;

/**
 * A token for each member, each of a user of its own (`bench-RUN-0` and so on), signed with the secret; or those of the file, one a
 * line, in turn. Errors: rejects with `CommandFailed` or `UsageError`.
 */
export async function tokensFor(
  plan: Pick<BenchPlan, "members" | "tenant" | "tokenFile">,
  { auth, folder, run }: { readonly auth: Config["auth"]; readonly folder: string; readonly run: string },
): Promise<readonly string[]> {
  if (plan.tokenFile !== undefined) return readTokens(path.resolve(folder, plan.tokenFile));
  if (auth.secret === undefined) {
    throw new CommandFailed(
      "there is no secret to sign the members' tokens with: set PARLEY_AUTH_SECRET as on the nodes; where tokens come from an identity provider (PARLEY_AUTH_JWKS_URL), let it make some and give them with --token-file FILE, one a line",
    );
  }
  const tokens: string[] = [];
  const request = { lifetimeSeconds, ...(plan.tenant === undefined ? {} : { tenant: plan.tenant }) };
  try {
    for (let member = 0; member < plan.members; member += 1)
      tokens.push(await mintToken(auth, systemClock, { ...request, userId: `bench-${run}-${member}` }));
  } catch (error) {
    throw new CommandFailed(error instanceof Error ? error.message : String(error));
  }
  return tokens;
}

function readTokens(file: string): readonly string[] {
  const lines = readLines(file);
  const tokens = lines.map((line) => line.trim()).filter((line) => line !== "");
  const wrong = lines.findIndex((line) => line.trim() !== "" && !tokenPattern.test(line.trim()));
  if (wrong !== -1) throw new UsageError(`--token-file ${file}: line ${wrong + 1} is no token`);
  if (tokens.length === 0) throw new UsageError(`--token-file ${file} has no token`);
  return tokens;
}

function readLines(file: string): readonly string[] {
  try {
    return readFileSync(file, "utf8").split("\n");
  } catch (error) {
    throw new UsageError(`--token-file cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}
