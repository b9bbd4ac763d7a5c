// Single calls as they happen, what is known of one, and the calls that were made for it.

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { follow } from "../api/calls";
import { type ApiError, api } from "../api/client";
import type { Call } from "../api/types";
import { bytes, count, duration, percent, preciseClock } from "../format";
import { Failure, Message, Shown } from "../parts/message";
import { go, useAnswer, useShared, useView } from "../state";
import { format, parse, withParams } from "../url";
import { Buffer, identity } from "./buffer";
import { rows } from "./tree";

/** Calls that are kept in the list. */
const KEPT = 500;
/** Calls that are shown in a table at a time: more would not be read before they are gone. */
const SHOWN = 200;
/** The list is drawn this often, milliseconds, however many calls come. */
const DRAW_EVERY = 500;
/** A filter that is being typed is not a filter yet, milliseconds. */
const SETTLE = 400;

interface Filter {
  key: string;
  label: string;
  example?: string;
  choices?: [string, string][];
}

const FILTERS: Filter[] = [
  { key: "service", label: "Service", example: "shop" },
  { key: "peer", label: "Other end", example: "redis" },
  { key: "protocol", label: "Protocol", example: "http" },
  { key: "endpoint", label: "Endpoint", example: "/users/{id}" },
  { key: "code", label: "Code", example: "503" },
  { key: "slower", label: "At least as slow as", example: "100ms" },
  {
    key: "status",
    label: "Outcome",
    choices: [
      ["", "any"],
      ["ok", "ok"],
      ["error", "error"],
      ["none", "no answer"],
    ],
  },
  {
    key: "side",
    label: "Side",
    choices: [
      ["", "both"],
      ["server", "answered"],
      ["client", "made"],
    ],
  },
];

type State = "connecting" | "open" | ApiError;

interface Tail {
  calls: Call[];
  state: State;
  leftOut: number;
  seen: number;
}

const EMPTY: Tail = { calls: [], state: "connecting", leftOut: 0, seen: 0 };

function useTail(filters: Record<string, string>): Tail {
  const { paused, round } = useShared();
  const [tail, set] = useState<Tail>(EMPTY);
  const key = JSON.stringify(filters);
  const buffer = useRef<{ key: string; calls: Buffer }>({ key: "", calls: new Buffer(KEPT) });
  useEffect(() => {
    if (paused) return;
    if (buffer.current.key !== key) {
      buffer.current = { key, calls: new Buffer(KEPT) };
      set(EMPTY);
    }
    const kept = buffer.current.calls;
    const stop = new AbortController();
    let leftOut = 0;
    let state: State = "connecting";
    let changed = true;
    const draw = (): void => {
      if (!changed || document.hidden) return;
      changed = false;
      set({ calls: kept.newest(), state, leftOut, seen: kept.seen });
    };
    const timer = setInterval(draw, DRAW_EVERY);
    const note = (change: () => void): void => {
      change();
      changed = true;
    };
    const listener = {
      calls: (calls: Call[]) => note(() => kept.push(calls)),
      leftOut: (more: number) => note(() => (leftOut += more)),
      state: (next: State) => note(() => (state = next)),
    };
    const start = setTimeout(() => void follow(filters, KEPT, listener, stop.signal), buffer.current.calls.seen > 0 ? 0 : SETTLE / 4);
    return () => {
      stop.abort();
      clearInterval(timer);
      clearTimeout(start);
    };
  }, [key, paused, round]);
  return tail;
}

