// The official adapters, each as its README says.
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";

/** `memory`: Socket.IO's own, so none here. */
export async function createAdapterCalled(name, url) {
  if (name === "memory") return undefined;
  const publisher = createClient({ url });
  publisher.on("error", (error) => console.error(error.message));
  await publisher.connect();
  if (name === "streams") return createStreamsAdapter(publisher);
  const subscriber = publisher.duplicate();
  subscriber.on("error", (error) => console.error(error.message));
  await subscriber.connect();
  return name === "sharded" ? createShardedAdapter(publisher, subscriber) : createAdapter(publisher, subscriber);
}
