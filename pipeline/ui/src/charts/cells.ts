// What the heat map draws: which rows, how many columns, how dark.

import type { Values } from "../api/types";

export interface Columns {
  values: number[][];
  count: number;
  /** Steps in a column. */
  each: number;
  max: number;
}

/** The rows that hold requests, with one more on either side: first and last. */
export function visibleRows(requests: Values[]): [number, number] {
  const used = requests.flatMap((row, at) => (row.some((value) => (value ?? 0) > 0) ? [at] : []));
  const [first, last] = [used[0], used[used.length - 1]];
  if (first === undefined || last === undefined) return [0, Math.max(0, requests.length - 1)];
  return [Math.max(0, first - 1), Math.min(requests.length - 1, last + 1)];
}

/** At most `most` columns, each the sum of so many steps. */
export function columns(requests: Values[], most: number): Columns {
  const steps = Math.max(0, ...requests.map((row) => row.length));
  const each = Math.max(1, Math.ceil(steps / Math.max(1, most)));
  const count = Math.ceil(steps / each);
  let max = 0;
  const values = requests.map((row) =>
    Array.from({ length: count }, (_, column) => {
      const sum = row.slice(column * each, (column + 1) * each).reduce<number>((all, value) => all + (value ?? 0), 0);
      max = Math.max(max, sum);
      return sum;
    }),
  );
  return { values, count, each, max };
}

/** From 0 for one request to 1 for the most, by the logarithm; less than one (counts may be scaled) is 0. */
export function share(value: number, max: number): number {
  if (value <= 1 || max <= 1) return value > 0 && max <= 1 ? 1 : 0;
  return Math.min(1, Math.log(value) / Math.log(max));
}

function channels(hex: string): [number, number, number] {
  const value = Number.parseInt(hex.replace("#", ""), 16) || 0;
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/** A colour between two of the form #rrggbb; the palest is still to be told from none. */
export function mixed(low: string, high: string, part: number): string {
  const [a, b] = [channels(low), channels(high)];
  const weight = 0.18 + 0.82 * part;
  return `rgb(${a.map((from, at) => Math.round(from + ((b[at] ?? 0) - from) * weight)).join(" ")})`;
}
