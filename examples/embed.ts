import { createServer } from "node:http";
import { createParley } from "@parley/server";
import { z } from "zod";

const server = createServer((_request, response) => response.end("Your own app answers here."));
const parley = await createParley({
  secret: process.env["PARLEY_AUTH_SECRET"], // signs the tokens that your login gives out
  access: ({ user, roomId }) => roomId === "lobby" || user.roles.includes("staff"),
});
parley.attach(server);
parley.on("connection", ({ user }) => console.log(`${user.id} is here`));
parley.on("order_pizza", z.object({ size: z.enum(["small", "large"]) }), async ({ size }, { user }) => {
  await parley.notifyUser(user.id, "pizza_ordered", { size });
  return { minutes: size === "small" ? 10 : 20 };
});
server.listen(process.env["PORT"] ?? 3000, () => console.log("listening on", server.address()));
