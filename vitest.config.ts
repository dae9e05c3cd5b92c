import { defaultServerConditions } from "vite";
import { defineConfig } from "vitest/config";

// Why: the workspaces' packages are tested as they are written, without a build between.
const conditions = ["parley-source", ...defaultServerConditions];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: ["parley-source", "node"] } },
  test: {
    include: ["{packages,apps}/*/src/**/*.test.{ts,tsx}", "{test,bench,scripts}/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    pool: "forks",
    // Node's own resolution, for the workers and child processes that the code under test starts.
    execArgv: ["--conditions=parley-source"],
    maxWorkers: 2,
    retry: 0,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    dangerouslyIgnoreUnhandledErrors: false,
  },
});
