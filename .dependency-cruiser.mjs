// Which module may import which. The layers are explained in ARCHITECTURE.md.
const tests = "\\.(test|contract)\\.tsx?$";
const server = "^packages/server/src/";
const ports = ["core/", "store/store\\.ts$", "bus/bus\\.ts$", "gateway/connection\\.ts$"];
const protocol = "^packages/protocol/src/";

/** @type {import("dependency-cruiser").IConfiguration} */
export default {
  forbidden: [
    {
      name: "core-imports-ports-only",
      comment:
        "core/ decides and does no I/O: it imports itself, the ports and the protocol; ids.ts also what makes ids.",
      severity: "error",
      from: { path: `${server}core/`, pathNot: [tests, `${server}core/ids\\.ts$`] },
      to: { pathNot: [...ports.map((port) => server + port), protocol] },
    },
    {
      name: "store-is-a-port",
      comment: "Only compose.ts and those beside it (compose-….ts) name an implementation of the store.",
      severity: "error",
      from: { path: "^packages/", pathNot: [`${server}store/`, `${server}compose[a-z-]*\\.ts$`, tests] },
      to: { path: `${server}store/`, pathNot: `${server}store/store\\.ts$` },
    },
    {
      name: "bus-is-a-port",
      comment: "Only compose.ts and those beside it (compose-….ts) name an implementation of the bus.",
      severity: "error",
      from: { path: "^packages/", pathNot: [`${server}bus/`, `${server}compose[a-z-]*\\.ts$`, tests] },
      to: { path: `${server}bus/`, pathNot: `${server}bus/bus\\.ts$` },
    },
    {
      name: "implementations-import-inward",
      comment: "A store or bus knows nothing of gateways, HTTP or the command line.",
      severity: "error",
      from: { path: `${server}(store|bus)/`, pathNot: tests },
      to: { path: server, pathNot: [`${server}(store|bus)/`, ...ports.map((port) => server + port)] },
    },
    {
      name: "load-meets-the-wire-only",
      comment: "The load generator sees a server as clients do, and loads others than Parley, too.",
      severity: "error",
      from: { path: `${server}load/`, pathNot: tests },
      to: { path: "^packages/", pathNot: `${server}load/` },
    },
    {
      name: "protocol-imports-zod-only",
      comment: "The contract runs everywhere and depends on nothing but its schema library.",
      severity: "error",
      from: { path: protocol, pathNot: tests },
      to: { pathNot: [protocol, "node_modules/zod/"] },
    },
    {
      name: "browser-code-imports-no-node",
      comment: "The client and the web app run in browsers.",
      severity: "error",
      from: { path: "^(packages/client|apps/web)/src/", pathNot: tests },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "client-knows-no-server",
      comment: "The client meets the server on the wire only.",
      severity: "error",
      from: { path: "^packages/client/src/", pathNot: tests },
      to: { path: "^(packages/server|apps)/" },
    },
    {
      name: "web-is-built-on-the-client",
      comment: "The web app uses what every user of the client has, and nothing of the server.",
      severity: "error",
      from: { path: "^apps/web/src/", pathNot: tests },
      to: { path: ["^packages/(server|protocol)/", "node_modules/(socket\\.io|engine\\.io|zod)"] },
    },
    {
      name: "only-declared-entries",
      comment: "Another package is imported by its name, through the entries that it exports.",
      severity: "error",
      from: { path: "^(packages|apps)/([^/]+)/" },
      to: { path: "^(packages|apps)/[^/]+/src/", pathNot: "^$1/$2/", dependencyTypes: ["local"] },
    },
    {
      name: "no-test-in-production",
      comment: "What ships does not import what tests it.",
      severity: "error",
      from: { path: "^(packages|apps)/", pathNot: tests },
      to: { path: [tests, "^test/", "node_modules/(vitest|fast-check)/"] },
    },
    {
      name: "no-cycles",
      comment: "A cycle has no inside. Types may refer to each other: a feed knows its subscribers, and they know it.",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "no-unresolvable",
      comment: "An import that the tool cannot follow is one that it cannot check.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(packages|apps)/[^/]+/dist/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["parley-source", "types", "import", "node", "default"],
      extensions: [".ts", ".tsx", ".mjs", ".js", ".json", ".css"],
    },
  },
};
