import type { CSSProperties, ReactNode } from "react";

/** A user's initial on a colour of their own. Decoration: the name stands beside it. */
export function Avatar({
  userId,
  size = "medium",
}: {
  userId: string;
  size?: "small" | "medium" | "large";
}): ReactNode {
  return (
    <span className="avatar" data-size={size} style={hueOf(userId)} aria-hidden="true">
      {initialOf(userId)}
    </span>
  );
}

/** The user's colour, for styles that take `--hue`. */
export function hueOf(userId: string): CSSProperties {
  const properties: CSSProperties & { "--hue": number } = { "--hue": hashOf(userId) % 360 };
  return properties;
}

function initialOf(userId: string): string {
  const [letter] = userId.replace(/^[^\p{L}\p{N}]+/u, "");
  return letter === undefined ? "?" : letter.toLocaleUpperCase();
}

// FNV-1a, then a step that sets neighbouring names (`user-1`, `user-2`) far apart on the circle.
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const char of text) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return Math.imul(hash, 137) >>> 8;
}
