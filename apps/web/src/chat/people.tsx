import type { ReactNode } from "react";
import { Avatar } from "../ui/avatar.tsx";
import { texts } from "../ui/texts.ts";

const shownMax = 4;

/** Who is in the room: some faces, and how many there are. */
export function People({ people, count }: { people: readonly string[]; count: number }): ReactNode {
  if (count === 0) return null;
  return (
    <p className="people" title={people.join(", ")}>
      <span className="people-faces">
        {people.slice(0, shownMax).map((userId) => (
          <Avatar key={userId} userId={userId} size="small" />
        ))}
      </span>
      {texts.here(count)}
    </p>
  );
}
