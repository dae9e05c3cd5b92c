import type { ReactNode } from "react";

const paths = {
  send: "M4 12l16-8-5 16-3.5-6.5L4 12z M11.5 13.5L20 4",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clock: "M12 7v5l3 2 M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z",
  alert: "M12 8v5 M12 16.5v.01 M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z",
  down: "M12 5v13 M6 12.5l6 6 6-6",
  up: "M12 19V6 M6 11.5l6-6 6 6",
  close: "M6 6l12 12 M18 6L6 18",
  megaphone: "M4 10v4h3l8 4.5v-13L7 10H4z M18.5 9.5a4 4 0 0 1 0 5 M8 14.5l1 5h2.5l-1-4",
  bell: "M6 16.5V11a6 6 0 0 1 12 0v5.5l1.5 1.5h-15L6 16.5z M10 20.5h4",
} as const;

export type IconName = keyof typeof paths;

/** Decoration: what it means is said in words beside it. */
export function Icon({ name }: { name: IconName }): ReactNode {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}
