// Lines over time, with a legend that shows the values under the pointer, and the same values as a table.

import type { JSX } from "preact";
import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Range, Values } from "../api/types";
import { clock, moment } from "../format";
import { colour, useColours, useWidth } from "../state";
import { alone, stacked, summary, times } from "./series";

export interface Line {
  name: string;
  values: Values;
  /** Name of a colour of the style sheet. */
  colour: string;
  /** Lines must differ in more than their colour. */
  dash?: number[];
}

interface Props {
  title: string;
  range: Range;
  lines: Line[];
  unit: (value: number | null) => string;
  /** Areas on each other instead of lines. */
  stack?: boolean;
  /** The axis reaches up to here at least. */
  atLeast?: number;
}

const HEIGHT = 176;
const SYNC = "redtap";

const DAY = 86_400;

/** Between two times on the axis, seconds: whole minutes, which need no seconds in their names. */
const STEPS = [60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, DAY];

/** The axis of time; days are named where there may be two. */
function timeAxis(range: Range): Pick<uPlot.Axis, "space" | "incrs" | "values"> {
  const long = range.to - range.from >= DAY / 2;
  return { space: long ? 88 : 44, incrs: STEPS, values: (_, splits) => splits.map((at) => (long ? moment(at) : clock(at).slice(0, 5))) };
}

function options(props: Props, width: number, cursor: (index: number | null) => void): uPlot.Options {
  const [ink, grid] = [colour("ink-3"), colour("grid")];
  const font = `11px ${colour("font")}`;
  const axis = { stroke: ink, font, ticks: { show: false }, grid: { stroke: grid, width: 1 } };
  const series = props.lines.map((line): uPlot.Series => {
    const stroke = colour(line.colour);
    return {
      label: line.name,
      stroke,
      width: props.stack ? 1 : 1.5,
      spanGaps: false,
      // A value between two gaps is no line, but it is a value.
      points: { show: true, size: 4, fill: stroke, filter: (plot, at) => alone(plot.data[at] ?? []) },
      ...(line.dash ? { dash: line.dash } : {}),
      ...(props.stack || props.lines.length === 1 ? { fill: `${stroke}${props.stack ? "99" : "1f"}` } : {}),
    };
  });
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    // At the right for half of a time's name.
    padding: [8, 18, 0, 0],
    cursor: {
      y: false,
      drag: { x: false, y: false },
      points: { size: 6 },
      sync: { key: SYNC, setSeries: false },
    },
    scales: {
      x: { time: true, range: () => [props.range.from, props.range.to] },
      y: { range: (_, __, max) => [0, Math.max((max ?? 0) * 1.08, props.atLeast ?? 0) || 1] },
    },
    axes: [
      { ...axis, ...timeAxis(props.range), size: 24, grid: { show: false } },
      { ...axis, size: 64, space: 34, values: (_, splits) => splits.map((value) => props.unit(value)) },
    ],
    series: [{}, ...series],
    // Later areas lie on earlier ones: what is between them is theirs.
    ...(props.stack ? { bands: props.lines.slice(1).map((_, at) => ({ series: [at + 2, at + 1] as [number, number] })) } : {}),
    hooks: { setCursor: [(plot) => cursor(plot.cursor.idx ?? null)] },
  };
}

function Key({ line, stack }: { line: Line; stack: boolean }): JSX.Element {
  const stroke = { stroke: `var(--${line.colour})` };
  return (
    <svg viewBox="0 0 16 10" aria-hidden="true">
      {stack ? (
        <rect x="3" y="0" width="10" height="10" rx="2" style={{ fill: `var(--${line.colour})` }} />
      ) : (
        <path d="M0 5h16" stroke-width="2" style={stroke} stroke-dasharray={line.dash?.join(" ")} />
      )}
    </svg>
  );
}

export function Plot(props: Props): JSX.Element {
  const { title, range, lines, unit, stack = false } = props;
  const colours = useColours();
  const [box, width] = useWidth<HTMLDivElement>();
  const plot = useRef<uPlot | null>(null);
  const [under, setUnder] = useState<number | null>(null);
  const id = useId();
  const at = useMemo(() => times(range), [range.from, range.to, range.step]);
  const data = useMemo((): uPlot.AlignedData => {
    const fitted = lines.map((line) => at.map((_, step) => line.values[step] ?? null));
    return [at, ...(stack ? stacked(fitted) : fitted)];
  }, [at, lines, stack]);
  // A new chart only when its shape is another; new values alone move the lines without a flicker.
  const shape = `${lines.map((line) => line.name + line.colour).join()}|${range.to - range.from}|${colours}`;
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    if (!box.current || width === 0) return;
    const made = new uPlot(options(latest.current, width, setUnder), data, box.current);
    // The window of time moves with the data, but the options are those of the first drawing.
    made.scales.x!.range = () => [latest.current.range.from, latest.current.range.to];
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
  }, [shape, width === 0]);
  useEffect(() => {
    if (width > 0) plot.current?.setSize({ width, height: HEIGHT });
  }, [width]);
  useEffect(() => plot.current?.setData(data), [data]);

  const value = (line: Line): number | null =>
    under === null ? summary(line.values).latest : (line.values[under] ?? null);
  const when = under === null ? null : (at[under] ?? null);
  return (
    <figure class="chart" aria-labelledby={id}>
      <figcaption>
        <h3 id={id}>
          {title} {when !== null && <span class="quiet small">at {clock(when)}</span>}
        </h3>
        <ul class="legend">
          {lines.map((line) => (
            <li key={line.name}>
              <Key line={line} stack={stack} />
              {line.name} <b>{unit(value(line))}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div class="plot" ref={box} aria-hidden="true" />
      <AsTable title={title} lines={lines} unit={unit} at={at} />
    </figure>
  );
}

/** Rows of the table: the latest values, which are what a reader of a table can use. */
const ROWS = 60;

function AsTable({ title, lines, unit, at }: { title: string; lines: Line[]; unit: Props["unit"]; at: number[] }): JSX.Element {
  const [open, setOpen] = useState(false);
  const from = Math.max(0, at.length - ROWS);
  const steps = open ? at.slice(from).map((time, step) => ({ time, step: from + step })) : [];
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        Values<span class="hidden"> of {title} as a table</span>
      </summary>
      {open && (
        <div class="scroll" tabIndex={0} role="region" aria-label={`Values of ${title}`}>
          <table>
            <thead>
              <tr>
                <th scope="col">Time</th>
                {lines.map((line) => (
                  <th scope="col" class="number" key={line.name}>
                    {line.name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {(["max", "mean", "min"] as const).map((what) => (
                <tr key={what}>
                  <th scope="row">{what}</th>
                  {lines.map((line) => (
                    <td class="number" key={line.name}>
                      {unit(summary(line.values)[what])}
                    </td>
                  ))}
                </tr>
              ))}
              {steps.reverse().map(({ time, step }) => (
                <tr key={time}>
                  <th scope="row">{clock(time)}</th>
                  {lines.map((line) => (
                    <td class="number" key={line.name}>
                      {unit(line.values[step] ?? null)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}
