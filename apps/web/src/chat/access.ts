import type { ChatUser } from "./chat-session.ts";

/** `users`: development mode lets everybody in as these. `form`: a token must be given. */
export type Access = { readonly kind: "users"; readonly users: readonly ChatUser[] } | { readonly kind: "form" };

interface DevelopmentSession {
  readonly roomId: string;
  readonly users: readonly { readonly userId: string; readonly token: string }[];
}

/** Asks the server whether it runs in development mode. Never rejects. */
export async function findAccess(): Promise<Access> {
  const session = await fetchDevelopmentSession();
  if (session === undefined || session.users.length === 0) return { kind: "form" };
  const { roomId } = session;
  return { kind: "users", users: session.users.map(({ userId, token }) => developmentUser(roomId, userId, token)) };
}

/** Who the form lets in. The name is read from the token, to tell this user's messages from others'; the server checks it. */
export function tokenUser(token: string, roomId: string): ChatUser {
  return { userId: subjectOf(token), roomId, getToken: () => Promise.resolve(token) };
}

function developmentUser(roomId: string, userId: string, token: string): ChatUser {
  let first: string | undefined = token;
  const getToken = async (): Promise<string> => {
    const given = first;
    first = undefined;
    if (given !== undefined) return given;
    const session = await fetchDevelopmentSession();
    const fresh = session?.users.find((user) => user.userId === userId);
    if (fresh === undefined) throw new Error("The server gave no new token");
    return fresh.token;
  };
  return { userId, roomId, getToken };
}

async function fetchDevelopmentSession(): Promise<DevelopmentSession | undefined> {
  try {
    const response = await fetch("dev/session", { headers: { accept: "application/json" } });
    const session: unknown = response.ok ? await response.json() : undefined;
    return isDevelopmentSession(session) ? session : undefined;
  } catch {
    return undefined;
  }
}

function isDevelopmentSession(value: unknown): value is DevelopmentSession {
  if (typeof value !== "object" || value === null || !("roomId" in value) || !("users" in value)) return false;
  return typeof value.roomId === "string" && Array.isArray(value.users) && value.users.every(isUser);
}

function isUser(value: unknown): boolean {
  if (typeof value !== "object" || value === null || !("userId" in value) || !("token" in value)) return false;
  return typeof value.userId === "string" && typeof value.token === "string";
}

function subjectOf(token: string): string {
  try {
    const [, payload = ""] = token.split(".");
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (char) =>
      char.charCodeAt(0),
    );
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null && "sub" in claims ? String(claims.sub) : "";
  } catch {
    return "";
  }
}
