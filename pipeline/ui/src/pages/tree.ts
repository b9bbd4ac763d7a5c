// Calls of one trace as rows of a waterfall: each under the call that it was made for, in order of time.

import type { Call } from "../api/types";

export interface Row {
  call: Call;
  depth: number;
  /** Where its bar begins and how long it is, as shares of the whole; null: it has not ended, or nobody saw its end. */
  from: number;
  length: number | null;
}

/** A tree deeper than this is a mistake of its own. */
const DEEPEST = 64;

export function rows(calls: Call[]): Row[] {
  const begin = Math.min(...calls.map(({ startNs }) => startNs));
  const end = Math.max(...calls.map(({ startNs, durationNs }) => startNs + (durationNs ?? 0)));
  const whole = Math.max(1, end - begin);
  const known = new Set(calls.map(({ spanId }) => spanId).filter((id) => id !== ""));
  const under = new Map<string, Call[]>();
  for (const call of calls) {
    // What names a parent that is not here begins a tree of its own, as does what names itself.
    const parent = known.has(call.parentSpanId) && call.parentSpanId !== call.spanId ? call.parentSpanId : "";
    under.set(parent, [...(under.get(parent) ?? []), call]);
  }
  const found: Row[] = [];
  const placed = new Set<Call>();
  const place = (parent: string, depth: number): void => {
    const children = [...(under.get(parent) ?? [])].sort((a, b) => a.startNs - b.startNs);
    for (const call of children) {
      if (placed.has(call)) continue;
      placed.add(call);
      found.push({
        call,
        depth,
        from: (call.startNs - begin) / whole,
        length: call.durationNs === null ? null : call.durationNs / whole,
      });
      if (call.spanId !== "" && depth < DEEPEST) place(call.spanId, depth + 1);
    }
  };
  place("", 0);
  // Calls in a circle of parents hang from nothing: they are shown all the same.
  for (const call of calls) {
    if (placed.has(call)) continue;
    placed.add(call);
    found.push({ call, depth: 0, from: (call.startNs - begin) / whole, length: call.durationNs === null ? null : call.durationNs / whole });
  }
  return found;
}
