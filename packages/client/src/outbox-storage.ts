import type { JsonValue } from "@parley/protocol";
import { isRecord } from "./errors.ts";

/** A message that was sent and is not yet acknowledged. `createdAt`: ISO 8601, the client's clock. */
export interface UnsentMessage {
  readonly clientId: string;
  readonly roomId: string;
  readonly text: string;
  readonly createdAt: string;
  readonly replyTo?: string;
  readonly data?: JsonValue;
}

/**
 * Keeps unsent messages, so that they survive a reload. One storage belongs to one user: what it holds is sent as
 * whoever connects with it. Rejections are reported as `storage_failed` and stop nothing.
 */
export interface OutboxStorage {
  /** What was put and not removed, in any order. */
  load(): Promise<readonly UnsentMessage[]>;
  put(message: UnsentMessage): Promise<void>;
  remove(clientId: string): Promise<void>;
}

/** The part of the browser's `Storage` that is needed. */
export interface KeyValueStorage {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/**
 * An outbox in `localStorage` or `sessionStorage`, one item per message, so that two tabs don't overwrite each other's.
 * `owner` names the user. Items that don't parse are ignored.
 */
export function webStorageOutbox(storage: KeyValueStorage, owner: string): OutboxStorage {
  const prefix = `parley:outbox:${owner}:`;
  return {
    // Why async functions: what the browser throws (storage full, or forbidden) becomes a rejection.
    async load() {
      const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index));
      return keys
        .filter((key) => key?.startsWith(prefix) === true)
        .flatMap((key) => parseUnsentMessage(key === null ? null : storage.getItem(key)));
    },
    async put(message) {
      storage.setItem(prefix + message.clientId, JSON.stringify(message));
    },
    async remove(clientId) {
      storage.removeItem(prefix + clientId);
    },
  };
}

function parseUnsentMessage(text: string | null): UnsentMessage[] {
  try {
    const value: unknown = JSON.parse(text ?? "null");
    return isUnsentMessage(value) ? [value] : [];
  } catch {
    return [];
  }
}

function isUnsentMessage(value: unknown): value is UnsentMessage {
  if (!isRecord(value)) return false;
  const { clientId, roomId, text, createdAt, replyTo } = value;
  return (
    [clientId, roomId, text, createdAt].every((field) => typeof field === "string") &&
    (replyTo === undefined || typeof replyTo === "string")
  );
}
