export type { Entry, LogId } from "./core/log.ts";
