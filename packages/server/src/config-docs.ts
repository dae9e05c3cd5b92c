import { flagAliases } from "./config-layers.ts";
import { listSettings, type Setting } from "./config-settings.ts";

const introduction = `# Configuration

Written by \`parley config docs\` from the schema; a test checks that it is current.

Every setting has a name in the configuration file, an environment variable and a flag. Flags outrank the environment,
which outranks the file, which outranks the defaults. The file is \`parley.config.json\` in the working directory, or the one
named by \`--config\` or \`PARLEY_CONFIG\`. In variables and flags the items of a list are separated by commas, and an empty variable
counts as unset. A name that is unknown is an error. Secrets have no flag, because other users of the machine can see a
process's arguments. \`parley config check\` says what is wrong, \`parley config print\` what applies and where it comes from.

\`\`\`json
{ "server": { "port": 3000 }, "auth": { "issuer": "https://id.example.com" }, "origins": ["https://app.example.com"] }
\`\`\`

\`parley dev\` runs in development mode, \`parley start\` in production mode, which refuses to start without a secret or a JWKS.
`;

/** The reference of all settings, as Markdown. */
export function renderConfigDocs(): string {
  const settings = listSettings();
  const sections = new Map<string, Setting[]>();
  for (const setting of settings) {
    const title = setting.section ?? "(no section)";
    sections.set(title, [...(sections.get(title) ?? []), setting]);
  }
  const parts = [...sections].map(([title, entries]) => `## ${title}\n\n${entries.map(renderSetting).join("\n")}`);
  return [introduction, ...parts].join("\n");
}

function renderSetting(setting: Setting): string {
  const alias = Object.entries(flagAliases).find(([, flag]) => flag === setting.flag)?.[0];
  const flags = [setting.flag, alias].flatMap((flag) => (flag === null || flag === undefined ? [] : [`\`--${flag}\``]));
  const names = [`\`${setting.environment}\``, ...flags].join(", ");
  return `### \`${setting.name}\`\n\n${setting.description}\n\n- ${names}\n- ${describeValue(setting)}\n`;
}

function describeValue({ kind, fallback, developmentFallback, choices, minimum, maximum }: Setting): string {
  const range = [
    minimum === null || kind === "list" ? "" : `from ${minimum}`,
    maximum === null || maximum >= Number.MAX_SAFE_INTEGER ? "" : `to ${maximum}`,
  ].filter((bound) => bound !== "");
  const what = choices === null ? [kind, ...range].join(" ") : choices.map((choice) => `\`${choice}\``).join(", ");
  const development = developmentFallback === undefined ? "" : `, in development mode ${show(developmentFallback)}`;
  return `${what}; default: ${show(fallback)}${development}`;
}

function show(value: unknown): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return "none";
  if (typeof value === "string") return `\`${value}\``;
  return `\`${Array.isArray(value) ? value.join(",") : JSON.stringify(value)}\``;
}
