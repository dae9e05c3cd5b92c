import type { JsonValue } from "@parley/client";
import type { ReactNode } from "react";
import { formatDuration, formatNumber } from "../ui/format.ts";
import { texts } from "../ui/texts.ts";
import { ratesOf, type Sample, seriesOf } from "./samples.ts";
import { Sparkline } from "./sparkline.tsx";

/** Figures shown large, each with its recent past. */
const charted = [
  { name: "connections", rate: false },
  { name: "users", rate: false },
  { name: "appendedTotal", rate: true },
  { name: "deliveredTotal", rate: true },
] as const;
const chartedNames: ReadonlySet<string> = new Set(charted.map(({ name }) => name));

/** What the node says of itself. `stale`: there is no connection now. */
export function Figures({ samples, stale }: { samples: readonly Sample[]; stale: boolean }): ReactNode {
  const statistics = samples.at(-1)?.statistics ?? {};
  const others = Object.entries(statistics).filter(([name]) => !chartedNames.has(name));
  return (
    <section className="figures" aria-labelledby="figures-title" data-stale={stale}>
      <h2 id="figures-title">{texts.figures}</h2>
      {stale && samples.length > 0 && <p className="figures-note">{texts.figuresStale}</p>}
      <dl className="tiles">
        {charted.map(({ name, rate }) => (
          <Tile
            key={name}
            name={name}
            values={rate ? ratesOf(samples, name) : seriesOf(samples, name)}
            unit={rate ? texts.perSecond : undefined}
          />
        ))}
      </dl>
      <dl className="details">
        {others.map(([name, value]) => (
          <div key={name}>
            <dt>{nameOf(name)}</dt>
            <dd>{describe(name, value)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Tile({
  name,
  values,
  unit,
}: {
  name: string;
  values: readonly number[];
  unit: string | undefined;
}): ReactNode {
  return (
    <div className="tile">
      <dt>{nameOf(name)}</dt>
      <dd>
        <strong>{formatNumber(values.at(-1) ?? 0)}</strong>
        {unit !== undefined && <span> {unit}</span>}
        <Sparkline values={values} />
      </dd>
    </div>
  );
}

function nameOf(name: string): string {
  return Object.hasOwn(texts.figureNames, name) ? (texts.figureNames[name] ?? name) : name;
}

function describe(name: string, value: JsonValue): string {
  if (typeof value === "string") return value;
  if (typeof value !== "number") return JSON.stringify(value);
  return name.endsWith("Seconds") ? formatDuration(value) : formatNumber(value);
}
