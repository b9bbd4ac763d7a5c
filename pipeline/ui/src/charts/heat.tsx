// How many requests took how long, over time: a cell a step and a bucket, darker for more, on a logarithmic scale.

import type { JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { HeatMap, Range } from "../api/types";
import { clock, count, duration } from "../format";
import { colour, useColours, useWidth } from "../state";
import { columns, mixed, share, visibleRows, type Columns } from "./cells";

const [LEFT, BOTTOM, TOP] = [64, 24, 6];
/** Height of a row, pixels: few rows are taller, so that the map is as tall as the charts beside it. */
const [LOWEST, HIGHEST, WISHED] = [14, 26, 150];

function rowHeight([first, last]: [number, number]): number {
  return Math.max(LOWEST, Math.min(HIGHEST, Math.floor(WISHED / (last - first + 1))));
}

interface Props {
  range: Range;
  map: HeatMap;
}

function label(bounds: number[], row: number): string {
  const upper = bounds[row];
  const lower = bounds[row - 1];
  if (upper === undefined) return lower === undefined ? "any" : `over ${duration(lower)}`;
  return lower === undefined ? `up to ${duration(upper)}` : `${duration(lower)} to ${duration(upper)}`;
}

function draw(canvas: HTMLCanvasElement, width: number, range: Range, bounds: number[], rows: [number, number], cells: Columns): void {
  const [first, last] = rows;
  const tall = rowHeight(rows);
  const height = (last - first + 1) * tall + TOP + BOTTOM;
  const density = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.scale(density, density);
  pen.font = `11px ${colour("font")}`;
  const [low, high, ink, grid] = [colour("heat-0"), colour("heat-1"), colour("ink-3"), colour("grid")];
  const cell = (width - LEFT - 8) / Math.max(1, cells.count);
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (let row = first; row <= last; row += 1) {
    const y = TOP + (last - row) * tall;
    pen.fillStyle = grid;
    pen.fillRect(LEFT, y + tall - 1, width - LEFT - 8, 1);
    const bound = bounds[row - 1];
    // The line below a row is the lower bound of its durations.
    if (bound !== undefined && row > first && (tall > 18 || (row - first) % 2 === 0)) {
      pen.fillStyle = ink;
      pen.fillText(duration(bound), LEFT - 8, y + tall);
    }
    for (let column = 0; column < cells.count; column += 1) {
      const value = cells.values[row]?.[column] ?? 0;
      if (value <= 0) continue;
      pen.fillStyle = mixed(low, high, share(value, cells.max));
      pen.fillRect(LEFT + column * cell, y, Math.max(1, cell - (cell > 4 ? 1 : 0)), tall - 1);
    }
  }
  pen.fillStyle = ink;
  pen.textBaseline = "top";
  const ticks = Math.max(2, Math.min(7, Math.floor(width / 130)));
  for (let tick = 0; tick < ticks; tick += 1) {
    pen.textAlign = tick === 0 ? "left" : tick === ticks - 1 ? "right" : "center";
    const part = tick / (ticks - 1);
    const at = range.from + (range.to - range.from) * part;
    pen.fillText(clock(at).slice(0, range.to - range.from > 600 ? 5 : 8), LEFT + (width - LEFT - 8) * part, height - 16);
  }
}

export function Heat({ range, map }: Props): JSX.Element {
  const colours = useColours();
  const [box, width] = useWidth<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const scale = useRef<HTMLCanvasElement>(null);
  const [under, setUnder] = useState<{ row: number; column: number } | null>(null);
  const id = useId();
  const rows = visibleRows(map.requests);
  // No cell narrower than three pixels.
  const cells = columns(map.requests, Math.max(1, Math.floor((width - LEFT - 8) / 3)));

  useEffect(() => {
    if (canvas.current && width > 0) draw(canvas.current, width, range, map.bounds, rows, cells);
  }, [map, width, colours, range.from, range.to]);
  useEffect(() => {
    const pen = scale.current?.getContext("2d");
    if (!pen) return;
    for (let x = 0; x < 96; x += 1) {
      pen.fillStyle = mixed(colour("heat-0"), colour("heat-1"), x / 95);
      pen.fillRect(x, 0, 1, 10);
    }
  }, [colours]);

  const point = (event: PointerEvent): void => {
    const column = Math.floor(((event.offsetX - LEFT) / Math.max(1, width - LEFT - 8)) * cells.count);
    const row = rows[1] - Math.floor((event.offsetY - TOP) / rowHeight(rows));
    const inside = column >= 0 && column < cells.count && row >= rows[0] && row <= rows[1];
    setUnder(inside ? { row, column } : null);
  };
  const said =
    under &&
    `${count(cells.values[under.row]?.[under.column] ?? 0)} requests, ${label(map.bounds, under.row)}, ${clock(
      range.from + under.column * cells.each * range.step,
    )}`;
  const sums = map.requests.map((row) => row.reduce<number>((sum, value) => sum + (value ?? 0), 0));
  const busiest = sums.indexOf(Math.max(...sums));
  return (
    <figure class="chart heat" aria-labelledby={id}>
      <figcaption>
        <h3 id={id}>How long requests took</h3>
        <span class="quiet small">
          {said ?? (
            <span class="scale">
              1 <canvas ref={scale} width="96" height="10" aria-hidden="true" /> {count(cells.max)} requests a cell
            </span>
          )}
        </span>
      </figcaption>
      <div class="plot" ref={box} aria-hidden="true">
        <canvas ref={canvas} onPointerMove={point} onPointerLeave={() => setUnder(null)} />
      </div>
      <details>
        <summary>
          Values<span class="hidden"> of durations as a table</span>
        </summary>
        <div class="scroll" tabIndex={0} role="region" aria-label="Requests by duration">
          <table>
            <thead>
              <tr>
                <th scope="col">Duration</th>
                <th scope="col" class="number">
                  Requests
                </th>
              </tr>
            </thead>
            <tbody>
              {sums.map((sum, row) =>
                sum > 0 ? (
                  <tr key={row}>
                    <th scope="row">
                      {label(map.bounds, row)} {row === busiest && <span class="chip">most</span>}
                    </th>
                    <td class="number">{count(sum)}</td>
                  </tr>
                ) : null,
              )}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  );
}
