// Many services as one.

import type { Red } from "../api/types";

export interface Total {
  requests: number;
  requestsPerSecond: number;
  /** Weighed by requests; null if there were none. */
  errorRatio: number | null;
  /** The largest p99, and whose it is. */
  slowest: number | null;
  at: number;
}

export function total(reds: (Red | null)[]): Total {
  let [requests, requestsPerSecond, errors, slowest, at] = [0, 0, 0, null as number | null, -1];
  reds.forEach((red, index) => {
    if (!red) return;
    requests += red.requests;
    requestsPerSecond += red.requestsPerSecond;
    errors += red.requests * (red.errorRatio ?? 0);
    if (red.p99 !== null && (slowest === null || red.p99 > slowest)) [slowest, at] = [red.p99, index];
  });
  return { requests, requestsPerSecond, errorRatio: requests > 0 ? errors / requests : null, slowest, at };
}
