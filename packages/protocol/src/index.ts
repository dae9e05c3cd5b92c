export * from "./entries.ts";
export * from "./errors.ts";
export * from "./events.ts";
export * from "./http.ts";
export * from "./names.ts";
export * from "./parse.ts";
