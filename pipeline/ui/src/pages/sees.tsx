// What redtap sees, and what it does not: how it watches, what it lost and why, what it costs.

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api } from "../api/client";
import { at, number, text } from "../api/decode";
import type { Values } from "../api/types";
import { Spark } from "../charts/spark";
import { bytes, count, percent, rate, significant, span } from "../format";
import { Shown } from "../parts/message";
import { Tile } from "../parts/red";
import { type Column, Table } from "../parts/table";
import { useAnswer } from "../state";
import { type Exporter, type Loss, exporters, losses, words } from "./losses";

const EVERY = 2_000;
/** Readings of its own cost that the page keeps: five minutes. */
const READINGS = 150;

export function SeesPage({ again }: { again: () => void }): JSX.Element {
  const answer = useAnswer("status", EVERY, (signal) => api.status(signal));
  return (
    <>
      <div class="head">
        <h1>What redtap sees</h1>
        <span class="quiet">since it was started</span>
      </div>
      <Shown answer={answer} again={again}>
        {(status) => (
          <>
            <Sight status={status} />
            <div class="grid">
              <Probe status={status} />
              <Connections status={status} />
            </div>
            <Lost status={status} />
            <div class="grid">
              <Cost status={status} at={answer.at ?? 0} />
              <Governor status={status} />
            </div>
            <Exporters all={exporters(status)} />
          </>
        )}
      </Shown>
    </>
  );
}

/** A share of what was decided; never "100 %" for anything less. */
function captured(status: unknown): JSX.Element {
  const ratio = number(at(status, "conservation", "capture_ratio"));
  const loud = ratio === null || ratio >= 0.999 ? "ok" : ratio >= 0.99 ? "warn" : "bad";
  return <span class={loud}>{percent(ratio)}</span>;
}

function Sight({ status }: { status: unknown }): JSX.Element {
  const exchange = (name: string): number | null => number(at(status, "conservation", "exchanges", name));
  const sampling = number(at(status, "governor", "sampling_ratio"));
  return (
    <dl class="tiles">
      <Tile title="Captured" note="of the requests that were decided">
        {captured(status)}
      </Tile>
      <Tile title="Requests seen" note={`${count(exchange("reported"))} reported, ${count(exchange("pending"))} pending`}>
        {count(exchange("seen"))}
      </Tile>
      <Tile title="Missed" note={`${count(exchange("dropped"))} dropped, ${count(exchange("lost"))} lost`}>
        <span class={(exchange("missed") ?? 0) > 0 ? "warn" : ""}>{count(exchange("missed"))}</span>
      </Tile>
      <Tile title="Followed" note={sampling === 1 ? "all connections, nothing is sampled" : "of the connections; counts are scaled"}>
        {percent(sampling)}
      </Tile>
      <Tile title="Runs for" note={`version ${text(at(status, "version")) || "unknown"}`}>
        {span(number(at(status, "uptime_seconds")))}
      </Tile>
    </dl>
  );
}

function Probe({ status }: { status: unknown }): JSX.Element {
  const skipped = at(status, "rungs_skipped");
  const balanced = at(status, "conservation", "balanced");
  const shards = at(status, "shards");
  const rings = (Array.isArray(shards) ? shards : []).map((shard) => ({
    fill: number(at(shard, "ring_fill_bytes")),
    capacity: number(at(shard, "ring_capacity_bytes")),
  }));
  return (
    <section class="card" aria-label="Probe">
      <header>
        <h2>Probe</h2>
        <span class={`chip ${at(status, "ready") === true ? "ok" : "warn"}`}>
          {at(status, "ready") === true ? "watching" : "not ready"}
        </span>
      </header>
      <dl class="facts body">
        <dt>Rung</dt>
        <dd>{text(at(status, "rung")) || "none yet"}</dd>
        <dt>Rungs refused</dt>
        <dd>
          {Array.isArray(skipped) && skipped.length > 0 ? (
            <ul>
              {skipped.map((one) => (
                <li key={text(at(one, "rung"))}>
                  <b>{text(at(one, "rung"))}</b>: {text(at(one, "reason"))}
                </li>
              ))}
            </ul>
          ) : (
            "none: the best of all runs"
          )}
        </dd>
        <dt>Rings</dt>
        <dd>
          {rings.map((ring, index) => (
            <div key={index}>
              {bytes(ring.fill)} of {bytes(ring.capacity)} waiting
            </div>
          ))}
        </dd>
        <dt>Accounts</dt>
        <dd>
          {balanced === true ? (
            <span class="ok">balance: all that was seen is reported, or counted with a reason</span>
          ) : balanced === false ? (
            <span class="bad">do not balance: this is a fault of redtap, please report it</span>
          ) : (
            "unknown"
          )}
        </dd>
        <dt>Series</dt>
        <dd>{count(number(at(status, "series")))}</dd>
      </dl>
    </section>
  );
}

