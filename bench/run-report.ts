import { z } from "zod";
import { refusalCodes } from "../packages/server/src/load/rules.ts";

export const refusalsSchema = z.array(z.object({ code: z.enum(refusalCodes), detail: z.string() })).readonly();

/** What one run says, as the one line that `run-one.ts` prints. */
export const runReportSchema = z.object({
  workload: z.string(),
  server: z.string(),
  command: z.string(),
  cores: z.string(),
  versions: z.record(z.string(), z.string()),
  settings: z.array(z.string()),
  /** Why the server could not be run here; there are no figures then. */
  missing: z.string().optional(),
  /** It should have run, and did not. */
  failed: z.boolean().optional(),
  figures: z.array(
    z.object({
      metric: z.string(),
      unit: z.string(),
      value: z.number(),
      refusals: refusalsSchema,
    }),
  ),
});
export type RunReport = z.infer<typeof runReportSchema>;

/** One metric of one server over all runs of a workload. Median, min and max are of the runs that count. */
export interface Row {
  readonly workload: string;
  readonly server: string;
  readonly metric: string;
  readonly unit: string;
  readonly median: number | null;
  readonly min: number | null;
  readonly max: number | null;
  /** Runs that count. */
  readonly runs: number;
  /** No run was refused, and there was one. */
  readonly valid: boolean;
  readonly refusals: readonly string[];
  /** Median of the refused runs: for finding out why, never a result. */
  readonly refusedMedian: number | null;
}

/** Rows in the order in which servers and metrics first appear. */
export function summarize(reports: readonly RunReport[]): readonly Row[] {
  const groups = new Map<
    string,
    { report: RunReport; metric: string; unit: string; values: number[]; refused: number[]; refusals: string[] }
  >();
  for (const report of reports) {
    for (const { metric, unit, value, refusals } of report.figures) {
      const key = `${report.workload}\n${metric}\n${report.server}`;
      const group = groups.get(key) ?? { report, metric, unit, values: [], refused: [], refusals: [] };
      groups.set(key, group);
      if (refusals.length === 0) group.values.push(value);
      else {
        group.refused.push(value);
        group.refusals.push(refusals.map(({ code, detail }) => `${code} (${detail})`).join(", "));
      }
    }
  }
  return [...groups.values()].map(({ report, metric, unit, values, refused, refusals }) => ({
    workload: report.workload,
    server: report.server,
    metric,
    unit,
    median: median(values),
    min: values.length === 0 ? null : Math.min(...values),
    max: values.length === 0 ? null : Math.max(...values),
    runs: values.length,
    valid: values.length > 0 && refusals.length === 0,
    refusals,
    refusedMedian: median(refused),
  }));
}

export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/**
 * A table of a workload's rows, metric by metric, each server with its ratio to `reference`. With `showRefused`, what
 * refused runs measured stands in brackets.
 */
export function table(rows: readonly Row[], reference: string, showRefused: boolean): string {
  const metrics = [...new Set(rows.map(({ metric }) => metric))];
  const lines = [["metric", "server", "median", "min – max", "runs", `× ${reference}`]];
  for (const metric of metrics) {
    const ofMetric = rows.filter((row) => row.metric === metric);
    const base = ofMetric.find(({ server }) => server === reference)?.median ?? null;
    ofMetric.forEach((row, index) =>
      lines.push([index === 0 ? `${metric} [${row.unit}]` : "", ...cells(row, base, showRefused)]),
    );
  }
  return align(lines);
}

function cells(row: Row, base: number | null, showRefused: boolean): readonly string[] {
  const { server, median: middle, min, max, runs, refusals, refusedMedian } = row;
  if (middle === null || min === null || max === null) {
    const hint = showRefused && refusedMedian !== null ? `[${readable(refusedMedian)}]` : "";
    return [server, "refused", hint, "0", ""];
  }
  const ratio = base === null || base === 0 ? "" : (middle / base).toPrecision(3);
  const counted = refusals.length === 0 ? String(runs) : `${runs}, ${refusals.length} refused`;
  return [server, readable(middle), `${readable(min)} – ${readable(max)}`, counted, ratio];
}

export function readable(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return value.toPrecision(3);
}

function align(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  const numeric = (column: number) => column >= 2;
  return lines
    .map((line) =>
      line.map((cell, column) =>
        numeric(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      ),
    )
    .map((line) => `  ${line.join("  ").trimEnd()}`)
    .join("\n");
}
