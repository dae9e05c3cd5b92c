/** Time, so that tests can simulate it. Everything in `core/` and `gateway/` takes time from here. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Milliseconds of a clock that never jumps, for measuring spans. */
  monotonic(): number;
  /** Calls once after `ms`; the returned function cancels. A waiting timer does not keep the process alive. */
  after(ms: number, callback: () => void): () => void;
  /** Calls once when the present turn of the event loop has read its sockets. Not cancellable. */
  immediate(callback: () => void): void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
  immediate: (callback) => {
    setImmediate(callback);
  },
};