function Connections({ status }: { status: unknown }): JSX.Element {
  const of = (name: string): number | null => number(at(status, "connections", name));
  const rows: [string, number | null, string][] = [
    ["Open now", of("open"), ""],
    ["Of a known protocol", of("identified"), ""],
    ["Encrypted (TLS)", of("tls"), "not readable without the keys: counted, not reported"],
    ["Encrypted after an upgrade", of("upgraded_to_tls"), "likewise, from then on"],
    ["Of no known protocol", of("unknown"), "not reported"],
    ["Given up early", of("hurried"), "of nothing known, because the governor asked for it"],
    ["Forgotten for room", of("forgotten_evicted"), "the table was full"],
  ];
  return (
    <section class="card" aria-label="Connections">
      <header>
        <h2>Connections</h2>
        <span class="quiet small">open now, and since the start</span>
      </header>
      <dl class="facts body">
        {rows.map(([name, value, note]) => (
          <>
            <dt>{name}</dt>
            <dd>
              <b>{count(value)}</b> {note !== "" && (value ?? 0) > 0 && <span class="quiet">{note}</span>}
            </dd>
          </>
        ))}
      </dl>
    </section>
  );
}

const LOSSES: Column<Loss>[] = [
  {
    key: "reason",
    title: "Reason",
    by: (row) => row.reason,
    cell: (row) => (
      <>
        {words(row.reason)} {row.matters ? <span class="chip warn">lost</span> : <span class="chip">by intent</span>}
      </>
    ),
  },
  { key: "where", title: "Where", class: "medium", by: (row) => row.where, cell: (row) => row.where },
  { key: "meaning", title: "Meaning", class: "medium", cell: (row) => <span class="quiet">{row.meaning}</span> },
  { key: "count", title: "Count", class: "number", by: (row) => row.count, cell: (row) => count(row.count) },
];

function Lost({ status }: { status: unknown }): JSX.Element {
  const all = losses(status);
  const matter = all.filter((loss) => loss.matters).length;
  return (
    <section class="card" aria-label="Left out, and why">
      <header>
        <h2>Left out, and why</h2>
        <span class="quiet small">{matter === 0 ? "nothing was lost" : `${matter} reasons of loss`}</span>
      </header>
      {all.length === 0 ? (
        <p class="body quiet">Nothing was left out.</p>
      ) : (
        <Table caption="What was left out, by reason" columns={LOSSES} rows={all} id={(row) => `${row.where} ${row.reason}`} param="lost" />
      )}
    </section>
  );
}

interface Reading {
  at: number;
  cpu: number | null;
  memory: number | null;
  share: number | null;
}

function useReadings(status: unknown, when: number): Reading[] {
  const [all, set] = useState<Reading[]>([]);
  useEffect(() => {
    const cpu = number(at(status, "usage", "cpu_seconds"));
    const memory = number(at(status, "usage", "resident_bytes"));
    set((old) => {
      const last = old[old.length - 1];
      const gone = last ? when - last.at : 0;
      const share = last && last.cpu !== null && cpu !== null && gone > 0 ? Math.max(0, (cpu - last.cpu) / gone) : null;
      return [...old, { at: when, cpu, memory, share }].slice(-READINGS);
    });
  }, [when]);
  return all;
}

/** The governor measures it; without one, nobody does. */
function kernelCost(status: unknown): string {
  const [used, each] = [number(at(status, "governor", "used_kernel_ratio")), number(at(status, "governor", "kernel_ns_per_operation"))];
  if (used === null || each === null) return "not measured while the governor is off";
  return `${percent(used)} of one processor, at ${significant(each)} ns an operation (${words(text(at(status, "governor", "kernel_cost")))})`;
}

