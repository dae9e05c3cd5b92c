/** A unit file of systemd, as far as `deploy/` uses one. */
export interface UnitFile {
  /** Sections, keys and values that systemd would not take. */
  readonly problems: readonly string[];
  /** Errors: throws when the key is not there. */
  value(section: string, key: string): string;
}

const yesNo = /^(yes|no)$/;
const seconds = /^[0-9]+$/;
const anyText = /^\S.*$/;
const absolute = /^\/\S+$/;
const name = /^[a-z][a-z0-9-]*$/;
const units = /^([a-z0-9-]+\.(target|service))( [a-z0-9-]+\.(target|service))*$/;

// https://www.freedesktop.org/software/systemd/man/latest/systemd.directives.html, of systemd 250 or later: what we use, strictly.
const keys: Readonly<Record<string, Readonly<Record<string, RegExp>>>> = {
  Unit: {
    Description: anyText,
    Documentation: /^(https?|file|man):\S+$/,
    After: units,
    Wants: units,
    StartLimitIntervalSec: seconds,
  },
  Service: {
    Type: /^(simple|exec|notify)$/,
    User: name,
    Group: name,
    WorkingDirectory: absolute,
    StateDirectory: name,
    StateDirectoryMode: /^0[0-7]{3}$/,
    EnvironmentFile: absolute,
    ExecStart: /^\/\S+( \S+)*$/,
    Restart: /^(no|always|on-failure)$/,
    RestartSec: seconds,
    KillSignal: /^SIG[A-Z]+$/,
    KillMode: /^(control-group|mixed|process)$/,
    TimeoutStopSec: seconds,
    LimitNOFILE: seconds,
    UMask: /^0[0-7]{3}$/,
    NoNewPrivileges: yesNo,
    CapabilityBoundingSet: /^$/,
    AmbientCapabilities: /^$/,
    ProtectSystem: /^(yes|full|strict)$/,
    ProtectHome: yesNo,
    PrivateTmp: yesNo,
    PrivateDevices: yesNo,
    ProtectClock: yesNo,
    ProtectControlGroups: yesNo,
    ProtectHostname: yesNo,
    ProtectKernelLogs: yesNo,
    ProtectKernelModules: yesNo,
    ProtectKernelTunables: yesNo,
    ProtectProc: /^(noaccess|invisible|ptraceable)$/,
    RestrictAddressFamilies: /^AF_[A-Z0-9]+( AF_[A-Z0-9]+)*$/,
    RestrictNamespaces: yesNo,
    RestrictRealtime: yesNo,
    RestrictSUIDSGID: yesNo,
    RemoveIPC: yesNo,
    LockPersonality: yesNo,
    SystemCallArchitectures: /^native$/,
    SystemCallFilter: /^@[a-z-]+$/,
    SystemCallErrorNumber: /^E[A-Z]+$/,
  },
  Install: { WantedBy: units },
};

export function readUnit(text: string): UnitFile {
  const problems: string[] = [];
  const values = new Map<string, string>();
  let section = "";
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const header = /^\[(.+)\]$/.exec(line);
    if (header !== null) {
      section = header[1] ?? "";
      if (keys[section] === undefined) problems.push(`unknown section ${section}`);
      continue;
    }
    const [, key = "", value = ""] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
    const id = `${section}.${key}`;
    if (keys[section]?.[key]?.test(value) !== true) problems.push(`${id}=${value} is none that is known`);
    if (values.has(id)) problems.push(`${id} stands there twice`);
    values.set(id, value);
  }
  return {
    problems,
    value(inSection, key) {
      const found = values.get(`${inSection}.${key}`);
      if (found === undefined) throw new Error(`there is no ${key} in [${inSection}]`);
      return found;
    },
  };
}
