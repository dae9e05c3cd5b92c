import type { Failure } from "./call-failure.ts";
import type { Store } from "./store.ts";

/**
 * What passes between a store in another process and its users here: one request for each call of the port. Values
 * cross as structured clones, which keep what they are; so both sides share these types and parse nothing.
 */
export type Method = Exclude<keyof Store, typeof Symbol.asyncDispose>;

export type Arguments<M extends Method> = Parameters<Store[M]>;
export type Result<M extends Method> = Awaited<ReturnType<Store[M]>>;

/** The port as functions of their own types, for a call whose method is known when it runs. */
export type Calls = { readonly [M in Method]: (...values: Arguments<M>) => Promise<Result<M>> };

export type StoreRequest = {
  [M in Method]: { readonly id: number; readonly method: M; readonly values: Arguments<M> };
}[Method];

export type StoreAnswer =
  | {
      readonly id: number;
      readonly ok: true;
      /** What the method gives: `never` fits into each one's own type, which the caller knows. */
      readonly value: never;
    }
  | { readonly id: number; readonly ok: false; readonly failure: Failure };

/** The same where it is made. */
export type SettledCall =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | Extract<StoreAnswer, { ok: false }>;

/** As `StoreRequest` where it is made; that its values fit its method is known there. */
export interface UnsentCall {
  readonly id: number;
  readonly method: Method;
  readonly values: unknown;
}
