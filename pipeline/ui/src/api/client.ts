// One function a path. A failure says which of the few things happened that people can do something about.

import * as decode from "./decode";
import type { Alarms, CallDetail, ServiceReport, Services, Topology } from "./types";

/**
 * `gone`: no answer at all; `token`: it wants one; `busy`: not now; `refused`: any other answer that is not what was asked
 * for.
 */
export type Trouble = "gone" | "token" | "busy" | "not-ready" | "not-found" | "absent" | "refused";

export class ApiError extends Error {
  readonly trouble: Trouble;
  readonly status: number;

  constructor(trouble: Trouble, status: number, message: string) {
    super(message);
    this.trouble = trouble;
    this.status = status;
  }
}

const TOKEN = "redtap.token";
/** Longer than any answer takes that is worth waiting for. */
const TIMEOUT_MS = 20_000;

export function token(): string {
  return sessionStorage.getItem(TOKEN) ?? "";
}

/** Kept until the tab is closed, and sent to nobody but the server of this page. */
export function keepToken(value: string): void {
  if (value === "") sessionStorage.removeItem(TOKEN);
  else sessionStorage.setItem(TOKEN, value);
}

function troubleOf(status: number, headers: Headers): Trouble {
  if (status === 401 || status === 403) return "token";
  if (status === 404) return "not-found";
  if (status === 501) return "absent";
  if (status !== 503) return "refused";
  return headers.has("retry-after") ? "busy" : "not-ready";
}

async function failure(response: Response): Promise<ApiError> {
  let message = `the agent answers ${response.status}`;
  try {
    const said = decode.text(decode.at(await response.json(), "error"));
    if (said !== "") message = said;
  } catch {
    // Not one of the agent's own answers; the status says enough.
  }
  return new ApiError(troubleOf(response.status, response.headers), response.status, message);
}

/** The answer to a GET, whose status is good. */
export async function open(path: string, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = token() === "" ? {} : { authorization: `Bearer ${token()}` };
  let response: Response;
  try {
    response = await fetch(path, { headers, cache: "no-store", ...(signal ? { signal } : {}) });
  } catch (error) {
    if (signal?.aborted && signal.reason?.name !== "TimeoutError") throw error;
    throw new ApiError("gone", 0, "no answer from the agent");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function json<T>(path: string, as: (value: unknown) => T, signal?: AbortSignal): Promise<T> {
  const within = AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])]);
  const response = await open(path, within);
  let body: unknown;
  try {
    body = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("refused", response.status, `the answer of ${path} is no JSON`);
  }
  return as(body);
}

export const api = {
  services: (last: string, signal?: AbortSignal): Promise<Services> =>
    json(`/api/v1/services?last=${last}`, decode.services, signal),
  service: (name: string, last: string, signal?: AbortSignal): Promise<ServiceReport> =>
    json(`/api/v1/services/${encodeURIComponent(name)}?last=${last}`, decode.serviceReport, signal),
  topology: (last: string, signal?: AbortSignal): Promise<Topology> =>
    json(`/api/v1/topology?last=${last}`, decode.topology, signal),
  call: (spanId: string, signal?: AbortSignal): Promise<CallDetail> =>
    json(`/api/v1/calls/${encodeURIComponent(spanId)}`, decode.callDetail, signal),
  alarms: (signal?: AbortSignal): Promise<Alarms> => json("/api/v1/alarms", decode.alarms, signal),
  status: (signal?: AbortSignal): Promise<unknown> => json("/api/v1/status", (value) => value, signal),
};
