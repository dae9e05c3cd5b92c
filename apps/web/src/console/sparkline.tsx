import type { ReactNode } from "react";

const width = 120;
const height = 32;

/** A small line of the recent past. Decoration: the present value stands beside it. */
export function Sparkline({ values }: { values: readonly number[] }): ReactNode {
  const points = pointsOf(values);
  return (
    <svg className="sparkline" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
      <polygon points={`0,${height} ${points} ${width},${height}`} />
      <polyline points={points} />
    </svg>
  );
}

/** From the left edge to the right one; the highest value near the top, 0 at the bottom. */
function pointsOf(values: readonly number[]): string {
  const shown = values.length > 1 ? values : [values[0] ?? 0, values[0] ?? 0];
  const highest = Math.max(...shown, 1);
  const stepX = width / (shown.length - 1);
  return shown.map((value, index) => `${index * stepX},${height - 1 - (value / highest) * (height - 4)}`).join(" ");
}
