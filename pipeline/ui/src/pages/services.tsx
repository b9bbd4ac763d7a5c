// All services, worst first: rate, errors, durations of what they answer (or, if they answer nothing, of what they ask).

import type { JSX } from "preact";
import { api } from "../api/client";
import type { Red, ServiceRow } from "../api/types";
import { Spark } from "../charts/spark";
import { duration, plural, rate } from "../format";
import { Message, Shown } from "../parts/message";
import { ErrorRatio, HealthMark, Tile } from "../parts/red";
import { Search, matches } from "../parts/search";
import { type Column, Table } from "../parts/table";
import { useAnswer, useParam, useView } from "../state";
import { ask, format, rangeWords, type View } from "../url";
import { total } from "./totals";

/** What a row is about: what it answers, or if nothing, what it asks. */
function own(row: ServiceRow): Red | null {
  return row.served ?? row.called;
}

export function serviceAddress(view: View, service: string): string {
  return format({ page: "service", service, range: view.range, params: {} });
}

function columns(view: View): Column<ServiceRow>[] {
  return [
    {
      key: "service",
      title: "Service",
      class: "name",
      by: (row) => row.service,
      cell: (row) => (
        <>
          <HealthMark red={own(row)} />
          <a href={serviceAddress(view, row.service)}>{row.service}</a>{" "}
          {row.namespace !== "" && <span class="quiet small">{row.namespace} </span>}
          {!row.served && (
            <span class="chip" title="It answers nothing that redtap sees: its numbers are about the calls that it makes">
              only calls
            </span>
          )}
        </>
      ),
    },
    {
      key: "protocols",
      title: "Protocols",
      class: "wide",
      cell: (row) => (
        <span class="chips">
          {row.protocols.map((protocol) => (
            <span class="chip" key={protocol}>
              {protocol}
            </span>
          ))}
        </span>
      ),
    },
    {
      key: "rate",
      title: "Rate",
      hint: "Requests a second, on average over the time that was recorded",
      class: "number",
      by: (row) => own(row)?.requestsPerSecond ?? null,
      cell: (row) => (
        <span class="withline">
          <Spark values={row.overTime.requestsPerSecond} kind="rate" />
          <span>{rate(own(row)?.requestsPerSecond)}</span>
        </span>
      ),
    },
    {
      key: "errors",
      title: "Errors",
      hint: "Share of the requests that failed",
      class: "number",
      by: (row) => own(row)?.errorRatio ?? null,
      cell: (row) => (
        <span class="withline">
          <Spark values={row.overTime.errorRatio} kind="errors" atLeast={0.1} />
          <span>
            <ErrorRatio value={own(row)?.errorRatio ?? null} />
          </span>
        </span>
      ),
    },
    {
      key: "p50",
      title: "p50",
      hint: "Half of the requests are faster",
      class: "number medium",
      by: (row) => own(row)?.p50 ?? null,
      cell: (row) => duration(own(row)?.p50),
    },
    {
      key: "p90",
      title: "p90",
      hint: "9 in 10 requests are faster",
      class: "number wide",
      by: (row) => own(row)?.p90 ?? null,
      cell: (row) => duration(own(row)?.p90),
    },
    {
      key: "p99",
      title: "p99",
      hint: "99 in 100 requests are faster",
      class: "number",
      by: (row) => own(row)?.p99 ?? null,
      cell: (row) => (
        <span class="withline">
          <Spark values={row.overTime.p99} kind="p99" />
          <span>{duration(own(row)?.p99)}</span>
        </span>
      ),
    },
    {
      key: "calls",
      title: "Calls made",
      hint: "Requests a second that it makes to others",
      class: "number wide",
      by: (row) => row.called?.requestsPerSecond ?? null,
      cell: (row) => rate(row.called?.requestsPerSecond),
    },
  ];
}

export function ServicesPage({ again }: { again: () => void }): JSX.Element {
  const view = useView();
  const { last, every } = ask(view.range);
  const answer = useAnswer(`services ${last}`, every, (signal) => api.services(last, signal));
  const [filter, setFilter] = useParam("filter");
  return (
    <>
      <div class="head">
        <h1>Services</h1>
        <span class="quiet">{rangeWords(view.range)}</span>
        <div class="push">
          <Search label="Filter services" value={filter} onChange={(value) => setFilter(value, true)} />
        </div>
      </div>
      <Shown answer={answer} again={again}>
        {({ services }) => {
          if (services.length === 0) return <NoTraffic />;
          const found = services.filter((row) => matches(filter, row.service, row.namespace, ...row.protocols));
          const [served, called] = [total(found.map((row) => row.served)), total(found.map((row) => row.called))];
          const failing = found.filter((row) => (row.served?.errorRatio ?? 0) > 0).length;
          return (
            <>
              <dl class="tiles">
                <Tile title="Services" note={filter === "" ? undefined : `of ${services.length}`}>
                  {found.length}
                </Tile>
                <Tile title="Requests answered" note={plural(Math.round(served.requests), "request")}>
                  {rate(served.requestsPerSecond)}
                </Tile>
                <Tile title="Of these, errors" note={plural(failing, "service with errors", "services with errors")}>
                  <ErrorRatio value={served.errorRatio} />
                </Tile>
                <Tile title="Slowest p99" note={served.slowest === null ? undefined : found[served.at]?.service}>
                  {duration(served.slowest)}
                </Tile>
                <Tile title="Calls made" note={plural(Math.round(called.requests), "call")}>
                  {rate(called.requestsPerSecond)}
                </Tile>
              </dl>
              <section class="card" aria-label="All services">
                {found.length === 0 ? (
                  <Message title="No service matches the filter">
                    <button type="button" class="button" onClick={() => setFilter("")}>
                      Clear the filter
                    </button>
                  </Message>
                ) : (
                  <Table
                    caption="Services, worst first unless sorted otherwise"
                    columns={columns(view)}
                    rows={found}
                    id={(row) => `${row.namespace}/${row.service}`}
                    param="sort"
                  />
                )}
              </section>
            </>
          );
        }}
      </Shown>
    </>
  );
}

function NoTraffic(): JSX.Element {
  const view = useView();
  return (
    <section class="card">
      <Message title="No traffic seen yet">
        <p>
          In {rangeWords(view.range)} no service that redtap watches answered or made a request. Send one, for instance with{" "}
          <code>curl</code>; it is here seconds later. If there is traffic and it does not come,{" "}
          <a href={format({ ...view, page: "sees", params: {} })}>what redtap sees</a> says what it watches, which protocols it
          does not know, and what it lost.
        </p>
      </Message>
    </section>
  );
}
