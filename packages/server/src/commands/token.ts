import { userIdSchema } from "@parley/protocol";
import { systemClock } from "../core/clock.ts";
import { createAdminTicket } from "../gateway/admin-session.ts";
import { rolesSchema } from "../gateway/token-claims.ts";
import { mintToken } from "../gateway/token-mint.ts";
import { createTokenVerifier } from "../gateway/token-verifier.ts";
import { urlOfPort } from "../http/port.ts";
import {
  type CommandContext,
  CommandFailed,
  type Run,
  tenantOption,
  textOption,
  textsOption,
  UsageError,
} from "./command.ts";
import { toolSettings } from "./settings.ts";

const secondsPerUnit: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };
const lifetimeSecondsMax = 3_650 * 86_400;

export const createToken: Run = async (context) => {
  const { options, print } = context;
  const user = userIdSchema.safeParse(textOption(options, "user"));
  if (!user.success) throw new UsageError("--user is needed: the id of the user");
  const roles = rolesSchema.safeParse(textsOption(options, "role"));
  if (!roles.success) throw new UsageError("--role is no role");
  const tenant = tenantOption(options);
  const request = {
    userId: user.data,
    roles: roles.data,
    lifetimeSeconds: readLifetime(textOption(options, "expires") ?? "1h"),
  };
  const { auth } = toolSettings(context).config;
  try {
    print(await mintToken(auth, systemClock, tenant === undefined ? request : { ...request, tenant }));
  } catch (error) {
    throw new CommandFailed(error instanceof Error ? error.message : String(error));
  }
  return 0;
};

export const checkToken: Run = async (context) => {
  const verifier = createTokenVerifier(toolSettings(context).config.auth, systemClock);
  const result = await verifier.verify(context.words[0]);
  if (!result.ok) throw new CommandFailed(`${result.code}: ${result.message}`);
  const { id, tenant, roles, expiresAt } = result.user;
  context.print(`user     ${JSON.stringify(id)}`);
  context.print(`tenant   ${tenant}`);
  context.print(`roles    ${roles.length === 0 ? "none" : roles.map((role) => JSON.stringify(role)).join(", ")}`);
  context.print(`expires  ${expiresAt === null ? "never" : new Date(expiresAt).toISOString()}`);
  return 0;
};

export const createAdminLink: Run = async (context: CommandContext) => {
  if (context.options["admin"] !== true) throw new UsageError("--admin is needed");
  const { config, adminSecret } = toolSettings(context);
  context.print(await adminLink(urlOfPort(config.internal), adminSecret));
  return 0;
};

/** Works once, within ten minutes. */
export async function adminLink(internalUrl: string, adminSecret: string): Promise<string> {
  return `${internalUrl}/admin#ticket=${await createAdminTicket(adminSecret, systemClock)}`;
}

function readLifetime(text: string): number {
  const [, amount = "", unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const seconds = Number(amount) * (secondsPerUnit[unit] ?? 0);
  if (seconds < 1 || seconds > lifetimeSecondsMax)
    throw new UsageError("--expires is a time like 30m, 12h or 7d, at most 10 years");
  return seconds;
}
