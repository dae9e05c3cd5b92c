// The official adapters, each as its README says. Loaded when asked for: the server in memory runs without them.

/** `memory`: Socket.IO's own, so none here. */
export async function createAdapterCalled(name, url) {
  if (name === "memory") return undefined;
  const { createClient } = await import("redis");
  const publisher = createClient({ url });
  publisher.on("error", (error) => console.error(error.message));
  await publisher.connect();
  if (name === "streams") {
    const { createAdapter: createStreamsAdapter } = await import("@socket.io/redis-streams-adapter");
    return createStreamsAdapter(publisher);
  }
  const subscriber = publisher.duplicate();
  subscriber.on("error", (error) => console.error(error.message));
  await subscriber.connect();
  const { createAdapter, createShardedAdapter } = await import("@socket.io/redis-adapter");
  return name === "sharded" ? createShardedAdapter(publisher, subscriber) : createAdapter(publisher, subscriber);
}
