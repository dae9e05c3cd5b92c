// `prestart`: after this, `npm start` finds its dependencies, its Node and a current web app. Plain JavaScript for Node 20.
import { ensureInstalled, findRuntime, SetupError } from "./install.mjs";
import { ensureWebBuilt } from "./web-build.mjs";

try {
  ensureInstalled();
  findRuntime();
  ensureWebBuilt();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exit(1);
}
