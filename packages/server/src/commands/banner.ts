import { type DevelopmentSession, developmentRoom } from "../http/development.ts";

export interface BannerContent {
  /** What a command line begins with. */
  readonly program: string;
  readonly version: string;
  readonly seconds: number;
  readonly publicUrl: string;
  readonly internalUrl: string;
  readonly adminLink: string;
  readonly storePath: string;
  /** Undefined where there is no secret to sign with. */
  readonly session: DevelopmentSession | undefined;
  readonly apiKey: string;
}

/** What `parley dev` prints when it is ready: everything to begin with, to be clicked or pasted. */
export function renderBanner(content: BannerContent): readonly string[] {
  const { publicUrl, internalUrl, session } = content;
  return [
    "",
    `Parley ${content.version} is ready after ${content.seconds.toFixed(1)} s, in development mode. Its data is in ${content.storePath}.`,
    "",
    `├─ Chat     ${publicUrl}/`,
    `├─ Admin    ${content.adminLink}`,
    `│           works once, within 10 minutes; another: ${content.program} token --admin`,
    `├─ API      ${internalUrl}/api/v1  (described by ${internalUrl}/api/openapi.json)`,
    `└─ Metrics  ${internalUrl}/metrics`,
    "",
    ...(session === undefined ? [] : renderTokens(session)),
    `Publish a message into ${developmentRoom}:`,
    "",
    `  ${curlOf(content)}`,
    "",
  ];
}

function renderTokens({ users }: DevelopmentSession): readonly string[] {
  return [
    "Tokens for development, good for 7 days:",
    "",
    ...users.map(({ userId, token }) => `  ${userId.padEnd(6)} ${token}`),
    "",
  ];
}

function curlOf({ internalUrl, apiKey }: BannerContent): string {
  return `curl -X POST ${internalUrl}/api/v1/rooms/${developmentRoom}/messages -H 'Authorization: Bearer ${apiKey}' -H 'Content-Type: application/json' -d '{"userId":"curl","text":"Hello from curl"}'`;
}
