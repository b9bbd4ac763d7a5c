import { describe, expect, it } from "vitest";
import { call as decodeCall } from "../api/decode";
import type { Alarm, Call } from "../api/types";
import { callsPath } from "../api/calls";
import { formatSort, parseSort, sorted } from "../parts/sort";
import { matches } from "../parts/search";
import { alarmKey, readSilences, silencedUntil } from "../silences";
import { Buffer } from "./buffer";
import { codeColours, grouped } from "./codes";
import { exporters, losses } from "./losses";
import { total } from "./totals";
import { rows } from "./tree";

function call(spanId: string, parentSpanId: string, startNs: number, durationNs: number | null): Call {
  return { ...decodeCall({}), spanId, parentSpanId, startNs, durationNs };
}

describe("totals", () => {
  it("weigh error ratios by requests", () => {
    const red = { requestsPerSecond: 1, p50: null, p90: null };
    const all = total([{ ...red, requests: 90, errorRatio: 0, p99: 0.1 }, null, { ...red, requests: 10, errorRatio: 1, p99: 0.3 }]);
    expect(all).toEqual({ requests: 100, requestsPerSecond: 2, errorRatio: 0.1, slowest: 0.3, at: 2 });
    expect(total([]).errorRatio).toBeNull();
  });
});

describe("sorting", () => {
  it("puts the unknown last either way and keeps equals in order", () => {
    const list = [{ n: 2, at: 1 }, { n: null, at: 2 }, { n: 2, at: 3 }, { n: 5, at: 4 }];
    expect(sorted(list, ({ n }) => n, true).map(({ at }) => at)).toEqual([4, 1, 3, 2]);
    expect(sorted(list, ({ n }) => n, false).map(({ at }) => at)).toEqual([1, 3, 4, 2]);
  });

  it("is what the address says", () => {
    for (const text of ["p99", "-p99"]) expect(formatSort(parseSort(text) ?? { key: "", descending: false })).toBe(text);
    expect(parseSort("")).toBeNull();
  });
});

describe("the filter", () => {
  it("wants every word somewhere", () => {
    expect(matches("GET users", "get", "/users/{id}")).toBe(true);
    expect(matches("get orders", "get", "/users/{id}")).toBe(false);
    expect(matches("", "anything")).toBe(true);
  });
});

describe("calls that belong together", () => {
  it("hang below the call they were made for, in order of time", () => {
    const found = rows([call("c", "a", 300, 100), call("a", "", 0, 1_000), call("b", "a", 100, 100), call("d", "c", 320, null)]);
    expect(found.map((row) => [row.call.spanId, row.depth])).toEqual([["a", 0], ["b", 1], ["c", 1], ["d", 2]]);
    expect(found[2]).toMatchObject({ from: 0.3, length: 0.1 });
    expect(found[3]?.length).toBeNull();
  });

  it("are all shown, whatever their parents", () => {
    const odd = [call("a", "b", 0, 1), call("b", "a", 1, 1), call("c", "c", 2, 1), call("d", "gone", 3, 1), call("", "", 4, 1)];
    expect(rows(odd).length).toBe(odd.length);
  });
});

describe("the list of calls", () => {
  it("holds each once, the newest of them", () => {
    const buffer = new Buffer(2);
    buffer.push([call("a", "", 1, 1), call("b", "", 2, 1)]);
    buffer.push([call("b", "", 2, 1), call("c", "", 3, 1)]);
    expect(buffer.newest().map(({ spanId }) => spanId)).toEqual(["c", "b"]);
    expect(buffer.seen).toBe(3);
  });

  it("is asked for by the filters that hold something", () => {
    expect(callsPath({ service: "a b", code: "" }, true, 5)).toBe("/api/v1/calls?service=a+b&follow=true");
    expect(callsPath({}, false, 5)).toBe("/api/v1/calls?limit=5");
  });
});

describe("codes", () => {
  it("beyond the first few share a line, and none is lost", () => {
    const codes = ["200", "404", "500", "502"].map((code) => ({
      side: "served",
      kind: "http",
      code,
      error: code >= "500" ? code : "",
      requests: 1,
      requestsPerSecond: [1, null],
    }));
    const groups = grouped(codes, 2);
    expect(groups.map(({ code, requestsPerSecond }) => [code, requestsPerSecond[0]])).toEqual([["200", 1], ["404", 1], ["others", 2]]);
    expect(new Set(codeColours(grouped(codes, 6))).size).toBe(4);
  });
});

describe("silences", () => {
  const alarm: Alarm = { name: "A", severity: "", service: "s", labels: { b: "1", a: "2" }, annotations: {}, value: 1, unit: null, since: 0, until: null, silencedUntil: null };

  it("are of one alarm, end, and survive a broken store", () => {
    const key = alarmKey(alarm);
    expect(alarmKey({ ...alarm, labels: { a: "2", b: "1" }, value: 7 })).toBe(key);
    expect(alarmKey({ ...alarm, labels: { a: "3", b: "1" } })).not.toBe(key);
    expect(readSilences(JSON.stringify({ [key]: 100, old: 50 }), 60)).toEqual({ [key]: 100 });
    expect(readSilences("{broken", 0)).toEqual({});
    expect(readSilences(null, 0)).toEqual({});
    expect(silencedUntil(alarm, { [key]: 100 })).toBe(100);
    expect(silencedUntil({ ...alarm, silencedUntil: 9 }, {})).toBe(9);
    expect(silencedUntil(alarm, {})).toBeNull();
  });
});

describe("a status", () => {
  it("tells loss from what is left out by intent, and sums shards", () => {
    const shard = { stages: [{ stage: "parse", rejected: { malformed: 2, foreign: 5, given_up: 0 } }] };
    const found = losses({
      conservation: { exchanges: { missed: 3, seen: 100 } },
      kernel: { refused_full: 1, not_selected: 9, turns: 50 },
      shards: [shard, shard],
    });
    expect(found.map(({ reason, count, matters }) => [reason, count, matters])).toEqual([
      ["malformed", 4, true],
      ["missed", 3, true],
      ["refused_full", 1, true],
      ["foreign", 10, false],
      ["not_selected", 9, false],
    ]);
  });

  it("of another version breaks nothing", () => {
    expect(losses(null)).toEqual([]);
    expect(exporters({ exporters: [1, { exporter: "otlp", delivered: 3, undelivered: { refused: 0, overflow: 2 } }] })).toMatchObject([
      { name: "", delivered: 0 },
      { name: "otlp", delivered: 3, undelivered: [["overflow", 2]] },
    ]);
  });
});