export function CallsPage({ again }: { again: () => void }): JSX.Element {
  const view = useView();
  const { paused } = useShared();
  const filters: Record<string, string> = {};
  for (const { key } of FILTERS) if (view.params[key]) filters[key] = view.params[key];
  if (view.params.trace) filters.trace = view.params.trace;
  const tail = useTail(filters);
  const chosen = view.params.call ?? "";
  const picked = tail.calls.find((call) => identity(call) === chosen);
  const error = typeof tail.state === "object" ? tail.state : null;
  return (
    <>
      <div class="head">
        <h1>Calls</h1>
        <TailState tail={tail} paused={paused} />
      </div>
      <Filters />
      {error && tail.calls.length === 0 ? (
        <section class="card">
          <Failure error={error} again={again} />
        </section>
      ) : (
        <div class={chosen === "" ? "calls" : "calls detail"}>
          <section class="card" aria-label="Calls, newest first">
            <CallTable calls={tail.calls.slice(0, SHOWN)} chosen={chosen} waiting={tail.state !== "open"} filtered={Object.keys(filters).length > 0} />
          </section>
          {chosen !== "" && <OneCall key={chosen} id={chosen} listed={picked ?? null} again={again} />}
        </div>
      )}
    </>
  );
}

function TailState({ tail, paused }: { tail: Tail; paused: boolean }): JSX.Element {
  const open = tail.state === "open" && !paused;
  const word = paused ? "paused" : open ? "live" : typeof tail.state === "object" ? tail.state.message : "connecting…";
  return (
    <span class={`state ${open ? "open" : ""}`} role="status">
      <i aria-hidden="true" />
      <span>{word}</span>
      <span aria-live="off">
        {tail.seen > 0 && `${count(tail.seen)} calls came, the newest ${count(Math.min(SHOWN, tail.calls.length))} are shown`}
        {tail.leftOut > 0 && <b class="warn"> {count(tail.leftOut)} left out: more came than could be sent</b>}
      </span>
    </span>
  );
}

function Filters(): JSX.Element {
  const view = useView();
  const set = (key: string, value: string): void => go(withParams(parse(location.hash), { [key]: value, call: "" }), true);
  const active = FILTERS.some(({ key }) => view.params[key]) || view.params.trace;
  return (
    <form class="card filters" role="search" aria-label="Filter calls" onSubmit={(event) => event.preventDefault()}>
      {FILTERS.map((filter) => (
        <label class="field" key={filter.key}>
          {filter.label}
          {filter.choices ? (
            <select class="input" value={view.params[filter.key] ?? ""} onChange={(event) => set(filter.key, event.currentTarget.value)}>
              {filter.choices.map(([value, label]) => (
                <option value={value} key={value}>
                  {label}
                </option>
              ))}
            </select>
          ) : (
            <Typed filter={filter} value={view.params[filter.key] ?? ""} onSettled={(value) => set(filter.key, value)} />
          )}
        </label>
      ))}
      {active && (
        <button
          type="button"
          class="button clear"
          onClick={() => go({ ...view, params: {} })}
        >
          Clear{view.params.trace ? " (one trace)" : ""}
        </button>
      )}
    </form>
  );
}

