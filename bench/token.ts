import { createHmac } from "node:crypto";

/** HS256 tokens, each of a user of its own and valid for an hour, as the generator takes them: a user is a number. */
export function tokensOf(secret: string): (user: number) => string {
  return (user) => signToken(secret, `user-${String(user).padStart(5, "0")}`);
}

function signToken(secret: string, userId: string): string {
  const issuedAt = Math.floor(Date.now() / 1000);
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: userId, iat: issuedAt, exp: issuedAt + 3600 })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
