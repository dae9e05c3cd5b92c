export * from "./errors.ts";
export * from "./events.ts";
export * from "./http.ts";
export * from "./names.ts";
