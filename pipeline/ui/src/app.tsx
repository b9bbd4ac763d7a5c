// The frame of all pages: where one is, where one can go, which stretch of time is shown.

import { Component, type ComponentChildren, type JSX } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { api } from "./api/client";
import { Message } from "./parts/message";
import { AlarmsPage, useSilences } from "./pages/alarms";
import { CallsPage } from "./pages/calls";
import { SeesPage } from "./pages/sees";
import { ServicePage } from "./pages/service";
import { ServicesPage } from "./pages/services";
import { TopologyPage } from "./pages/topology";
import { silencedUntil } from "./silences";
import { SharedContext, type Theme, go, keepTheme, storedTheme, useAddress, useAnswer, useView } from "./state";
import { type Page, RANGES, format, rangeLabel, rangeWords, type View } from "./url";

const TITLES: [Page, string][] = [
  ["services", "Services"],
  ["topology", "Topology"],
  ["calls", "Calls"],
  ["alarms", "Alarms"],
  ["sees", "What redtap sees"],
];

/** Pages whose numbers are of a stretch of time. */
const RANGED: Page[] = ["services", "service", "topology"];
/** Pages with something that can be held still. */
const MOVING: Page[] = ["services", "service", "topology", "calls"];

export function App(): JSX.Element {
  const view = useAddress();
  const [round, setRound] = useState(0);
  const [paused, setPaused] = useState(false);
  const again = useCallback(() => {
    setPaused(false);
    setRound((old) => old + 1);
  }, []);
  const main = useRef<HTMLElement>(null);
  const place = `${view.page}/${view.service}`;
  const first = useRef(true);
  useEffect(() => {
    const title = view.page === "service" ? view.service : TITLES.find(([page]) => page === view.page)?.[1];
    document.title = `${title ?? ""} · redtap`;
    // A new page begins at its top, for eyes and for the keyboard alike; what is opened first is at it already.
    if (first.current) first.current = false;
    else {
      main.current?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
  }, [place]);
  return (
    <SharedContext.Provider value={{ view, round, paused }}>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        To the content
      </a>
      <Top view={view} paused={paused} setPaused={setPaused} />
      <main ref={main} id="main" tabIndex={-1}>
        <Fence key={place}>{page(view, again)}</Fence>
      </main>
      <footer class="foot">
        <span>Numbers of this agent alone.</span>
        <a href="/metrics">/metrics</a>
        <a href="/api/v1/status">/api/v1/status</a>
      </footer>
    </SharedContext.Provider>
  );
}

function page(view: View, again: () => void): JSX.Element {
  switch (view.page) {
    case "services":
      return <ServicesPage again={again} />;
    case "service":
      return <ServicePage again={again} />;
    case "topology":
      return <TopologyPage again={again} />;
    case "calls":
      return <CallsPage again={again} />;
    case "alarms":
      return <AlarmsPage again={again} />;
    case "sees":
      return <SeesPage again={again} />;
  }
}

/** A page that fails says so instead of leaving nothing; going elsewhere makes a new one. */
class Fence extends Component<{ children: ComponentChildren }, { failed: string | null }> {
  override state = { failed: null };

  static override getDerivedStateFromError(error: unknown): { failed: string } {
    return { failed: String(error) };
  }

  render(): ComponentChildren {
    if (this.state.failed === null) return this.props.children;
    return (
      <Message title="This page failed">
        <p>
          It is a fault of redtap’s: <code>{this.state.failed}</code>. Loading the page anew may help; please report it.
        </p>
      </Message>
    );
  }
}

interface TopProps {
  view: View;
  paused: boolean;
  setPaused: (paused: boolean) => void;
}

function Top({ view, paused, setPaused }: TopProps): JSX.Element {
  const open = view.page === "service" ? "services" : view.page;
  const pages = useRef<HTMLElement>(null);
  // On a phone not all names have room: the one of this page is among those that are seen.
  useEffect(() => {
    const here = pages.current?.querySelector<HTMLElement>("[aria-current]");
    here?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [open]);
  return (
    <header class="top">
      <div>
        <a class="brand" href={format({ ...view, page: "services", service: "", params: {} })} aria-label="redtap: services">
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <rect width="16" height="16" rx="4" />
            <path
              d="M2.5 8.5h3l1.5-4 2.5 7.5 1.5-3.5h2.5"
              fill="none"
              stroke="#fff"
              stroke-width="1.5"
              stroke-linecap="round"
              stroke-linejoin="round"
            />
          </svg>
          <span>redtap</span>
        </a>
        <nav class="pages" aria-label="Pages" ref={pages}>
          {TITLES.map(([name, title]) => (
            <a
              key={name}
              href={format({ page: name, service: "", range: view.range, params: {} })}
              aria-current={open === name ? "page" : undefined}
            >
              {title}
              {name === "alarms" && <FiringBadge />}
            </a>
          ))}
        </nav>
        <div class="tools">
          {RANGED.includes(view.page) && <RangePicker />}
          {MOVING.includes(view.page) && (
            <button
              type="button"
              class="button icon"
              aria-pressed={paused}
              aria-label="Hold the numbers still"
              title={paused ? "Go on renewing the numbers" : "Hold the numbers still"}
              onClick={() => setPaused(!paused)}
            >
              <svg viewBox="0 0 16 16" aria-hidden="true">
                <path d={paused ? "M5 3.5v9l7-4.5Z" : "M5.500 3.500v9M10.500 3.500v9"} />
              </svg>
            </button>
          )}
          <ThemeButton />
        </div>
      </div>
    </header>
  );
}

function RangePicker(): JSX.Element {
  const view = useView();
  return (
    <div class="segments" role="group" aria-label="Range of time">
      {RANGES.map((range) => (
        <button
          key={range}
          type="button"
          aria-pressed={view.range === range}
          title={rangeWords(range)}
          onClick={() => go({ ...view, range })}
        >
          {rangeLabel(range)}
        </button>
      ))}
    </div>
  );
}

const THEMES: Record<Theme, { next: Theme; path: string; label: string }> = {
  system: { next: "light", label: "as the system", path: "M2 3h12v8H2ZM6 13.500h4" },
  light: {
    next: "dark",
    label: "light",
    path: "M8 5a3 3 0 1 0 0 6a3 3 0 0 0 0-6ZM8 1v1M8 14v1M1 8h1M14 8h1M3 3l.7.7M12.300 12.300l.7.7M3 13l.7-.7M12.300 3.700l.7-.7",
  },
  dark: { next: "system", label: "dark", path: "M13 9.500A5.500 5.500 0 0 1 6.500 3A5.500 5.500 0 1 0 13 9.500Z" },
};

function ThemeButton(): JSX.Element {
  const [theme, set] = useState(storedTheme);
  const { next, label, path } = THEMES[theme];
  return (
    <button
      type="button"
      class="button icon"
      aria-label={`Colours: ${label}. Change to ${THEMES[next].label}`}
      title={`Colours: ${label}`}
      onClick={() => {
        keepTheme(next);
        set(next);
      }}
    >
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={path} />
      </svg>
    </button>
  );
}

const ALARMS_EVERY = 15_000;

/** How many alarms fire that are not silenced. Nothing if the agent has no alarms. */
function FiringBadge(): JSX.Element | null {
  const answer = useAnswer("badge", ALARMS_EVERY, (signal) => api.alarms(signal));
  const local = useSilences();
  const loud = answer.data?.firing.filter((alarm) => silencedUntil(alarm, local) === null).length ?? 0;
  if (loud === 0) return null;
  return (
    <span class="badge">
      {loud}
      <span class="hidden"> firing</span>
    </span>
  );
}
