import { type Row, readable } from "./run-report.ts";

/** Bars on one scale. */
export interface Panel {
  /** Stands above the bars, with their unit. */
  readonly name: string;
  readonly title: string;
  readonly bars: readonly Bar[];
}

/** One row of the table, and what it is called beside its bar. */
export interface Bar {
  readonly label: string;
  readonly row: Row;
}

const width = 960;
const labels = 170;
const values = 130;
const line = 22;
const heading = 40;
const gap = 18;
const own = "#1d6fd1";
const others = "#9aa4b1";
const ink = "#1c2026";
const paper = "#ffffff";

/**
 * Bars of the medians, each panel on a scale of its own from zero; a thin line shows the spread of the
 * runs. A row whose runs were refused has no bar, and says so. The result is a whole SVG document.
 */
export function chart(panels: readonly Panel[], caption: string): string {
  const drawn: string[] = [text(labels, 24, caption, 13, "start")];
  let top = heading;
  for (const panel of panels) {
    if (panel.bars.length === 0) continue;
    drawn.push(...panelAt(top, panel));
    top += heading + panel.bars.length * line + gap;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${top}" width="${width}" height="${top}" font-family="system-ui, sans-serif" role="img">`,
    `<title>${escape(caption)}</title>`,
    `<rect width="100%" height="100%" fill="${paper}"/>`,
    ...drawn,
    "</svg>\n",
  ].join("\n");
}

function panelAt(top: number, { name, title, bars }: Panel): readonly string[] {
  const unit = bars[0]?.row.unit ?? "";
  const largest = Math.max(...bars.map(({ row }) => row.max ?? 0), Number.MIN_VALUE);
  const scale = (value: number) => (value / largest) * (width - labels - values);
  const above = `${name}${unit === "" ? "" : ` [${unit}]`}`;
  return [
    `<text x="${labels}" y="${top + 14}" font-size="13" font-weight="600" fill="${ink}">${escape(above)}<title>${escape(title)}</title></text>`,
    ...bars.flatMap((bar, index) => barAt(top + heading - 14 + index * line, bar, scale)),
  ];
}

function barAt(top: number, { label, row }: Bar, scale: (value: number) => number): readonly string[] {
  const { server, median, min, max } = row;
  const middle = top + line / 2;
  const beside = text(labels - 8, middle + 4, label, 12, "end");
  if (median === null || min === null || max === null)
    return [beside, text(labels + 4, middle + 4, "refused", 12, "start")];
  const [length, from, to] = [median, min, max].map((value) => labels + scale(value));
  const fill = server.startsWith("parley") ? own : others;
  const spread = `<path d="M${round(from)} ${middle}H${round(to)}" stroke="${ink}" stroke-width="1"/>`;
  return [
    beside,
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
