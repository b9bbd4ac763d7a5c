// The whole state of the page is in its address, behind the #: page, service, range, filters, sort. Two views of one
// address show the same, and the back button goes back.

export const PAGES = ["services", "service", "topology", "calls", "alarms", "sees"] as const;
export type Page = (typeof PAGES)[number];

export const RANGES = ["live", "15m", "1h", "6h", "24h"] as const;
export type RangeName = (typeof RANGES)[number];
export const DEFAULT_RANGE: RangeName = "15m";

export interface View {
  page: Page;
  /** Of the page of one service. */
  service: string;
  range: RangeName;
  /** Everything else: filters, sort, side, selection. Empty values are not in the address. */
  params: Record<string, string>;
}

export const HOME: View = { page: "services", service: "", range: DEFAULT_RANGE, params: {} };

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function parse(hash: string): View {
  const [path = "", query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const [, first = "", second = ""] = path.split("/");
  const params: Record<string, string> = {};
  let range = DEFAULT_RANGE;
  for (const [key, value] of new URLSearchParams(query)) {
    if (key === "range") range = RANGES.find((name) => name === value) ?? DEFAULT_RANGE;
    else if (value !== "") params[key] = value;
  }
  if (first === "services" && second !== "") return { page: "service", service: decoded(second), range, params };
  const page = PAGES.find((name) => name === first && name !== "service") ?? "services";
  return { page, service: "", range, params };
}

export function format(view: View): string {
  const path = view.page === "service" ? `services/${encodeURIComponent(view.service)}` : view.page;
  const query = new URLSearchParams();
  if (view.range !== DEFAULT_RANGE) query.set("range", view.range);
  for (const key of Object.keys(view.params).sort()) {
    const value = view.params[key];
    if (value !== undefined && value !== "") query.set(key, value);
  }
  const tail = query.toString();
  return `#/${path}${tail === "" ? "" : `?${tail}`}`;
}

/** The same view with some parameters changed; an empty value takes one away. */
export function withParams(view: View, changes: Record<string, string>): View {
  const params = { ...view.params, ...changes };
  for (const key of Object.keys(params)) if (params[key] === "") delete params[key];
  return { ...view, params };
}

/** What a range is to the API (`last`), and how often what it shows is asked for again, milliseconds. */
export function ask(range: RangeName): { last: string; every: number } {
  switch (range) {
    case "live":
      return { last: "5m", every: 2_000 };
    case "15m":
      return { last: "15m", every: 5_000 };
    case "1h":
      return { last: "1h", every: 10_000 };
    case "6h":
      return { last: "6h", every: 30_000 };
    case "24h":
      return { last: "24h", every: 60_000 };
  }
}

/** As people read it. */
export function rangeLabel(range: RangeName): string {
  return { live: "Live", "15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h" }[range];
}

export function rangeWords(range: RangeName): string {
  return {
    live: "the last 5 minutes",
    "15m": "the last 15 minutes",
    "1h": "the last hour",
    "6h": "the last 6 hours",
    "24h": "the last 24 hours",
  }[range];
}
