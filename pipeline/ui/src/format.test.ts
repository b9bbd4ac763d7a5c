import { describe, expect, it } from "vitest";
import { UNKNOWN, bytes, count, duration, percent, rate, significant, span } from "./format";

describe("numbers", () => {
  it("have three significant digits and no exponent", () => {
    expect(significant(1234.5)).toBe("1235");
    expect(significant(99.96)).toBe("100");
    expect(significant(12.345)).toBe("12.3");
    expect(significant(0.0012345)).toBe("0.00123");
    expect(significant(0)).toBe("0");
  });

  it("that are not known are a dash, never 0", () => {
    for (const format of [count, rate, percent, duration, span, bytes]) {
      expect(format(null)).toBe(UNKNOWN);
      expect(format(Number.NaN)).toBe(UNKNOWN);
    }
  });

  it("have units", () => {
    expect(duration(0.00084)).toBe("840 µs");
    expect(duration(0.0042)).toBe("4.2 ms");
    expect(duration(1.3)).toBe("1.3 s");
    expect(duration(4e-7)).toBe("400 ns");
    expect(duration(200)).toBe("3 min 20 s");
    expect(span(90_061)).toBe("1 d 1 h");
    expect(rate(0.25)).toBe("0.25/s");
    expect(rate(25_000)).toBe("25 k/s");
    expect(count(12_345_678)).toBe("12.3 M");
    expect(count(9_999)).toBe("9999");
    expect(bytes(4_194_304)).toBe("4 MiB");
  });

  it("never round what failed, or was missed, away", () => {
    expect(percent(0.00001)).toBe("<0.01 %");
    expect(percent(0.99999)).toBe(">99.99 %");
    expect(percent(0.9987)).toBe("99.87 %");
    expect(percent(1)).toBe("100 %");
    expect(percent(0)).toBe("0 %");
    expect(rate(0.0001)).toBe("<0.001/s");
  });
});
