// Status codes as the lines of one chart.

import type { Code, Values } from "../api/types";

export interface Group {
  code: string;
  error: boolean;
  requestsPerSecond: Values;
}

function added(a: Values, b: Values): Values {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, at) => {
    const [left, right] = [a[at] ?? null, b[at] ?? null];
    return left === null && right === null ? null : (left ?? 0) + (right ?? 0);
  });
}

/** One group a code, whatever its kind; those beyond the first `most` are one group. */
export function grouped(codes: Code[], most: number): Group[] {
  const groups = new Map<string, Group>();
  for (const code of codes) {
    const name = code.code === "" ? "no code" : code.code;
    const key = groups.has(name) || groups.size < most ? name : "others";
    const group = groups.get(key);
    groups.set(key, {
      code: key,
      error: (group?.error ?? false) || code.error !== "",
      requestsPerSecond: added(group?.requestsPerSecond ?? [], code.requestsPerSecond),
    });
  }
  return [...groups.values()];
}

/** Names of colours: errors warm, the rest cool; no two the same as long as there are enough. */
export function codeColours(groups: Group[]): string[] {
  const pools = { good: ["code-1", "code-2", "code-3"], bad: ["code-5", "code-4", "code-6"] };
  const used = new Set<string>();
  return groups.map(({ error }) => {
    const wished = error ? [...pools.bad, ...pools.good] : [...pools.good, ...pools.bad];
    const colour = wished.find((name) => !used.has(name)) ?? "code-3";
    used.add(colour);
    return colour;
  });
}
