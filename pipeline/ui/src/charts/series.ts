// What charts make of lists of values before they draw them.

import type { Range, Values } from "../api/types";

/** The moments of a range: the end of each step, by which its values are known. */
export function times(range: Range): number[] {
  const steps = Math.max(0, Math.round((range.to - range.from) / range.step));
  return Array.from({ length: steps }, (_, step) => range.from + (step + 1) * range.step);
}

export interface Summary {
  min: number | null;
  mean: number | null;
  max: number | null;
  latest: number | null;
}

/** In words of four numbers: what a chart shows. Gaps do not count. */
export function summary(values: Values): Summary {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return { min: null, mean: null, max: null, latest: null };
  return {
    min: known.reduce((a, b) => Math.min(a, b)),
    mean: known.reduce((a, b) => a + b, 0) / known.length,
    max: known.reduce((a, b) => Math.max(a, b)),
    latest: known[known.length - 1] ?? null,
  };
}

/** Sums of each list with those before it, so that areas drawn between them lie on each other. A gap in all is a gap. */
export function stacked(lists: Values[]): Values[] {
  let below: Values = [];
  return lists.map((list) => {
    below = list.map((value, step) => {
      const under = below[step] ?? null;
      return value === null && under === null ? null : (value ?? 0) + (under ?? 0);
    });
    return below;
  });
}

/** Where values stand alone between gaps. */
export function alone(values: ArrayLike<number | null | undefined>): number[] {
  const known = (step: number): boolean => values[step] !== null && values[step] !== undefined;
  return Array.from({ length: values.length }, (_, step) => step).filter((step) => known(step) && !known(step - 1) && !known(step + 1));
}

/** The same values in at most `most` points; each is the largest of those it stands for, so that no peak is lost. */
export function thinned(values: Values, most: number): Values {
  if (values.length <= most || most < 1) return values;
  const width = Math.ceil(values.length / most);
  const points: Values = [];
  for (let from = 0; from < values.length; from += width) {
    points.push(summary(values.slice(from, from + width)).max);
  }
  return points;
}

/** A line through values in a box, as the `d` of an SVG path; gaps break it. A value alone is a short stroke. */
export function linePath(values: Values, top: number, width: number, height: number): string {
  const x = (step: number): string => ((step / Math.max(1, values.length - 1)) * width).toFixed(1);
  const y = (value: number): string => (height - (top > 0 ? value / top : 0) * height).toFixed(1);
  let path = "";
  let drawing = false;
  values.forEach((value, step) => {
    if (value === null) {
      drawing = false;
      return;
    }
    path += drawing ? `L${x(step)} ${y(value)}` : `M${x(step)} ${y(value)}h.01`;
    drawing = true;
  });
  return path;
}

/** The area under such a line. */
export function areaPath(values: Values, top: number, width: number, height: number): string {
  const x = (step: number): string => ((step / Math.max(1, values.length - 1)) * width).toFixed(1);
  const y = (value: number): string => (height - (top > 0 ? value / top : 0) * height).toFixed(1);
  let path = "";
  let open: number | null = null;
  values.forEach((value, step) => {
    if (value !== null) {
      path += open === null ? `M${x(step)} ${height}L${x(step)} ${y(value)}` : `L${x(step)} ${y(value)}`;
      open = step;
    }
    if (open !== null && (value === null || step === values.length - 1)) {
      path += `L${x(open)} ${height}Z`;
      open = null;
    }
  });
  return path;
}
