import { expect, test } from "vitest";
import { type KeyValueStorage, webStorageOutbox } from "./outbox-storage.ts";

function memoryStorage(entries: Record<string, string> = {}): KeyValueStorage & { readonly map: Map<string, string> } {
  const map = new Map(Object.entries(entries));
  return {
    map,
    get length() {
      return map.size;
    },
    key: (index) => [...map.keys()][index] ?? null,
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => void map.set(key, value),
    removeItem: (key) => void map.delete(key),
  };
}

const message = { clientId: "c1", roomId: "r", text: "hello", createdAt: "2030-01-01T00:00:00.000Z" };

test("what was put is loaded until it is removed, for its owner alone", async () => {
  const storage = memoryStorage();
  const ada = webStorageOutbox(storage, "ada");
  await ada.put(message);
  await ada.put({ ...message, clientId: "c2", replyTo: "m", data: [1] });
  expect(await ada.load()).toEqual([message, { ...message, clientId: "c2", replyTo: "m", data: [1] }]);
  expect(await webStorageOutbox(storage, "bob").load()).toEqual([]);
  await ada.remove("c1");
  expect((await ada.load()).map(({ clientId }) => clientId)).toEqual(["c2"]);
});

test("what is no message is ignored", async () => {
  const storage = memoryStorage({
    theme: "dark",
    "parley:outbox:ada:c1": "{",
    "parley:outbox:ada:c2": '{"clientId":"c2"}',
    "parley:outbox:ada:c3": "null",
    "parley:outbox:ada:c4": JSON.stringify({ ...message, replyTo: 5 }),
  });
  expect(await webStorageOutbox(storage, "ada").load()).toEqual([]);
});

test("a storage that throws gives a rejection", async () => {
  const storage = {
    ...memoryStorage(),
    setItem: () => {
      throw new Error("quota");
    },
  };
  await expect(webStorageOutbox(storage, "ada").put(message)).rejects.toThrow("quota");
});
