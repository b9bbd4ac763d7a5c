// Alarms that are silenced in this browser only: they are shown quietly here, and sent as before.

import type { Alarm } from "./api/types";

const KEY = "redtap.silences";

/** The same alarm has the same name and the same labels. */
export function alarmKey(alarm: Alarm): string {
  const labels = Object.entries(alarm.labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([alarm.name, alarm.service, labels]);
}

/** By alarm, until when, seconds since the epoch. What is over is left out. */
export function readSilences(text: string | null, now: number): Record<string, number> {
  let stored: unknown;
  try {
    stored = JSON.parse(text ?? "{}");
  } catch {
    return {};
  }
  if (typeof stored !== "object" || stored === null) return {};
  const entries = Object.entries(stored).filter(([, until]) => typeof until === "number" && until > now);
  return Object.fromEntries(entries) as Record<string, number>;
}

export function silences(): Record<string, number> {
  return readSilences(localStorage.getItem(KEY), Date.now() / 1000);
}

/** For so many seconds; 0 ends it. */
export function silence(alarm: Alarm, seconds: number): void {
  const all = silences();
  if (seconds > 0) all[alarmKey(alarm)] = Date.now() / 1000 + seconds;
  else delete all[alarmKey(alarm)];
  localStorage.setItem(KEY, JSON.stringify(all));
  dispatchEvent(new Event("redtap:silences"));
}

/** Until when an alarm is silenced, here or by the agent; null: it is not. */
export function silencedUntil(alarm: Alarm, local: Record<string, number>): number | null {
  const here = local[alarmKey(alarm)] ?? null;
  return here === null ? alarm.silencedUntil : Math.max(here, alarm.silencedUntil ?? 0);
}
