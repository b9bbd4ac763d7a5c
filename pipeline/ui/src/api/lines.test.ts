import { describe, expect, it } from "vitest";
import { Lines, MAX_LINE } from "./lines";

describe("lines", () => {
  it("are the same wherever the stream is cut", () => {
    const text = '{"a":1}\n{"b":"é"}\n\n{"c":3}';
    const whole = ['{"a":1}', '{"b":"é"}', '{"c":3}'];
    for (let cut = 0; cut <= text.length; cut += 1) {
      const lines = new Lines();
      expect([...lines.push(text.slice(0, cut)), ...lines.push(text.slice(cut)), ...lines.end()]).toEqual(whole);
    }
  });

  it("that are too long are left out and counted, and the next is whole", () => {
    const lines = new Lines();
    const long = "x".repeat(MAX_LINE + 1);
    expect(lines.push("first\n")).toEqual(["first"]);
    expect(lines.push(long)).toEqual([]);
    expect(lines.push(long)).toEqual([]);
    expect(lines.push("end of it\nnext\n")).toEqual(["next"]);
    expect(lines.skipped).toBe(1);
  });
});
