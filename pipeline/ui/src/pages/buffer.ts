// The newest calls, each once, at most so many.

import type { Call } from "../api/types";

export function identity(call: Call): string {
  return call.spanId !== "" ? call.spanId : `${call.startNs} ${call.role} ${call.pid} ${call.client} ${call.server} ${call.method}`;
}

export class Buffer {
  readonly #most: number;
  #calls = new Map<string, Call>();
  /** Calls that came, whether they are still kept or not. */
  seen = 0;

  constructor(most: number) {
    this.#most = most;
  }

  push(calls: Call[]): void {
    for (const call of calls) {
      const key = identity(call);
      if (this.#calls.has(key)) continue;
      this.seen += 1;
      this.#calls.set(key, call);
    }
    for (const key of this.#calls.keys()) {
      if (this.#calls.size <= this.#most) break;
      this.#calls.delete(key);
    }
  }

  /** Newest first, by when they began. */
  newest(): Call[] {
    return [...this.#calls.values()].sort((a, b) => b.startNs - a.startNs);
  }
}
