import { createContext, createElement, type ReactNode, useContext, useSyncExternalStore } from "react";
import type { Client } from "./client.ts";
import type { ConnectionState } from "./connection.ts";
import { RoomStore, type RoomView } from "./room-store.ts";

export type { RoomView } from "./room-store.ts";

interface Shared {
  readonly client: Client;
  readonly subscribe: (listener: () => void) => () => void;
  readonly state: () => ConnectionState;
  /** By id. Why kept: all components in one room share what they show, and only the last one leaves it. */
  readonly rooms: Map<string, RoomStore>;
}

const ClientContext = createContext<Client | undefined>(undefined);
const sharedOf = new WeakMap<Client, Shared>();

/** Gives `client`, which the app has made with `connect` and closes itself, to the hooks below. */
export function ParleyProvider({
  client,
  children,
}: {
  readonly client: Client;
  readonly children?: ReactNode;
}): ReactNode {
  return createElement(ClientContext.Provider, { value: client }, children);
}

/** The client: for calls, and for events that no hook stands for. Throws outside of a `ParleyProvider`. */
export function useParley(): Client {
  const client = useContext(ClientContext);
  if (client === undefined) throw new Error("useParley needs a <ParleyProvider client={…}> above it");
  return client;
}

/** Whether the client is connected, and if not, why and until when. */
export function useConnection(): ConnectionState {
  const { subscribe, state } = share(useParley());
  return useSyncExternalStore(subscribe, state, state);
}

/**
 * The room, joined as long as a component that uses it is mounted; one that the app joins itself, before or meanwhile,
 * stays joined until `room.leave()`. On a server it is as before the join: empty.
 * What fails comes as `state: "closed"` with its `error`; `room.join()` then tries again for the components.
 */
export function useRoom(roomId: string): RoomView {
  const { client, rooms } = share(useParley());
  const store = rooms.get(roomId) ?? new RoomStore(client.room(roomId));
  rooms.set(roomId, store);
  return useSyncExternalStore(store.subscribe, store.view, store.view);
}

function share(client: Client): Shared {
  const known = sharedOf.get(client);
  if (known !== undefined) return known;
  const shared: Shared = {
    client,
    subscribe: (listener) => client.on("state", listener),
    state: () => client.state,
    rooms: new Map(),
  };
  sharedOf.set(client, shared);
  return shared;
}
