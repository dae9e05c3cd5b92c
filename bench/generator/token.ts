import { createHmac } from "node:crypto";

/** An HS256 token for `userId`, valid for an hour. */
export function signToken(secret: string, userId: string): string {
  const issuedAt = Math.floor(Date.now() / 1000);
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: userId, iat: issuedAt, exp: issuedAt + 3600 })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
