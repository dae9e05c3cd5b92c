/**
 * What a command line of this program begins with, as it can be pasted into the shell that began the present one.
 * `file`: the module that the process runs.
 */
export function programName(file: string, env: Readonly<Record<string, string | undefined>>): string {
  // In the repository, where nothing is built, it is a script.
  if (file.endsWith(".ts")) return "npm run -s parley --";
  // Why: what npx finds is on no path.
  return env["npm_command"] === "exec" ? "npx parley" : "parley";
}
