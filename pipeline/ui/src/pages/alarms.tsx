// What fires, and what did.

import { Fragment, type JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { api } from "../api/client";
import type { Alarm } from "../api/types";
import { duration, moment, percent, significant, span } from "../format";
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
                      <p>No rule’s condition has held for as long as the rule wants.</p>
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
                      columns={pendingColumns(view)}
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
                      initial="-until"
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

type Urgency = "bad" | "warn" | "info";

function urgency(alarm: Alarm): Urgency {
  if (alarm.severity === "critical" || alarm.severity === "page") return "bad";
  return alarm.severity === "info" ? "info" : "warn";
}

function Severity({ alarm }: { alarm: Alarm }): JSX.Element {
  return <span class={`chip ${urgency(alarm)}`}>{alarm.severity || "alarm"}</span>;
}

/** What was compared with the threshold, as people read it; nothing where nothing is compared. */
function compared(alarm: Alarm): string {
  if (alarm.value === null) return "";
  if (alarm.unit === "ratio") return percent(alarm.value);
  return alarm.unit === "seconds" ? duration(alarm.value) : significant(alarm.value);
}

function about(alarm: Alarm): string {
  return alarm.annotations.summary ?? alarm.annotations.description ?? "";
}

/** A name in one word may break before its capitals. */
function Name({ text }: { text: string }): JSX.Element {
  return (
    <>
      {text.split(/(?<=[a-z])(?=[A-Z])/).map((part, at) => (
        <Fragment key={at}>
          {at > 0 && <wbr />}
          {part}
        </Fragment>
      ))}
    </>
  );
}

function serviceLink(view: View, alarm: Alarm): JSX.Element {
  return <a href={serviceAddress(view, alarm.service)}>{alarm.service}</a>;
}

/** What tells an alarm from others of its name, for who cannot see where a button is. */
function spoken(alarm: Alarm): string {
  const { kind = "", method = "", endpoint = "", error_type = "" } = alarm.labels;
  return [alarm.name, alarm.service, `${method} ${endpoint}`.trim(), kind, error_type].filter((part) => part !== "").join(", ");
}

const BORDERS: Record<Urgency, string> = { bad: "", warn: "warning", info: "info" };
const SILENCES = [["1 h", 3_600], ["8 h", 28_800], ["24 h", 86_400]] as const;

function Firing({ alarm, until }: { alarm: Alarm; until: number | null }): JSX.Element {
  const view = useView();
  const buttons = useRef<HTMLDivElement>(null);
  const pressed = useRef(false);
  const silenced = until !== null;
  // The button that was pressed is gone, and its alarm may have moved: the keyboard goes on where it was.
  useLayoutEffect(() => {
    if (pressed.current) buttons.current?.querySelector("button")?.focus();
    pressed.current = false;
  }, [silenced]);
  const press = (seconds: number): void => {
    pressed.current = true;
    silence(alarm, seconds);
  };
  const other = Object.entries(alarm.labels).filter(([key]) => !["alertname", "severity", "service", "service_name"].includes(key));
  const description = alarm.annotations.description ?? "";
  return (
    <li class={`alarm ${silenced ? "silenced" : BORDERS[urgency(alarm)]}`}>
      <div>
        <h3>
          {alarm.name} <Severity alarm={alarm} /> {silenced && <span class="chip">silenced here</span>}{" "}
          {alarm.service !== "" && serviceLink(view, alarm)}
        </h3>
        {about(alarm) !== "" && <p>{about(alarm)}</p>}
        {description !== "" && description !== about(alarm) && <p class="quiet small">{description}</p>}
        <p class="quiet small">
          since {moment(alarm.since)} ({span(Date.now() / 1000 - alarm.since)})
          {alarm.value !== null && <> · value {compared(alarm)}</>}
          {other.map(([key, value]) => (
            <span key={key}>
              {" "}
              · {key} {value}
            </span>
          ))}
        </p>
      </div>
      <div class="push" ref={buttons}>
        {silenced ? (
          <>
            <span class="quiet small">until {moment(until)}</span>
            <button type="button" class="button" onClick={() => press(0)} aria-label={`End silence: ${spoken(alarm)}`}>
              End silence
            </button>
          </>
        ) : (
          SILENCES.map(([label, seconds]) => (
            <button
              key={label}
              type="button"
              class="button"
              onClick={() => press(seconds)}
              aria-label={`Silence ${label}: ${spoken(alarm)}, in this browser`}
            >
              Silence {label}
            </button>
          ))
        )}
      </div>
    </li>
  );
}

/** Began stays on a phone: nothing has ended. */
function pendingColumns(view: View): Column<Alarm>[] {
  return historyColumns(view)
    .filter(({ key }) => key !== "until" && key !== "lasted")
    .map((column) => (column.key === "since" ? { ...column, class: "number" } : column));
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
          <Name text={row.name} /> {row.service !== "" && <span class="narrow">{serviceLink(view, row)} </span>}
          <span class="quiet small">{about(row)}</span>
        </>
      ),
    },
    { key: "severity", title: "Severity", class: "medium", by: (row) => row.severity, cell: (row) => <Severity alarm={row} /> },
    {
      key: "service",
      title: "Service",
      class: "medium",
      by: (row) => row.service,
      cell: (row) => (row.service === "" ? "" : serviceLink(view, row)),
    },
    {
      key: "value",
      title: "Value",
      class: "number wide",
      cell: compared,
    },
    { key: "since", title: "Began", class: "number medium", by: (row) => row.since, cell: (row) => moment(row.since) },
    { key: "until", title: "Ended", class: "number", by: (row) => row.until, cell: (row) => (row.until === null ? "" : moment(row.until)) },
    {
      key: "lasted",
      title: "Lasted",
      class: "number",
      by: (row) => (row.until === null ? null : row.until - row.since),
      cell: (row) => (row.until === null ? "" : span(row.until - row.since)),
    },
  ];
}
