// Numbers as people read them: three significant digits, always with a unit. What is not known is a dash, never 0.

export const UNKNOWN = "–";

type Maybe = number | null | undefined;

function known(value: Maybe): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

/** Three significant digits without an exponent; no digits behind the point from 100 on. */
export function significant(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 100) return String(Math.round(value));
  const digits = size >= 10 ? 1 : size >= 1 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(size)));
  return String(Number(value.toFixed(digits)));
}

const STEPS = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
] as const;

/** 1234567 is "1.23 M". Whole numbers below 10 000 stay as they are. */
export function count(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  if (Math.abs(value) < 10_000) return Number.isInteger(value) ? String(value) : significant(value);
  for (const [step, letter] of STEPS) {
    if (Math.abs(value) >= step) return `${significant(value / step)} ${letter}`;
  }
  return significant(value);
}

/** Requests a second. */
export function rate(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  if (value > 0 && value < 0.001) return "<0.001/s";
  for (const [step, letter] of STEPS) {
    if (value >= step * 10 || (value >= step && step > 1e3)) return `${significant(value / step)} ${letter}/s`;
  }
  return `${significant(value)}/s`;
}

/** A share from 0 to 1. */
export function percent(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  if (value > 0 && value < 0.0001) return "<0.01 %";
  // What is not all must not read as all.
  if (value < 1 && value > 0.9999) return ">99.99 %";
  const hundredfold = value * 100;
  return `${hundredfold >= 99 && hundredfold < 100 ? hundredfold.toFixed(2) : significant(hundredfold)} %`;
}

/** A duration in seconds. */
export function duration(seconds: Maybe): string {
  if (!known(seconds)) return UNKNOWN;
  if (seconds === 0) return "0 s";
  if (seconds < 1e-6) return `${significant(seconds * 1e9)} ns`;
  if (seconds < 1e-3) return `${significant(seconds * 1e6)} µs`;
  if (seconds < 1) return `${significant(seconds * 1e3)} ms`;
  if (seconds < 120) return `${significant(seconds)} s`;
  return span(seconds);
}

/** A long duration in its two largest units. */
export function span(seconds: Maybe): string {
  if (!known(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours] = [Math.floor(whole / 86_400), Math.floor((whole % 86_400) / 3_600)];
  const [minutes, rest] = [Math.floor((whole % 3_600) / 60), whole % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return rest > 0 ? `${minutes} min ${rest} s` : `${minutes} min`;
  return `${rest} s`;
}

/** Bytes, in powers of 1024. */
export function bytes(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [rest, unit] = [value, 0];
  while (Math.abs(rest) >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${significant(rest)} ${units[unit] ?? ""}`;
}

const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** Local time of day of a moment in seconds since the epoch. */
export function clock(seconds: Maybe): string {
  return known(seconds) ? TIME.format(seconds * 1000) : UNKNOWN;
}

/** Local day and time. */
export function moment(seconds: Maybe): string {
  return known(seconds) ? DAY.format(seconds * 1000) : UNKNOWN;
}

/** Local time with milliseconds, of nanoseconds since the epoch. */
export function preciseClock(nanoseconds: Maybe): string {
  if (!known(nanoseconds)) return UNKNOWN;
  const milliseconds = Math.floor(nanoseconds / 1e6);
  return `${TIME.format(milliseconds)}.${String(milliseconds % 1000).padStart(3, "0")}`;
}

/** The plural's s. */
export function plural(value: number, word: string, words = `${word}s`): string {
  return `${count(value)} ${value === 1 ? word : words}`;
}
