// One service: what it answers and what it asks of others, over time, by code and by endpoint.

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { api } from "../api/client";
import type { Code, Endpoint, ServiceReport, Side } from "../api/types";
import { Heat } from "../charts/heat";
import { type Line, Plot } from "../charts/plot";
import { count, duration, percent, rate } from "../format";
import { Message, Shown } from "../parts/message";
import { ErrorRatio, HealthMark, RedTiles } from "../parts/red";
import { Search, matches } from "../parts/search";
import { type Column, Table } from "../parts/table";
import { useAnswer, useParam, useView } from "../state";
import { ask, format, rangeWords } from "../url";
import { codeColours, grouped } from "./codes";

type SideName = "served" | "called";

const SIDES: Record<SideName, { tab: string; endpoints: string; calls: string }> = {
  served: { tab: "Requests answered", endpoints: "Endpoints served", calls: "server" },
  called: { tab: "Calls made", endpoints: "Calls made", calls: "client" },
};

export function ServicePage({ again }: { again: () => void }): JSX.Element {
  const view = useView();
  const { last, every } = ask(view.range);
  const name = view.service;
  const answer = useAnswer(`service ${name} ${last}`, every, (signal) => api.service(name, last, signal));
  const missing = answer.error?.trouble === "not-found" && answer.data === null;
  return (
    <>
      <div class="head">
        <div class="crumb">
          <a href={format({ ...view, page: "services", service: "", params: {} })}>Services</a>
          <span class="quiet" aria-hidden="true">
            /
          </span>
          <h1>{name}</h1>
        </div>
        {answer.data?.namespace && <span class="chip">{answer.data.namespace}</span>}
        <span class="quiet">{rangeWords(view.range)}</span>
        <div class="push chips">
          <a class="button" href={format({ ...view, page: "topology", service: "", params: { node: name } })}>
            In the topology
          </a>
          <a class="button" href={format({ ...view, page: "calls", service: "", params: { service: name } })}>
            Its calls, live
          </a>
        </div>
      </div>
      {missing ? (
        <section class="card">
          <Message title="Nothing of this service in this range">
            <p>
              No request to or from “{name}” was seen in {rangeWords(view.range)}. Choose a longer range above, or look at{" "}
              <a href={format({ ...view, page: "services", service: "", params: {} })}>all services</a>.
            </p>
          </Message>
        </section>
      ) : (
        <Shown answer={answer} again={again}>
          {(report) => <Report report={report} />}
        </Shown>
      )}
    </>
  );
}

function Report({ report }: { report: ServiceReport }): JSX.Element {
  const fallback: SideName = report.served ? "served" : "called";
  const [wished, setSide] = useParam("side", fallback);
  const name: SideName = wished === "called" && report.called ? "called" : report.served ? "served" : "called";
  const side = report[name];
  const both = report.served !== null && report.called !== null;
  return (
    <>
      {both && (
        <div class="head">
          <div class="segments" role="group" aria-label="Which side the charts are about">
            {(["served", "called"] as const).map((each) => (
              <button type="button" key={each} aria-pressed={each === name} onClick={() => setSide(each)}>
                {SIDES[each].tab}
                <span class="medium">· {rate(report[each]?.red.requestsPerSecond)}</span>
              </button>
            ))}
          </div>
        </div>
      )}
      {!both && <h2 class="hidden">{SIDES[name].tab}</h2>}
      {side && <Charts report={report} side={side} name={name} />}
      {report.served && <Endpoints side={report.served} name="served" />}
      {report.called && <Endpoints side={report.called} name="called" />}
    </>
  );
}

function Charts({ report, side, name }: { report: ServiceReport; side: Side; name: SideName }): JSX.Element {
  const { range } = report;
  const time = side.overTime;
  const rates = useMemo(
    (): Line[] => [{ name: "requests", values: time.requestsPerSecond, colour: "rate" }],
    [time],
  );
  const errors = useMemo((): Line[] => [{ name: "errors", values: time.errorRatio, colour: "errors" }], [time]);
  const durations = useMemo(
    (): Line[] => [
      { name: "p50", values: time.p50, colour: "p50" },
      { name: "p90", values: time.p90, colour: "p90", dash: [6, 3] },
      { name: "p99", values: time.p99, colour: "p99", dash: [2, 2] },
    ],
    [time],
  );
  const codes = useMemo(() => report.codes.filter((code) => code.side === name), [report, name]);
  return (
    <>
      <RedTiles red={side.red} />
      <div class="grid">
        <section class="card">
          <Plot title="Rate" range={range} lines={rates} unit={rate} />
        </section>
        <section class="card">
          <Plot title="Errors" range={range} lines={errors} unit={percent} atLeast={0.05} />
        </section>
        <section class="card">
          <Plot title="Durations" range={range} lines={durations} unit={duration} />
        </section>
      </div>
      <div class="grid">
        <section class="card">
          <Heat range={range} map={side.heatMap} />
        </section>
        <Codes report={report} codes={codes} />
      </div>
      <ErrorsByCode codes={codes} requests={side.red.requests} />
    </>
  );
}

/** As many codes have a colour of their own; the others share one. */
const CODES = 6;

