import { describe, expect, it } from "vitest";
import { columns, share, visibleRows } from "./cells";
import { alone, areaPath, linePath, stacked, summary, thinned, times } from "./series";

describe("values over time", () => {
  it("have one moment a step", () => {
    expect(times({ from: 100, to: 115, step: 5 })).toEqual([105, 110, 115]);
    expect(times({ from: 115, to: 100, step: 5 })).toEqual([]);
  });

  it("are summed up without their gaps", () => {
    expect(summary([null, 1, 3, null])).toEqual({ min: 1, mean: 2, max: 3, latest: 3 });
    expect(summary([null])).toEqual({ min: null, mean: null, max: null, latest: null });
  });

  it("lie on each other, and a gap in all is a gap", () => {
    expect(stacked([[1, null, 2], [3, null, null]])).toEqual([[1, null, 2], [4, null, 2]]);
  });

  it("keep their peaks when there are too many", () => {
    const values = Array.from({ length: 1000 }, (_, at) => (at === 777 ? 9 : 1));
    expect(thinned(values, 50).length).toBeLessThanOrEqual(50);
    expect(Math.max(...thinned(values, 50).map((value) => value ?? 0))).toBe(9);
    expect(thinned([1, 2], 50)).toEqual([1, 2]);
  });

  it("that stand alone are found", () => {
    expect(alone([1, null, 2, 3, null, 4])).toEqual([0, 5]);
    expect(alone([])).toEqual([]);
  });

  it("make lines that are broken at gaps", () => {
    expect(linePath([0, 10, null, 10], 10, 30, 10)).toBe("M0.0 10.0h.01L10.0 0.0M30.0 0.0h.01");
    expect(areaPath([10, null, 5], 10, 20, 10)).toBe("M0.0 10L0.0 0.0L0.0 10ZM20.0 10L20.0 5.0L20.0 10Z");
    expect(linePath([], 1, 10, 10)).toBe("");
  });
});

describe("the heat map", () => {
  it("shows the rows that hold something and their neighbours", () => {
    expect(visibleRows([[0], [0], [1], [null], [0]])).toEqual([1, 3]);
    expect(visibleRows([[5], [0]])).toEqual([0, 1]);
    expect(visibleRows([[0], [0]])).toEqual([0, 1]);
  });

  it("loses no request when steps share a column", () => {
    const { values, count, each, max } = columns([[1, 2, 3, null, 5]], 2);
    expect({ values, count, each, max }).toEqual({ values: [[6, 5]], count: 2, each: 3, max: 6 });
  });

  it("is darkest where most is", () => {
    expect(share(100, 100)).toBe(1);
    expect(share(10, 100)).toBe(0.5);
    expect(share(1, 100)).toBe(0);
    expect(share(1, 1)).toBe(1);
  });
});
