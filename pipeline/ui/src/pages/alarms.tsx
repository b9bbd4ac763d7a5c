// What fires, and what did.

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api } from "../api/client";
import type { Alarm } from "../api/types";
import { moment, significant, span } from "../format";
import { Message, Shown } from "../parts/message";
import { type Column, Table } from "../parts/table";
import { silence, silencedUntil, silences } from "../silences";
import { useAnswer, useView } from "../state";
import type { View } from "../url";
import { serviceAddress } from "./services";

const EVERY = 5_000;

export function useSilences(): Record<string, number> {
  const [all, set] = useState(silences);
  useEffect(() => {
    const read = (): void => set(silences());
    addEventListener("redtap:silences", read);
    addEventListener("storage", read);
    const timer = setInterval(read, EVERY);
    return () => {
      removeEventListener("redtap:silences", read);
      removeEventListener("storage", read);
      clearInterval(timer);
    };
  }, []);
  return all;
}

export function AlarmsPage({ again }: { again: () => void }): JSX.Element {
  const answer = useAnswer("alarms", EVERY, (signal) => api.alarms(signal));
  const view = useView();
  const local = useSilences();
  const absent = answer.data === null && (answer.error?.trouble === "not-found" || answer.error?.trouble === "absent");
  return (
    <>
      <div class="head">
        <h1>Alarms</h1>
      </div>
      {absent ? (
        <section class="card">
          <Message title="There are no alarms">
            <p>
              {answer.error?.message}. Rules for error rates, durations, lost traffic and objectives are set in the section{" "}
              <code>alarms</code> of the configuration.
            </p>
          </Message>
        </section>
      ) : (
        <Shown answer={answer} again={again}>
          {({ firing, pending, history }) => {
            const loud = [...firing].sort(
              (a, b) => Number(silencedUntil(a, local) !== null) - Number(silencedUntil(b, local) !== null) || b.since - a.since,
            );
            return (
              <>
                <section class="card" aria-label="Firing">
                  <header>
                    <h2>Firing</h2>
                    <span class="quiet small">{firing.length}</span>
                  </header>
                  {loud.length === 0 ? (
                    <Message title="Nothing fires">
                      <p>All rules that are configured hold.</p>
                    </Message>
                  ) : (
                    <ul>
                      {loud.map((alarm) => (
                        <Firing key={JSON.stringify([alarm.name, alarm.labels])} alarm={alarm} until={silencedUntil(alarm, local)} />
                      ))}
                    </ul>
                  )}
                  {loud.length > 0 && (
                    <p class="body quiet small">
                      Silencing is kept in this browser only: others still see the alarm, and notifications go out as before.
                    </p>
                  )}
                </section>
                {pending.length > 0 && (
                  <section class="card" aria-label="Pending">
                    <header>
                      <h2>Pending</h2>
                      <span class="quiet small">true, but not for long enough to fire</span>
                    </header>
                    <Table
                      caption="Alarms that may fire soon"
                      columns={historyColumns(view).filter(({ key }) => key !== "until")}
                      rows={pending}
                      id={(row) => JSON.stringify([row.name, row.labels])}
                      param="pending"
                    />
                  </section>
                )}
                <section class="card" aria-label="History">
                  <header>
                    <h2>History</h2>
                    <span class="quiet small">{history.length}</span>
                  </header>
                  {history.length === 0 ? (
                    <p class="body quiet">No alarm has ended since the agent remembers.</p>
                  ) : (
                    <Table
                      caption="Alarms that are over"
                      columns={historyColumns(view)}
                      rows={history}
                      id={(row) => JSON.stringify([row.name, row.labels, row.since])}
                      param="sort"
                      initial="-since"
                    />
                  )}
                </section>
              </>
            );
          }}
        </Shown>
      )}
    </>
  );
}

function Severity({ alarm }: { alarm: Alarm }): JSX.Element {
  const kind = alarm.severity === "critical" || alarm.severity === "page" ? "bad" : "warn";
  return <span class={`chip ${kind}`}>{alarm.severity || "alarm"}</span>;
}

function about(alarm: Alarm): string {
  return alarm.annotations.summary ?? alarm.annotations.description ?? "";
}

function Firing({ alarm, until }: { alarm: Alarm; until: number | null }): JSX.Element {
  const view = useView();
  const other = Object.entries(alarm.labels).filter(([key]) => !["alertname", "severity", "service", "service_name"].includes(key));
  const kind = until !== null ? "silenced" : alarm.severity === "critical" || alarm.severity === "page" ? "" : "warning";
  return (
    <li class={`alarm ${kind}`}>
      <div>
        <h3>
          {alarm.name} <Severity alarm={alarm} />{" "}
          {alarm.service !== "" && <a href={serviceAddress(view, alarm.service)}>{alarm.service}</a>}
        </h3>
        {about(alarm) !== "" && <p>{about(alarm)}</p>}
        <p class="quiet small">
          since {moment(alarm.since)} ({span(Date.now() / 1000 - alarm.since)})
          {alarm.value !== null && <> · value {significant(alarm.value)}</>}
          {other.map(([key, value]) => (
            <span key={key}>
              {" "}
              · {key} {value}
            </span>
          ))}
        </p>
      </div>
      <div class="push">
        {until !== null ? (
          <>
            <span class="quiet small">silenced until {moment(until)}</span>
            <button type="button" class="button" onClick={() => silence(alarm, 0)} aria-label={`End the silence of ${alarm.name}`}>
              End it
            </button>
          </>
        ) : (
          ([["1 h", 3_600], ["8 h", 28_800], ["24 h", 86_400]] as const).map(([label, seconds]) => (
            <button
              key={label}
              type="button"
              class="button"
              onClick={() => silence(alarm, seconds)}
              aria-label={`Silence ${alarm.name} here for ${label}`}
            >
              Silence {label}
            </button>
          ))
        )}
      </div>
    </li>
  );
}

function historyColumns(view: View): Column<Alarm>[] {
  return [
    {
      key: "name",
      title: "Alarm",
      class: "name",
      by: (row) => row.name,
      cell: (row) => (
        <>
          {row.name} <span class="quiet small">{about(row)}</span>
        </>
      ),
    },
    { key: "severity", title: "Severity", class: "medium", by: (row) => row.severity, cell: (row) => <Severity alarm={row} /> },
    {
      key: "service",
      title: "Service",
      by: (row) => row.service,
      cell: (row) => (row.service === "" ? "" : <a href={serviceAddress(view, row.service)}>{row.service}</a>),
    },
    { key: "since", title: "Began", class: "number", by: (row) => row.since, cell: (row) => moment(row.since) },
    {
      key: "until",
      title: "Lasted",
      class: "number",
      by: (row) => (row.until === null ? null : row.until - row.since),
      cell: (row) => (row.until === null ? "" : span(row.until - row.since)),
    },
  ];
}