function Codes({ report, codes }: { report: ServiceReport; codes: Code[] }): JSX.Element {
  const lines = useMemo((): Line[] => {
    const groups = grouped(codes, CODES);
    const colours = codeColours(groups);
    return groups.map((group, at) => ({
      name: group.code,
      values: group.requestsPerSecond,
      colour: colours[at] ?? "code-3",
    }));
  }, [codes]);
  return (
    <section class="card">
      {lines.length === 0 ? (
        <Message title="No status codes">
          <p>None of these requests had an answer with a code.</p>
        </Message>
      ) : (
        <Plot title="Status codes" range={report.range} lines={lines} unit={rate} stack />
      )}
    </section>
  );
}

function ErrorsByCode({ codes, requests }: { codes: Code[]; requests: number }): JSX.Element | null {
  const failed = codes.filter((code) => code.error !== "");
  if (failed.length === 0) return null;
  const columns: Column<Code>[] = [
    { key: "code", title: "Code", by: (row) => row.code, cell: (row) => row.code || "none" },
    { key: "kind", title: "Kind", class: "medium", by: (row) => row.kind, cell: (row) => row.kind },
    { key: "error", title: "Error", by: (row) => row.error, cell: (row) => row.error },
    { key: "requests", title: "Requests", class: "number", by: (row) => row.requests, cell: (row) => count(row.requests) },
    {
      key: "share",
      title: "Of all",
      class: "number",
      by: (row) => row.requests,
      cell: (row) => {
        const share = requests > 0 ? row.requests / requests : 0;
        return (
          <>
            <span class="meter bad medium" aria-hidden="true">
              <span style={{ width: `${Math.min(100, share * 100)}%` }} />
            </span>{" "}
            {percent(share)}
          </>
        );
      },
    },
  ];
  return (
    <section class="card">
      <header>
        <h2>Errors by code</h2>
      </header>
      <Table
        caption="Errors by code"
        columns={columns}
        rows={failed}
        id={(row) => `${row.kind} ${row.code} ${row.error}`}
        param="errors"
        initial="-requests"
      />
    </section>
  );
}

function endpointColumns(name: SideName, all: number): Column<Endpoint>[] {
  const peer: Column<Endpoint> = {
    key: "peer",
    title: "To",
    class: "medium",
    by: (row) => row.peer,
    cell: (row) => row.peer || <span class="quiet">unknown</span>,
  };
  return [
    {
      key: "endpoint",
      title: name === "served" ? "Endpoint" : "Call",
      class: "name",
      by: (row) => `${row.endpoint} ${row.method}`,
      cell: (row) => (
        <>
          <HealthMark red={row.red} />
          <span class="mono">
            {row.method !== "" && !row.endpoint.startsWith(row.method) && <b>{row.method} </b>}
            {row.endpoint}
          </span>
          {row.peer !== "" && <span class="narrow quiet small"> to {row.peer}</span>}
        </>
      ),
    },
    {
      key: "kind",
      title: "Kind",
      class: "medium",
      by: (row) => row.system || row.kind,
      cell: (row) => <span class="chip">{row.system || row.kind}</span>,
    },
    ...(name === "called" ? [peer] : []),
    {
      key: "rate",
      title: "Rate",
      class: "number",
      by: (row) => row.red.requestsPerSecond,
      cell: (row) => (
        <>
          <span class="meter wide" aria-hidden="true">
            <span style={{ width: `${all > 0 ? Math.min(100, (row.red.requests / all) * 100) : 0}%` }} />
          </span>{" "}
          {rate(row.red.requestsPerSecond)}
        </>
      ),
    },
    {
      key: "errors",
      title: "Errors",
      class: "number",
      by: (row) => row.red.errorRatio,
      cell: (row) => <ErrorRatio value={row.red.errorRatio} />,
    },
    { key: "p50", title: "p50", class: "number medium", by: (row) => row.red.p50, cell: (row) => duration(row.red.p50) },
    { key: "p90", title: "p90", class: "number wide", by: (row) => row.red.p90, cell: (row) => duration(row.red.p90) },
    { key: "p99", title: "p99", class: "number", by: (row) => row.red.p99, cell: (row) => duration(row.red.p99) },
  ];
}

function Endpoints({ side, name }: { side: Side; name: SideName }): JSX.Element {
  const [filter, setFilter] = useParam(`${name}-filter`);
  const found = side.endpoints.filter((row) => matches(filter, row.method, row.endpoint, row.peer, row.kind, row.system));
  const hidden = side.moreEndpoints;
  return (
    <section class="card">
      <header>
        <h2>{SIDES[name].endpoints}</h2>
        <span class="quiet small">
          {found.length === side.endpoints.length ? found.length : `${found.length} of ${side.endpoints.length}`}
          {hidden > 0 && `; ${count(hidden)} less busy ones are not listed`}
        </span>
        <div class="push">
          <Search label={`Filter ${SIDES[name].endpoints.toLowerCase()}`} value={filter} onChange={(value) => setFilter(value, true)} />
        </div>
      </header>
      {found.length === 0 ? (
        <p class="message quiet">Nothing matches the filter.</p>
      ) : (
        <Table
          caption={SIDES[name].endpoints}
          columns={endpointColumns(name, side.red.requests)}
          rows={found}
          id={(row) => [row.kind, row.system, row.method, row.endpoint, row.peer].join("\u0000")}
          param={name}
          initial="-rate"
          most={200}
        />
      )}
    </section>
  );
}
