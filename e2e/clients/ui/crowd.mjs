// Answers of the API for a crowd of services that no test machine can run: so many services, endpoints and edges, in the
// shapes of docs/api.md. It is for measuring frame times, and for nothing else; the numbers are made up.
//
// node crowd.mjs PORT DIST [SERVICES [ENDPOINTS]]

import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [port, dist, services = "200", endpoints = "2000"] = process.argv.slice(2);
const [SERVICES, PER_SERVICE] = [Number(services), Math.ceil(Number(endpoints) / Number(services))];
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** The same numbers in every run. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const WORDS = ["cart", "user", "order", "stock", "price", "mail", "search", "image", "audit", "pay", "ship", "quote", "feed", "auth"];
const names = Array.from({ length: SERVICES }, (_, at) => `${WORDS[at % WORDS.length]}-${String(Math.floor(at / WORDS.length) + 1).padStart(2, "0")}`);

function red(next, seconds, base = 40) {
  const rate = base * next() ** 3;
  const failing = next();
  const p50 = 0.0005 + 0.05 * next() ** 4;
  return {
    requests: Math.round(rate * seconds),
    requests_per_second: rate,
    error_ratio: failing < 0.75 ? 0 : failing < 0.95 ? 0.02 * next() : 0.05 + 0.3 * next(),
    p50_seconds: p50,
    p90_seconds: p50 * (2 + 2 * next()),
    p99_seconds: p50 * (5 + 10 * next()),
  };
}

function overTime(next, of, steps, from, step) {
  const wave = (value, spread) =>
    Array.from({ length: steps }, (_, at) => {
      const part = Math.sin((from / step + at) / 17) * 0.3 + 1;
      return value === 0 ? 0 : Math.max(0, value * part * (1 + spread * (next() - 0.5)));
    });
  return {
    requests_per_second: wave(of.requests_per_second, 0.3),
    error_ratio: wave(of.error_ratio, 1),
    p50_seconds: wave(of.p50_seconds, 0.2),
    p90_seconds: wave(of.p90_seconds, 0.4),
    p99_seconds: wave(of.p99_seconds, 0.8),
  };
}

function rangeOf(query) {
  const [, number, unit] = /^(\d+)([smh])$/.exec(query.get("last") ?? "15m") ?? [0, "15", "m"];
  const seconds = Number(number) * { s: 1, m: 60, h: 3600 }[unit];
  const step = seconds > 3600 ? 60 : 5;
  const to = Math.floor(Date.now() / 1000 / step) * step;
  return { from: to - seconds, to, step };
}

function seedOf(text) {
  return [...text].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) >>> 0, 7);
}

function allServices(query) {
  const range = rangeOf(query);
  const steps = (range.to - range.from) / range.step;
  const rows = names.map((service) => {
    const next = random(seedOf(service));
    const served = red(next, range.to - range.from);
    return {
      service,
      namespace: "",
      protocols: next() > 0.5 ? ["http"] : ["http", "redis"],
      served,
      called: next() > 0.3 ? red(next, range.to - range.from) : null,
      over_time: overTime(next, served, steps, range.from, range.step),
    };
  });
  rows.sort((a, b) => b.served.error_ratio - a.served.error_ratio || b.served.p99_seconds - a.served.p99_seconds);
  return { range, services: rows };
}

const BOUNDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

function oneService(name, query) {
  const range = rangeOf(query);
  const steps = (range.to - range.from) / range.step;
  const side = (called) => {
    const next = random(seedOf(name) + (called ? 1 : 0));
    const of = red(next, range.to - range.from);
    const middle = BOUNDS.findIndex((bound) => bound > of.p50_seconds);
    return {
      red: of,
      over_time: overTime(next, of, steps, range.from, range.step),
      heat_map: {
        bounds_seconds: BOUNDS,
        requests: Array.from({ length: BOUNDS.length + 1 }, (_, row) =>
          Array.from({ length: steps }, () => Math.max(0, Math.round(of.requests_per_second * range.step * Math.exp(-((row - middle) ** 2) / 1.5) * (0.6 + 0.8 * next()) - 0.5))),
        ),
      },
      endpoints: Array.from({ length: PER_SERVICE }, (_, at) => ({
        kind: called && at % 3 === 0 ? "db" : "http",
        system: called && at % 3 === 0 ? "redis" : "",
        method: called && at % 3 === 0 ? "GET" : ["GET", "POST", "PUT"][at % 3],
        endpoint: called && at % 3 === 0 ? "" : `/${WORDS[at % WORDS.length]}/{id}/part-${at}`,
        peer: called ? names[(at * 13) % SERVICES] : "",
        red: red(next, range.to - range.from, 8),
      })),
      more_endpoints: 0,
    };
  };
  const served = side(false);
  const next = random(seedOf(name) + 9);
  const code = (code, error, share) => ({
    side: "served",
    kind: "http",
    code,
    error,
    requests: Math.round(served.red.requests * share),
    requests_per_second: served.over_time.requests_per_second.map((rate) => rate * share * (0.5 + next())),
  });
  const codes = [code("200", "", 0.9), code("404", "", 0.04), code("503", "503", 0.03), code("500", "500", 0.02)];
  return { range, service: name, namespace: "", served, called: side(true), codes };
}

function topology(query) {
  const range = rangeOf(query);
  const seconds = range.to - range.from;
  const next = random(42);
  const nodes = names.map((name) => ({ name, kind: "service", red: red(next, seconds) }));
  const edges = [];
  const add = (client, server, connection_type = "") => {
    if (client !== server && !edges.some((edge) => edge.client === client && edge.server === server))
      edges.push({ client, server, connection_type, red: red(next, seconds) });
  };
  nodes.push({ name: "user", kind: "user", red: null });
  for (let at = 0; at < 5; at += 1) add("user", names[at], "virtual_node");
  names.forEach((name, at) => {
    if (at >= 5) add(names[Math.floor(at * next() * 0.8)], name);
    if (next() > 0.4) add(names[Math.floor(at * next())], name);
    if (next() > 0.8) add(name, names[Math.floor(SERVICES * next())]);
  });
  for (const [kind, type, count] of [["database", "database", 12], ["messaging", "messaging_system", 3], ["external", "", 6]]) {
    for (let at = 0; at < Math.min(count, SERVICES); at += 1) {
      const name = `${kind}-${at + 1}`;
      nodes.push({ name, kind, red: red(next, seconds) });
      for (let each = 0; each < 3; each += 1) add(names[Math.floor(SERVICES * next())], name, type);
    }
  }
  return { range, nodes, edges };
}

function page(path) {
  const file = path === "/" ? "index.html" : path.slice(1);
  if (!/^(index\.html|assets\/[\w.-]+)$/.test(file)) return null;
  const type = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css" }[file.split(".").pop()];
  return { type, body: readFileSync(join(dist, file)) };
}

createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://127.0.0.1");
  const json = (value, status = 200) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  };
  if (pathname === "/api/v1/services") return json(allServices(searchParams));
  if (pathname.startsWith("/api/v1/services/")) return json(oneService(decodeURIComponent(pathname.slice(17)), searchParams));
  if (pathname === "/api/v1/topology") return json(topology(searchParams));
  if (pathname.startsWith("/api/")) return json({ error: "not in the crowd", status: 404 }, 404);
  try {
    const found = page(pathname);
    if (!found) return json({ error: "not found", status: 404 }, 404);
    response.writeHead(200, { "content-type": found.type, "content-security-policy": CSP });
    response.end(found.body);
  } catch {
    json({ error: "not built", status: 404 }, 404);
  }
}).listen(Number(port), "127.0.0.1", () => console.log("ready"));
