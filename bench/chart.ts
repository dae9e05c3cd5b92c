import { type Row, readable } from "./run-report.ts";

/** What of a workload is drawn. */
export interface Panel {
  readonly workload: string;
  readonly title: string;
  readonly metric: string;
}

const width = 960;
const labels = 150;
const values = 130;
const line = 22;
const heading = 40;
const gap = 18;
const own = "#1d6fd1";
const others = "#9aa4b1";
const ink = "#1c2026";
const paper = "#ffffff";

/**
 * Bars of the medians, a panel for each metric, each panel on a scale of its own from zero; a thin line shows the spread of the
 * runs. A server whose runs were refused has no bar, and says so. The result is a whole SVG document.
 */
export function chart(rows: readonly Row[], panels: readonly Panel[], caption: string): string {
  const drawn: string[] = [text(labels, 24, caption, 13, "start")];
  let top = heading;
  for (const panel of panels) {
    const ofPanel = rows.filter(({ workload, metric }) => workload === panel.workload && metric === panel.metric);
    if (ofPanel.length === 0) continue;
    drawn.push(...panelAt(top, panel, ofPanel));
    top += heading + ofPanel.length * line + gap;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${top}" width="${width}" height="${top}" font-family="system-ui, sans-serif" role="img">`,
    `<title>${escape(caption)}</title>`,
    `<rect width="100%" height="100%" fill="${paper}"/>`,
    ...drawn,
    "</svg>\n",
  ].join("\n");
}

function panelAt(top: number, { workload, title, metric }: Panel, rows: readonly Row[]): readonly string[] {
  const unit = rows[0]?.unit ?? "";
  const largest = Math.max(...rows.map(({ max }) => max ?? 0), Number.MIN_VALUE);
  const scale = (value: number) => (value / largest) * (width - labels - values);
  const name = `${workload}: ${metric}${unit === "" ? "" : ` [${unit}]`}`;
  return [
    `<text x="${labels}" y="${top + 14}" font-size="13" font-weight="600" fill="${ink}">${escape(name)}<title>${escape(title)}</title></text>`,
    ...rows.flatMap((row, index) => bar(top + heading - 14 + index * line, row, scale)),
  ];
}

function bar(top: number, { server, median, min, max }: Row, scale: (value: number) => number): readonly string[] {
  const middle = top + line / 2;
  const label = text(labels - 8, middle + 4, server, 12, "end");
  if (median === null || min === null || max === null)
    return [label, text(labels + 4, middle + 4, "refused", 12, "start")];
  const [length, from, to] = [median, min, max].map((value) => labels + scale(value));
  const fill = server.startsWith("parley") ? own : others;
  const spread = `<path d="M${round(from)} ${middle}H${round(to)}" stroke="${ink}" stroke-width="1"/>`;
  return [
    label,
    `<rect x="${labels}" y="${top + 3}" width="${round(Math.max(1, (length ?? 0) - labels))}" height="${line - 6}" fill="${fill}"/>`,
    ...(from === to ? [] : [spread]),
    text(Math.max(length ?? 0, to ?? 0) + 6, middle + 4, readable(median), 12, "start"),
  ];
}

function text(x: number, y: number, content: string, size: number, anchor: "start" | "end"): string {
  return `<text x="${round(x)}" y="${round(y)}" font-size="${size}" text-anchor="${anchor}" fill="${ink}">${escape(content)}</text>`;
}

function round(value: number | undefined): string {
  return (value ?? 0).toFixed(1);
}

function escape(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
