import type { Bar, Panel } from "./chart.ts";
import type { Row } from "./run-report.ts";
import type { Workload } from "./workloads/workload.ts";

type Charted = Pick<Workload, "name" | "title" | "charted" | "curve">;

/** What of some workloads' rows is drawn: the metrics that each is about, else its first one; and each curve in one panel. */
export function panelsOf(workloads: readonly Charted[], rows: readonly Row[]): readonly Panel[] {
  const curves = new Set<string>();
  return workloads.flatMap((workload): readonly Panel[] => {
    if (workload.curve === undefined) return panelsOfMetrics(workload, rows);
    const { name } = workload.curve;
    if (curves.has(name)) return [];
    curves.add(name);
    return [panelOfCurve(workload, workload.curve, workloads, rows)];
  });
}

function panelsOfMetrics({ name, title, charted }: Charted, rows: readonly Row[]): readonly Panel[] {
  const own = rows.filter(({ workload }) => workload === name);
  const metrics = charted ?? own.slice(0, 1).map(({ metric }) => metric);
  return metrics.map((metric) => ({
    name: `${name}: ${metric}`,
    title,
    bars: own.filter((row) => row.metric === metric).map((row) => ({ label: row.server, row })),
  }));
}

/** One bar for each size, server by server, so that they can be compared by eye: a cliff is a step between two of them. */
function panelOfCurve(
  { title }: Charted,
  { name, metric }: NonNullable<Charted["curve"]>,
  workloads: readonly Charted[],
  rows: readonly Row[],
): Panel {
  const members = new Set(workloads.filter(({ curve }) => curve?.name === name).map((workload) => workload.name));
  const begin = `${metric}, `;
  const own = rows.filter((row) => members.has(row.workload) && row.metric.startsWith(begin));
  const servers = [...new Set(own.map(({ server }) => server))];
  const bars = servers.flatMap((server): readonly Bar[] =>
    own
      .filter((row) => row.server === server)
      .map((row) => {
        const size = row.metric.slice(begin.length);
        return { label: servers.length === 1 ? size : `${server}, ${size}`, row };
      }),
  );
  return { name: `${name}: ${metric}`, title, bars };
}
