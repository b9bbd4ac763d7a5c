import { describe, expect, it } from "vitest";
import { HOME, type View, format, parse, withParams } from "./url";

describe("the address", () => {
  it("holds the whole view and gives it back", () => {
    const views: View[] = [
      HOME,
      { page: "service", service: "a/b c?d#é", range: "1h", params: { side: "called", served: "-p99" } },
      { page: "calls", service: "", range: "live", params: { endpoint: "/users/{id}", slower: "100ms", status: "error" } },
      { page: "topology", service: "", range: "24h", params: { edge: "shop → redis", filter: "a&b=c" } },
    ];
    for (const view of views) expect(parse(format(view))).toEqual(view);
  });

  it("is the same for the same view", () => {
    const a = withParams(withParams(HOME, { b: "1" }), { a: "2" });
    const b = withParams(withParams(HOME, { a: "2" }), { b: "1" });
    expect(format(a)).toBe(format(b));
  });

  it("of nonsense is the first page", () => {
    for (const hash of ["", "#", "#/", "#/nowhere", "#/service", "#//", "#/services/"]) expect(parse(hash)).toEqual(HOME);
    expect(parse("#/calls?range=7y&x=").range).toBe("15m");
    expect(parse("#/services/%E0%A4%A").service).toBe("%E0%A4%A");
  });

  it("loses what is emptied", () => {
    expect(withParams({ ...HOME, params: { a: "1", b: "2" } }, { a: "" }).params).toEqual({ b: "2" });
  });
});