function Cost({ status, at: when }: { status: unknown; at: number }): JSX.Element {
  const readings = useReadings(status, when);
  const last = readings[readings.length - 1];
  const uptime = number(at(status, "uptime_seconds"));
  const cpu = number(at(status, "usage", "cpu_seconds"));
  const shares: Values = readings.map(({ share }) => share);
  return (
    <section class="card" aria-label="What redtap itself costs">
      <header>
        <h2>What it costs</h2>
        <span class="quiet small">since this page was opened</span>
      </header>
      <dl class="facts body">
        <dt>Processor now</dt>
        <dd>
          <b>{percent(last?.share)}</b> of one processor <Spark values={shares} kind="rate" atLeast={0.02} />
        </dd>
        <dt>On average</dt>
        <dd>{percent(cpu !== null && uptime ? cpu / uptime : null)} of one processor since the start</dd>
        <dt>Kernel programs</dt>
        <dd>
          {kernelCost(status)}
        </dd>
        <dt>Memory</dt>
        <dd>
          <b>{bytes(number(at(status, "usage", "resident_bytes")))}</b> resident, {count(number(at(status, "usage", "threads")))} threads
        </dd>
      </dl>
    </section>
  );
}

function Governor({ status }: { status: unknown }): JSX.Element {
  const of = (name: string): unknown => at(status, "governor", name);
  const steps = of("steps");
  if (of("enabled") !== true)
    return (
      <section class="card" aria-label="Governor">
        <header>
          <h2>Governor</h2>
          <span class="chip">off</span>
        </header>
        <p class="body quiet">
          Nothing bounds what redtap uses, and nothing is sampled. <code>governor.cpu</code> sets a budget.
        </p>
      </section>
    );
  const step = number(of("step")) ?? 0;
  return (
    <section class="card" aria-label="Governor">
      <header>
        <h2>Governor</h2>
        <span class={`chip ${step === 0 ? "ok" : "warn"}`}>{step === 0 ? "nothing is left out" : `step ${step} down`}</span>
      </header>
      <dl class="facts body">
        <dt>Budget</dt>
        <dd>{percent(number(of("budget_ratio")))} of one processor</dd>
        <dt>Used of it</dt>
        <dd>
          {percent(number(of("used_ratio")))} at {rate(number(of("operations_per_second")))} socket operations
        </dd>
        <dt>Step</dt>
        <dd>
          {words(text(of("step_name")))} for {span(number(of("seconds_at_step")))}
          <ol class="chips">
            {(Array.isArray(steps) ? steps : []).map((name, index) => (
              <li key={index} class={`chip ${index === step ? (step === 0 ? "ok" : "warn") : ""}`} aria-current={index === step ? "step" : undefined}>
                {words(text(name))}
              </li>
            ))}
          </ol>
        </dd>
        <dt>Changes</dt>
        <dd>
          {count(number(of("steps_down")))} down, {count(number(of("steps_up")))} up
        </dd>
        <dt>Scaled counts</dt>
        <dd>{count(number(at(status, "scaled", "extrapolated")))} requests were counted that nobody saw</dd>
      </dl>
    </section>
  );
}

const EXPORTERS: Column<Exporter>[] = [
  { key: "name", title: "Exporter", by: (row) => row.name, cell: (row) => words(row.name) },
  { key: "gathered", title: "To send", class: "number medium", by: (row) => row.gathered, cell: (row) => count(row.gathered) },
  { key: "delivered", title: "Delivered", class: "number", by: (row) => row.delivered, cell: (row) => count(row.delivered) },
  { key: "pending", title: "Waiting", class: "number", by: (row) => row.pending, cell: (row) => count(row.pending) },
  { key: "retries", title: "Tried again", class: "number medium", by: (row) => row.retries, cell: (row) => count(row.retries) },
  {
    key: "undelivered",
    title: "Given up",
    class: "number",
    by: (row) => row.undelivered.reduce((sum, [, each]) => sum + each, 0),
    cell: (row) =>
      row.undelivered.length === 0 ? "0" : <span class="warn">{row.undelivered.map(([why, each]) => `${count(each)} ${words(why)}`).join(", ")}</span>,
  },
];

function Exporters({ all }: { all: Exporter[] }): JSX.Element {
  return (
    <section class="card" aria-label="Exporters">
      <header>
        <h2>Exporters</h2>
        <span class="quiet small">samples, spans and notifications; /metrics can be scraped besides</span>
      </header>
      {all.length === 0 ? (
        <p class="body quiet">
          None is configured: numbers leave this machine only when somebody asks <a href="/metrics">/metrics</a>.
        </p>
      ) : (
        <Table caption="Exporters" columns={EXPORTERS} rows={all} id={(row) => row.name} param="exporters" />
      )}
    </section>
  );
}

