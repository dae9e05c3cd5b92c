import { type Store, StoreUnavailable } from "../../packages/server/src/store/store.ts";

/** A store as one node sees it, and the switch of its way there. */
export interface CutStore {
  readonly store: Store;
  /** While true, every call of this node rejects with `StoreUnavailable`; the other nodes' go on. */
  cut: boolean;
}

export function cutStore(whole: Store): CutStore {
  const switched = { cut: false };
  const store = new Proxy(whole, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown =>
        switched.cut ? Promise.reject(new StoreUnavailable("cut")) : Reflect.apply(value, target, args);
    },
  });
  return {
    store,
    get cut() {
      return switched.cut;
    },
    set cut(cut: boolean) {
      switched.cut = cut;
    },
  };
}
