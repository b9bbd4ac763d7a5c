// From JSON of unknown shape to the types of the pages: what is missing or of another type becomes null, 0, "" or [], so
// that an agent that is older or newer than this page is still shown as far as both know the same.

import {
  NODE_KINDS,
  type Alarm,
  type Alarms,
  type Call,
  type CallDetail,
  type Code,
  type Endpoint,
  type HeatMap,
  type Json,
  type NodeKind,
  type OverTime,
  type Range,
  type Red,
  type ServiceReport,
  type ServiceRow,
  type Services,
  type Side,
  type Topology,
  type TopologyEdge,
  type TopologyNode,
  type Values,
} from "./types";

type Fields = Record<string, unknown>;

export function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

export function text(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "number" ? String(value) : "";
}

export function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function values(value: unknown): Values {
  return list(value).map(number);
}

function texts(value: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(fields(value)).map(([key, each]) => [key, text(each)]));
}

function range(value: unknown): Range {
  const of = fields(value);
  return { from: number(of.from) ?? 0, to: number(of.to) ?? 0, step: Math.max(1, number(of.step) ?? 1) };
}

function red(value: unknown): Red {
  const of = fields(value);
  return {
    requests: number(of.requests) ?? 0,
    requestsPerSecond: number(of.requests_per_second) ?? 0,
    errorRatio: number(of.error_ratio),
    p50: number(of.p50_seconds),
    p90: number(of.p90_seconds),
    p99: number(of.p99_seconds),
  };
}

function maybe<T>(value: unknown, decode: (value: unknown) => T): T | null {
  return value === null || value === undefined ? null : decode(value);
}

function overTime(value: unknown): OverTime {
  const of = fields(value);
  return {
    requestsPerSecond: values(of.requests_per_second),
    errorRatio: values(of.error_ratio),
    p50: values(of.p50_seconds),
    p90: values(of.p90_seconds),
    p99: values(of.p99_seconds),
  };
}

function serviceRow(value: unknown): ServiceRow {
  const of = fields(value);
  return {
    service: text(of.service),
    namespace: text(of.namespace),
    protocols: list(of.protocols).map(text),
    served: maybe(of.served, red),
    called: maybe(of.called, red),
    overTime: overTime(of.over_time),
  };
}

export function services(value: unknown): Services {
  const of = fields(value);
  return { range: range(of.range), services: list(of.services).map(serviceRow) };
}

function endpoint(value: unknown): Endpoint {
  const of = fields(value);
  return {
    kind: text(of.kind),
    system: text(of.system),
    method: text(of.method),
    endpoint: text(of.endpoint),
    peer: text(of.peer),
    red: red(of.red),
  };
}

function heatMap(value: unknown): HeatMap {
  const of = fields(value);
  return { bounds: values(of.bounds_seconds).filter((bound) => bound !== null), requests: list(of.requests).map(values) };
}

function side(value: unknown): Side {
  const of = fields(value);
  return {
    red: red(of.red),
    overTime: overTime(of.over_time),
    heatMap: heatMap(of.heat_map),
    endpoints: list(of.endpoints).map(endpoint),
    moreEndpoints: number(of.more_endpoints) ?? 0,
  };
}

function code(value: unknown): Code {
  const of = fields(value);
  return {
    side: text(of.side),
    kind: text(of.kind),
    code: text(of.code),
    error: text(of.error),
    requests: number(of.requests) ?? 0,
    requestsPerSecond: values(of.requests_per_second),
  };
}

export function serviceReport(value: unknown): ServiceReport {
  const of = fields(value);
  return {
    range: range(of.range),
    service: text(of.service),
    namespace: text(of.namespace),
    served: maybe(of.served, side),
    called: maybe(of.called, side),
    codes: list(of.codes).map(code),
  };
}

function nodeKind(value: unknown): NodeKind {
  return NODE_KINDS.find((kind) => kind === value) ?? "external";
}

function node(value: unknown): TopologyNode {
  const of = fields(value);
  return { name: text(of.name), kind: nodeKind(of.kind), red: maybe(of.red, red) };
}

function edge(value: unknown): TopologyEdge {
  const of = fields(value);
  return {
    client: text(of.client),
    server: text(of.server),
    connectionType: text(of.connection_type),
    red: red(of.red),
  };
}

export function topology(value: unknown): Topology {
  const of = fields(value);
  const edges = list(of.edges).map(edge);
  const nodes = list(of.nodes).map(node);
  // An edge to a node that is not listed would have nowhere to end.
  const names = new Set(nodes.map(({ name }) => name));
  for (const { client, server } of edges) {
    for (const name of [client, server]) {
      if (names.has(name)) continue;
      names.add(name);
      nodes.push({ name, kind: "external", red: null });
    }
  }
  return { range: range(of.range), nodes, edges };
}

export function call(value: unknown): Call {
  const of = fields(value);
  return {
    startNs: number(of.start_ns) ?? 0,
    durationNs: number(of.duration_ns),
    protocol: text(of.protocol),
    client: text(of.client),
    server: text(of.server),
    method: text(of.method),
    target: text(of.target),
    status: text(of.status),
    code: text(of.code),
    role: text(of.role),
    pid: number(of.pid),
    comm: text(of.comm),
    service: text(of.service),
    peer: text(of.peer),
    endpoint: text(of.endpoint),
    requestBytes: number(of.request_bytes),
    responseBytes: number(of.response_bytes),
    ttfbNs: number(of.ttfb_ns),
    error: text(of.error),
    user: text(of.user),
    namespace: text(of.namespace),
    traceId: text(of.trace_id),
    spanId: text(of.span_id),
    parentSpanId: text(of.parent_span_id),
    link: text(of.link),
  };
}

export function callDetail(value: unknown): CallDetail {
  const of = fields(value);
  const own = call(of.call ?? value);
  const tree = list(of.trace).map(call);
  return { call: own, tree: tree.length > 0 ? tree : [own] };
}

function alarm(value: unknown): Alarm {
  const of = fields(value);
  return {
    name: text(of.name),
    severity: text(of.severity),
    service: text(of.service),
    labels: texts(of.labels),
    annotations: texts(of.annotations),
    value: number(of.value),
    unit: of.unit === "ratio" || of.unit === "seconds" ? of.unit : null,
    since: number(of.since) ?? 0,
    until: number(of.until),
    silencedUntil: number(of.silenced_until),
  };
}

export function alarms(value: unknown): Alarms {
  const of = fields(value);
  return { firing: list(of.firing).map(alarm), pending: list(of.pending).map(alarm), history: list(of.history).map(alarm) };
}

/** A value deep in a status answer; null if any part of the way is not there. */
export function at(value: Json | unknown, ...way: string[]): unknown {
  let here: unknown = value;
  for (const key of way) here = fields(here)[key];
  return here ?? null;
}

/** All whole or broken numbers among the fields, by name. */
export function numbers(value: unknown): [string, number][] {
  return Object.entries(fields(value)).flatMap(([key, each]) => {
    const found = number(each);
    return found === null ? [] : [[key, found] as [string, number]];
  });
}
