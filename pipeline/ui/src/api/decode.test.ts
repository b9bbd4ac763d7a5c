import { describe, expect, it } from "vitest";
import * as decode from "./decode";

describe("answers", () => {
  it("are read as docs/api.md writes them", () => {
    const red = { requests: 900, requests_per_second: 1, error_ratio: 0.01, p50_seconds: 0.004, p90_seconds: 0.02, p99_seconds: 0.3 };
    const { range, services } = decode.services({
      range: { from: 100, to: 110, step: 5 },
      services: [
        {
          service: "shop",
          namespace: "prod",
          protocols: ["http"],
          served: red,
          called: null,
          over_time: { requests_per_second: [1, null], error_ratio: [0, null], p50_seconds: [], p90_seconds: [], p99_seconds: [] },
        },
      ],
    });
    expect(range).toEqual({ from: 100, to: 110, step: 5 });
    expect(services[0]?.served).toEqual({ requests: 900, requestsPerSecond: 1, errorRatio: 0.01, p50: 0.004, p90: 0.02, p99: 0.3 });
    expect(services[0]?.called).toBeNull();
    expect(services[0]?.overTime.requestsPerSecond).toEqual([1, null]);
  });

  it("of any other shape break nothing", () => {
    const odd: unknown[] = [null, 1, "x", [], {}, { range: null, services: [null, 1], nodes: {}, edges: [3] }, { firing: 7, history: "no" }];
    for (const value of odd) {
      expect(() => decode.services(value)).not.toThrow();
      expect(() => decode.serviceReport(value)).not.toThrow();
      expect(() => decode.topology(value)).not.toThrow();
      expect(() => decode.alarms(value)).not.toThrow();
      expect(() => decode.callDetail(value)).not.toThrow();
    }
    expect(decode.services({ range: { step: 0 } }).range.step).toBe(1);
  });

  it("tell null from 0", () => {
    expect(decode.services({ services: [{ served: { error_ratio: null } }] }).services[0]?.served?.errorRatio).toBeNull();
    expect(decode.services({ services: [{ served: { error_ratio: 0 } }] }).services[0]?.served?.errorRatio).toBe(0);
  });

  it("with edges to unlisted nodes get these nodes", () => {
    const { nodes } = decode.topology({ nodes: [{ name: "a", kind: "service" }], edges: [{ client: "a", server: "b", red: {} }] });
    expect(nodes.map(({ name, kind }) => `${name} ${kind}`)).toEqual(["a service", "b external"]);
  });
});
