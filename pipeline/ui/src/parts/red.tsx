// Requests, errors, durations: the same three numbers, looking the same everywhere.

import type { ComponentChildren, JSX } from "preact";
import type { Red } from "../api/types";
import { count, duration, percent, rate } from "../format";

/** From this share of errors on, it is said loudly. */
const BAD = 0.05;

export type Health = "ok" | "warn" | "bad" | "idle";

export function health(red: Red | null): Health {
  if (!red || red.requests === 0) return "idle";
  const ratio = red.errorRatio ?? 0;
  return ratio >= BAD ? "bad" : ratio > 0 ? "warn" : "ok";
}

const WORDS: Record<Health, string> = {
  ok: "no errors",
  warn: "some errors",
  bad: "many errors",
  idle: "no requests answered",
};

/** A shape and a colour: a circle is well, a triangle has errors, a square has many. */
export function HealthMark({ red }: { red: Red | null }): JSX.Element {
  const how = health(red);
  return (
    <svg class={`health ${how}`} viewBox="0 0 12 12" role="img" aria-label={WORDS[how]}>
      <title>{WORDS[how]}</title>
      {how === "ok" && <circle cx="6" cy="6" r="4" fill="currentcolor" />}
      {how === "warn" && <path d="M6 1.5 11 10.5H1Z" fill="currentcolor" />}
      {how === "bad" && <rect x="1.5" y="1.5" width="9" height="9" rx="1" fill="currentcolor" />}
      {how === "idle" && <circle cx="6" cy="6" r="3.5" fill="none" stroke="currentcolor" stroke-width="1.5" />}
    </svg>
  );
}

export function ErrorRatio({ value }: { value: number | null }): JSX.Element {
  const loud = value === null || value === 0 ? "" : value >= BAD ? "bad" : "warn";
  return <span class={loud}>{percent(value)}</span>;
}

interface TileProps {
  title: string;
  children: ComponentChildren;
  note?: string | undefined;
}

export function Tile({ title, children, note }: TileProps): JSX.Element {
  return (
    <div>
      <dt>{title}</dt>
      <dd>
        {children}
        {note && <small>{note}</small>}
      </dd>
    </div>
  );
}

export function RedTiles({ red }: { red: Red }): JSX.Element {
  return (
    <dl class="tiles">
      <Tile title="Rate" note={`${count(red.requests)} requests`}>
        {rate(red.requestsPerSecond)}
      </Tile>
      <Tile title="Errors" note={`of the requests`}>
        <ErrorRatio value={red.errorRatio} />
      </Tile>
      <Tile title="p50" note="half are faster">
        {duration(red.p50)}
      </Tile>
      <Tile title="p90" note="9 in 10 are faster">
        {duration(red.p90)}
      </Tile>
      <Tile title="p99" note="99 in 100 are faster">
        {duration(red.p99)}
      </Tile>
    </dl>
  );
}
