import { nearestName, parseSettingText, type Setting } from "./config-settings.ts";

/** The values that one source gives, by setting name, and what is wrong with it. */
export interface Layer {
  readonly source: string;
  readonly values: ReadonlyMap<string, unknown>;
  readonly problems: readonly string[];
}

/** Not a setting: where the file is. Read by the command line. */
export const configFileVariable = "PARLEY_CONFIG";

/** Short names of the flags that are typed by hand. */
export const flagAliases: Readonly<Record<string, string>> = {
  port: "server-port",
  host: "server-host",
  workers: "server-workers",
};

/** The only reader of an environment. */
export function readEnvironment(
  settings: readonly Setting[],
  environment: Readonly<Record<string, string | undefined>>,
): Layer {
  const byName = new Map(settings.map((setting) => [setting.environment, setting]));
  const texts = Object.entries(environment).flatMap(([name, text]) =>
    !name.startsWith("PARLEY_") ||
    text === undefined ||
    text === "" ||
    name === configFileVariable ||
    isServiceLink(name, text)
      ? []
      : [{ name, text, setting: byName.get(name) }],
  );
  return readTexts("the environment", texts, [...byName.keys()]);
}

// Why: Kubernetes gives every pod such variables for each service; one called `parley` or `parley-internal` must not
// keep the server from starting.
function isServiceLink(name: string, text: string): boolean {
  return (
    /_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$/.test(name) ||
    /_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name) ||
    (name.endsWith("_PORT") && /^(tcp|udp|sctp):\/\//.test(text))
  );
}

export function readFlags(settings: readonly Setting[], flags: Readonly<Record<string, string>>): Layer {
  const byFlag = new Map(settings.flatMap((setting) => (setting.flag === null ? [] : [[setting.flag, setting]])));
  const texts = Object.entries(flags).map(([flag, text]) => ({
    name: `--${flag}`,
    text,
    setting: byFlag.get(Object.hasOwn(flagAliases, flag) ? (flagAliases[flag] ?? flag) : flag),
  }));
  return readTexts(
    "a flag",
    texts,
    [...byFlag.keys()].map((flag) => `--${flag}`),
  );
}

interface GivenText {
  readonly name: string;
  readonly text: string;
  readonly setting: Setting | undefined;
}

function readTexts(source: string, texts: readonly GivenText[], known: readonly string[]): Layer {
  const values = new Map<string, unknown>();
  const problems: string[] = [];
  for (const { name, text, setting } of texts) {
    if (setting === undefined) {
      problems.push(`${name} is no setting${suggest(name, known)}`);
      continue;
    }
    const parsed = parseSettingText(setting.kind, text);
    if ("value" in parsed) values.set(setting.name, parsed.value);
    else problems.push(`${name} (${setting.name}): ${setting.secret ? "not of the form expected" : parsed.problem}`);
  }
  return { source, values, problems };
}

/** A parsed configuration file: sections as objects. `$schema` is for editors. */
export function readFile(settings: readonly Setting[], name: string, content: unknown): Layer {
  const known = settings.flatMap(({ section, name: path }) => (section === null ? [path] : [section, path]));
  if (!isObject(content)) return { source: name, values: new Map(), problems: [`${name} holds no JSON object`] };
  const { values, unknown } = flatten(settings, content);
  const problems = unknown
    .filter((path) => path !== "$schema")
    .map((path) => `${path} in ${name} is no setting${suggest(path, known)}`);
  return { source: name, values, problems };
}

/** Overrides are typed; a name that is unknown all the same is an error as in a file. */
export function readOverrides(settings: readonly Setting[], overrides: object): Layer {
  return readFile(settings, "the given settings", overrides);
}

function flatten(
  settings: readonly Setting[],
  content: object,
): { values: Map<string, unknown>; unknown: readonly string[] } {
  const known = new Set(settings.map((setting) => setting.name));
  const sections = new Set(settings.map((setting) => setting.section));
  const values = new Map<string, unknown>();
  const unknown: string[] = [];
  const take = (name: string, value: unknown) => (known.has(name) ? values.set(name, value) : unknown.push(name));
  for (const [key, value] of Object.entries(content)) {
    if (!sections.has(key)) take(key, value);
    else if (isObject(value)) for (const [inner, leaf] of Object.entries(value)) take(`${key}.${inner}`, leaf);
    else if (value !== undefined) unknown.push(key);
  }
  return { values, unknown };
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function suggest(name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known);
  return nearest === undefined ? "; `parley config docs` lists all" : `; did you mean ${nearest}?`;
}
