// The live tail: a stream of calls that begins again by itself when it breaks.

import { ApiError, open } from "./client";
import * as decode from "./decode";
import { Lines } from "./lines";
import type { Call } from "./types";

export interface Tail {
  calls: (calls: Call[]) => void;
  /** The server, or this page, left out so many. */
  leftOut: (count: number) => void;
  state: (state: "connecting" | "open" | ApiError) => void;
}

/** Between attempts, milliseconds. */
const AGAIN_AFTER = 2_000;

export function callsPath(filters: Record<string, string>, follow: boolean, limit: number): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(filters)) if (value !== "") query.set(key, value);
  if (follow) query.set("follow", "true");
  else query.set("limit", String(limit));
  return `/api/v1/calls?${query.toString()}`;
}

function take(lines: string[], tail: Tail): void {
  const calls: Call[] = [];
  for (const line of lines) {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      tail.leftOut(1);
      continue;
    }
    const leftOut = decode.number(decode.at(value, "left_out"));
    if (leftOut !== null) tail.leftOut(leftOut);
    else calls.push(decode.call(value));
  }
  if (calls.length > 0) tail.calls(calls);
}

async function read(path: string, tail: Tail, signal: AbortSignal): Promise<void> {
  const response = await open(path, signal);
  tail.state("open");
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return;
  const lines = new Lines();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    take(lines.push(value), tail);
  }
  take(lines.end(), tail);
}

/** The calls that are still kept, then those that happen, until `signal` says stop. */
export async function follow(filters: Record<string, string>, limit: number, tail: Tail, signal: AbortSignal): Promise<void> {
  let first = true;
  while (!signal.aborted) {
    tail.state("connecting");
    try {
      if (first) await read(callsPath(filters, false, limit), tail, signal);
      first = false;
      await read(callsPath(filters, true, limit), tail, signal);
    } catch (error) {
      if (signal.aborted) return;
      const known = error instanceof ApiError ? error : new ApiError("gone", 0, "the stream of calls broke off");
      tail.state(known);
      // A wish that is not understood, or not granted, will not be in two seconds.
      if (!["gone", "busy", "not-ready"].includes(known.trouble)) return;
    }
    await new Promise((wake) => setTimeout(wake, AGAIN_AFTER));
  }
}
