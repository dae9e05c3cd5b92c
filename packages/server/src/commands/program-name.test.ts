import { expect, test } from "vitest";
import { programName } from "./program-name.ts";

test("a command line begins as the present one did: in the repository, by npx, installed", () => {
  expect(programName("/parley/packages/server/src/main.ts", { npm_command: "run" })).toBe("npm run -s parley --");
  expect(programName("/app/node_modules/@parley/server/dist/main.js", { npm_command: "exec" })).toBe("npx parley");
  expect(programName("/app/node_modules/@parley/server/dist/main.js", {})).toBe("parley");
});
