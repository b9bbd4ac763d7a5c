// The shapes of docs/api.md, as the pages use them. What the agent does not know is null.

export interface Range {
  from: number;
  to: number;
  step: number;
}

export interface Red {
  requests: number;
  requestsPerSecond: number;
  errorRatio: number | null;
  p50: number | null;
  p90: number | null;
  p99: number | null;
}

export type Values = (number | null)[];

export interface OverTime {
  requestsPerSecond: Values;
  errorRatio: Values;
  p50: Values;
  p90: Values;
  p99: Values;
}

export interface ServiceRow {
  service: string;
  namespace: string;
  protocols: string[];
  served: Red | null;
  called: Red | null;
  overTime: OverTime;
}

export interface Services {
  range: Range;
  services: ServiceRow[];
}

export interface Endpoint {
  kind: string;
  system: string;
  method: string;
  endpoint: string;
  peer: string;
  red: Red;
}

export interface Code {
  side: string;
  kind: string;
  code: string;
  error: string;
  requests: number;
  requestsPerSecond: Values;
}

export interface HeatMap {
  bounds: number[];
  requests: Values[];
}

export interface Side {
  red: Red;
  overTime: OverTime;
  heatMap: HeatMap;
  endpoints: Endpoint[];
  moreEndpoints: number;
}

export interface ServiceReport {
  range: Range;
  service: string;
  namespace: string;
  served: Side | null;
  called: Side | null;
  codes: Code[];
}

export const NODE_KINDS = ["service", "database", "messaging", "external", "user"] as const;
export type NodeKind = (typeof NODE_KINDS)[number];

export interface TopologyNode {
  name: string;
  kind: NodeKind;
  red: Red | null;
}

export interface TopologyEdge {
  client: string;
  server: string;
  connectionType: string;
  red: Red;
}

export interface Topology {
  range: Range;
  nodes: TopologyNode[];
  edges: TopologyEdge[];
}

export interface Call {
  startNs: number;
  durationNs: number | null;
  protocol: string;
  client: string;
  server: string;
  method: string;
  target: string;
  status: string;
  code: string;
  role: string;
  pid: number | null;
  comm: string;
  service: string;
  peer: string;
  endpoint: string;
  requestBytes: number | null;
  responseBytes: number | null;
  ttfbNs: number | null;
  error: string;
  user: string;
  namespace: string;
  traceId: string;
  spanId: string;
  parentSpanId: string;
  /** How the parent is known (docs/calls.md): a header's format, `socket`, `thread`; empty: it is not. */
  link: string;
}

export interface CallDetail {
  call: Call;
  /** The calls of its tree, its own among them. */
  tree: Call[];
}

export interface Alarm {
  name: string;
  severity: string;
  service: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  value: number | null;
  /** Of `value`; null from an agent that does not say. */
  unit: "ratio" | "seconds" | null;
  since: number;
  until: number | null;
  silencedUntil: number | null;
}

export interface Alarms {
  firing: Alarm[];
  /** What is true, but not for as long as its rule wants; empty from an agent that does not say. */
  pending: Alarm[];
  history: Alarm[];
}

/** What a status answer holds is shown as far as it is there. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
