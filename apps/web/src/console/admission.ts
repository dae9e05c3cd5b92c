import { tryStorage } from "../ui/try-storage.ts";

/** `locked`: there is no way in; `reason` where the server gave one. */
export type Admission =
  | { readonly kind: "token"; readonly token: string }
  | { readonly kind: "locked"; readonly reason: string | undefined };

const tokenKey = "parley:console";

/**
 * Trades the one-time ticket in the page's address for a token, or takes that of an earlier trade: a reload must not
 * need another link. Where the browser keeps nothing, admission lasts as long as the page. Never rejects.
 */
export async function findAdmission(): Promise<Admission> {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  // Why: a used ticket in the address would end up in bookmarks.
  history.replaceState(null, "", location.pathname + location.search);
  if (ticket !== null) return redeem(ticket);
  const token = tryStorage(() => sessionStorage.getItem(tokenKey)) ?? null;
  return token === null ? { kind: "locked", reason: undefined } : { kind: "token", token };
}

/** The token is of no more use. */
export function forgetAdmission(): void {
  tryStorage(() => sessionStorage.removeItem(tokenKey));
}

async function redeem(ticket: string): Promise<Admission> {
  try {
    const response = await fetch("admin/session", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ticket }),
    });
    const answer: unknown = await response.json();
    const token = textAt(answer, "token");
    if (!response.ok || token === undefined) return { kind: "locked", reason: reasonIn(answer) ?? response.statusText };
    tryStorage(() => sessionStorage.setItem(tokenKey, token));
    return { kind: "token", token };
  } catch (error) {
    return { kind: "locked", reason: String(error) };
  }
}

function reasonIn(answer: unknown): string | undefined {
  const isRefusal = typeof answer === "object" && answer !== null && "error" in answer;
  return textAt(isRefusal ? answer.error : answer, "message");
}

function textAt(value: unknown, key: "token" | "message"): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const found: unknown = Object.entries(value).find(([name]) => name === key)?.[1];
  return typeof found === "string" ? found : undefined;
}