/** An input whose value counts once nobody types any more. */
function Typed({ filter, value, onSettled }: { filter: Filter; value: string; onSettled: (value: string) => void }): JSX.Element {
  const [text, setText] = useState(value);
  const timer = useRef(0);
  useEffect(() => setText(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <input
      class="input"
      value={text}
      placeholder={filter.example}
      spellcheck={false}
      autocapitalize="off"
      onInput={(event) => {
        const next = event.currentTarget.value;
        setText(next);
        clearTimeout(timer.current);
        timer.current = window.setTimeout(() => onSettled(next.trim()), SETTLE);
      }}
    />
  );
}

function outcome(call: Call): JSX.Element {
  if (call.status === "ok") return <span class="ok">{call.code || "ok"}</span>;
  if (call.status === "error") return <span class="chip bad">{call.code || call.error || "error"}</span>;
  return <span class="chip warn">{call.error || (call.status === "none" ? "no answer" : "unknown")}</span>;
}

/** Method and target; where the target says no more than the method, as for Redis, it is not said twice. */
function asked(call: Call): string {
  const target = call.target || call.endpoint;
  return target === "" || target === call.method ? call.method : `${call.method} ${target}`;
}

function seconds(nanoseconds: number | null): number | null {
  return nanoseconds === null ? null : nanoseconds / 1e9;
}

interface TableProps {
  calls: Call[];
  chosen: string;
  waiting: boolean;
  filtered: boolean;
}

function CallTable({ calls, chosen, waiting, filtered }: TableProps): JSX.Element {
  const view = useView();
  if (calls.length === 0) {
    return (
      <Message title={waiting ? "Connecting…" : "No calls yet"}>
        {!waiting && (
          <p>
            {filtered ? "Nothing that happened matches these filters; clear some." : "Calls are listed here as they end."} If there is
            traffic that is not here, <a href={format({ ...view, page: "sees", params: {} })}>what redtap sees</a> says why.
          </p>
        )}
      </Message>
    );
  }
  const open = (id: string): void => go(withParams(parse(location.hash), { call: id === chosen ? "" : id }));
  return (
    <div class="scroll">
      <table>
        <caption class="hidden">Calls, newest first</caption>
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col" class="medium">
              Service
            </th>
            <th scope="col" class="wide">
              Side
            </th>
            <th scope="col" class="medium">
              Other end
            </th>
            <th scope="col">Request</th>
            <th scope="col">Code</th>
            <th scope="col" class="number">
              Took
            </th>
          </tr>
        </thead>
        <tbody>
          {calls.map((call) => {
            const id = identity(call);
            return (
              <tr key={id} class={id === chosen ? "chosen" : undefined}>
                <td class="time">
                  <button type="button" class="open" aria-expanded={id === chosen} onClick={() => open(id)}>
                    {preciseClock(call.startNs).slice(0, -4)}
                    <span class="medium">{preciseClock(call.startNs).slice(-4)}</span>
                  </button>
                </td>
                <td class="medium">{call.service || call.comm}</td>
                <td class="wide quiet">{call.role === "server" ? "answered" : "made"}</td>
                <td class="medium">{call.peer}</td>
                <td class="ellipsis mono" title={`${call.method} ${call.target}`}>
                  <span class="narrow quiet">{call.service || call.comm}</span>
                  {asked(call)}
                </td>
                <td>{outcome(call)}</td>
                <td class="number">{duration(seconds(call.durationNs))}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function OneCall({ id, listed, again }: { id: string; listed: Call | null; again: () => void }): JSX.Element {
  // What was listed stays on show when the list moves on.
  const [kept] = useState(listed);
  const known = listed ?? kept;
  const spanId = known ? known.spanId : id.includes(" ") ? "" : id;
  return (
    <section class="card one" aria-label="One call">
      <div class="picked">
        <div class="picked-head">
          <h2>{known ? asked(known) : "One call"}</h2>
          <button
            type="button"
            class="button icon"
            aria-label="Close"
            onClick={() => go(withParams(parse(location.hash), { call: "" }))}
          >
            <svg viewBox="0 0 16 16" aria-hidden="true">
              <path d="m4 4 8 8M12 4l-8 8" />
            </svg>
          </button>
        </div>
        {known && <Facts call={known} />}
      </div>
      {spanId === "" ? (
        <p class="body quiet small">
          {known ? "This call has no identity of its own, so nothing can be tied to it." : "This call is no longer in the list."}
        </p>
      ) : (
        <TreeOf spanId={spanId} known={known} again={again} />
      )}
    </section>
  );
}

function TreeOf({ spanId, known, again }: { spanId: string; known: Call | null; again: () => void }): JSX.Element {
  // A call that has just ended may still gain calls that were made for it.
  const answer = useAnswer(`call ${spanId}`, 5_000, (signal) => api.call(spanId, signal));
  const gone = answer.error?.trouble === "not-found" && answer.data === null;
  if (gone) return <p class="body quiet small">The calls that belong to this one are no longer kept ({answer.error?.message}).</p>;
  return (
    <Shown answer={answer} again={again}>
      {({ call, tree }) => (
        <>
          {!known && (
            <div class="picked">
              <Facts call={call} />
            </div>
          )}
          <div class="body">
            <h3>Calls that belong together</h3>
            <Waterfall calls={tree} chosen={spanId} />
          </div>
        </>
      )}
    </Shown>
  );
}

/** How a call is tied to the one above it, by `link`. */
const LINKS: Record<string, { name: string; how: string; inferred: boolean }> = {
  thread: { name: "inferred", how: "Made by the thread that was answering the request above; no header says so", inferred: true },
  socket: { name: "other end", how: "The other end of the same connection, which this agent sees too", inferred: false },
  traceparent: { name: "traceparent", how: "The request’s W3C trace context says so", inferred: false },
  b3: { name: "B3", how: "The request’s B3 header says so", inferred: false },
  sw8: { name: "SkyWalking", how: "The request’s SkyWalking header says so", inferred: false },
};

function Waterfall({ calls, chosen }: { calls: Call[]; chosen: string }): JSX.Element {
  const inferred = calls.some((call) => LINKS[call.link]?.inferred);
  return (
    <>
      <ol class="waterfall">
        {rows(calls).map(({ call, depth, from, length }) => {
          const kind = call.status === "error" ? "error" : length === null ? "unknown" : "";
          return (
            <li key={`${call.spanId} ${call.role} ${call.startNs}`} class={call.spanId === chosen ? "chosen" : undefined}>
              <span class="what" style={{ paddingLeft: `${Math.min(depth, 8) * 0.75}rem` }} title={`${call.method} ${call.target}`}>
                {depth > 0 && <span class="quiet">{LINKS[call.link]?.inferred ? "┄ " : "└ "}</span>}
                {call.spanId !== "" && call.spanId !== chosen ? (
                  <a href={format(withParams(parse(location.hash), { call: call.spanId }))}>{call.service || call.comm}</a>
                ) : (
                  <b>{call.service || call.comm}</b>
                )}{" "}
                <span class="quiet">
                  {call.role === "client" && call.peer !== "" ? `→ ${call.peer} ` : ""}
                  {asked(call)}
                </span>
                {depth > 0 && LINKS[call.link] && (
                  <span class={`chip ${LINKS[call.link]?.inferred ? "warn" : ""}`} title={LINKS[call.link]?.how}>
                    {LINKS[call.link]?.name}
                  </span>
                )}
              </span>
              <span class="lane" title={`begins at ${percent(from)} of the whole`} aria-hidden="true">
                <span class={kind} style={{ left: `${from * 100}%`, width: `${(length ?? 1 - from) * 100}%` }} />
              </span>
              <span class="number">{length === null ? "no end" : duration(seconds(call.durationNs))}</span>
            </li>
          );
        })}
      </ol>
      {inferred && (
        <p class="quiet small">
          Inferred: the call carried no trace context. It is tied to the request that its thread was answering.
        </p>
      )}
    </>
  );
}

function Facts({ call }: { call: Call }): JSX.Element {
  const view = useView();
  const facts: [string, JSX.Element | string][] = [
    ["Outcome", outcome(call)],
    ["Took", `${duration(seconds(call.durationNs))}${call.ttfbNs === null ? "" : `, first byte after ${duration(seconds(call.ttfbNs))}`}`],
    ["Began", preciseClock(call.startNs)],
    ["Service", `${call.service || call.comm}${call.pid === null ? "" : ` (${call.comm}, process ${call.pid})`}`],
    ["Other end", call.peer],
    ["Seen", call.role === "server" ? "where it was answered" : "where it was made"],
    ["Protocol", call.protocol],
    ["Target", <span class="mono">{call.target}</span>],
    ["Sent", `${bytes(call.requestBytes)} request, ${bytes(call.responseBytes)} response`],
    ["Connection", <span class="mono">{`${call.client} → ${call.server}`}</span>],
    ["User", call.user],
    ["Database", call.namespace],
    [
      "Trace",
      call.traceId === "" ? (
        ""
      ) : (
        <a class="mono" href={format({ ...view, params: { trace: call.traceId } })}>
          {call.traceId}
        </a>
      ),
    ],
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value]) =>
        value === "" ? null : (
          <>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </>
        ),
      )}
    </dl>
  );
}
