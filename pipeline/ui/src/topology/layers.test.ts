import { describe, expect, it } from "vitest";
import { fitted, zoomed } from "./camera";
import { type GraphEdge, ROW, layers, layout } from "./layers";

const edge = (client: string, server: string): GraphEdge => ({ client, server });

/** The same graph in every run. */
function crowd(size: number): { names: string[]; edges: GraphEdge[] } {
  let state = 7;
  const next = (): number => (state = (state * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  const names = Array.from({ length: size }, (_, at) => `n${at}`);
  const pick = (): string => names[Math.floor(next() * size)] ?? "n0";
  return { names, edges: Array.from({ length: size * 3 }, () => edge(pick(), pick())) };
}

describe("the graph", () => {
  it("has callers left of those they call", () => {
    const layer = layers(["a", "b", "c", "d"], [edge("a", "b"), edge("b", "c"), edge("a", "c"), edge("a", "d")]);
    expect(layer).toEqual(new Map([["a", 0], ["b", 1], ["c", 2], ["d", 1]]));
  });

  it("ends although its nodes call each other in a circle, or themselves", () => {
    const layer = layers(["a", "b", "c"], [edge("a", "b"), edge("b", "c"), edge("c", "a"), edge("b", "b")]);
    expect([...layer.values()].sort()).toEqual([0, 1, 2]);
  });

  it("lies the same way whatever order it comes in", () => {
    const { names, edges } = crowd(60);
    const there = layout(names, edges);
    const back = layout([...names].reverse(), [...edges].reverse());
    for (const name of names) expect(back.get(name)).toEqual(there.get(name));
  });

  it("of 200 nodes has none on another", () => {
    const { names, edges } = crowd(200);
    const places = [...layout(names, edges).values()];
    expect(places.length).toBe(200);
    const touching = places.flatMap((a, at) => places.slice(at + 1).filter((b) => a.x === b.x && Math.abs(a.y - b.y) < ROW - 0.01));
    expect(touching).toEqual([]);
  });

  it("of a long chain does not overflow the stack", () => {
    const names = Array.from({ length: 20_000 }, (_, at) => `n${at}`);
    const chain = names.slice(1).map((name, at) => edge(names[at] ?? "", name));
    expect(layers(names, chain).get("n19999")).toBe(19_999);
  });
});

describe("the window", () => {
  it("holds all of the graph", () => {
    const box = { left: -100, top: -900, right: 3_000, bottom: 900 };
    const { x, y, scale } = fitted(box, 800, 600);
    expect(box.left * scale + x).toBeGreaterThanOrEqual(0);
    expect(box.right * scale + x).toBeLessThanOrEqual(800);
    expect(box.top * scale + y).toBeGreaterThanOrEqual(0);
    expect(box.bottom * scale + y).toBeLessThanOrEqual(600);
  });

  it("zooms about the pointer, within bounds", () => {
    const before = { x: 10, y: 20, scale: 1 };
    const after = zoomed(before, 2, 110, 220);
    expect((110 - after.x) / after.scale).toBeCloseTo((110 - before.x) / before.scale);
    expect((220 - after.y) / after.scale).toBeCloseTo((220 - before.y) / before.scale);
    expect(zoomed(before, 1e9, 0, 0).scale).toBeLessThan(10);
  });
});
