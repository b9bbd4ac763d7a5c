// What pages share: the view in the address, answers that renew themselves, the theme.

import { createContext } from "preact";
import { useCallback, useContext, useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "./api/client";
import { HOME, type View, format, parse, withParams } from "./url";

export interface Shared {
  view: View;
  /** Counts up when everything is to be asked for anew, by the button or after a token was given. */
  round: number;
  paused: boolean;
}

export const SharedContext = createContext<Shared>({ view: HOME, round: 0, paused: false });

export function useShared(): Shared {
  return useContext(SharedContext);
}

export function useView(): View {
  return useShared().view;
}

/** Goes to a view. `replace` for what the back button should not stop at: each letter of a filter, say. */
export function go(view: View, replace = false): void {
  const address = format(view);
  if (address === location.hash) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  dispatchEvent(new Event("redtap:view"));
}

export function useAddress(): View {
  const [view, show] = useState(() => parse(location.hash));
  useEffect(() => {
    const read = (): void => show(parse(location.hash));
    for (const event of ["popstate", "hashchange", "redtap:view"]) addEventListener(event, read);
    return () => {
      for (const event of ["popstate", "hashchange", "redtap:view"]) removeEventListener(event, read);
    };
  }, []);
  return view;
}

/** A parameter of the view and how to change it. */
export function useParam(name: string, fallback = ""): [string, (value: string, replace?: boolean) => void] {
  const { view } = useShared();
  const set = useCallback(
    (value: string, replace = false) => {
      // The address, not the view that was drawn: two changes may come between two drawings.
      go(withParams(parse(location.hash), { [name]: value === fallback ? "" : value }), replace);
    },
    [name, fallback],
  );
  return [view.params[name] ?? fallback, set];
}

export interface Answer<T> {
  /** The last good answer, also while a newer one is awaited or has failed. */
  data: T | null;
  /** Why the newest question had no answer; null if it had one. */
  error: ApiError | null;
  /** When the last good answer came, seconds since the epoch. */
  at: number | null;
}

const NOTHING = { data: null, error: null, at: null };
/** An agent that is gone is asked this often, milliseconds, so that the page recovers by itself. */
const RETRY_EVERY = 3_000;

/**
 * Asks now and then every so many milliseconds, while the page can be seen and is not paused. The old answer stays until
 * the new one is there; one of another `key` does not.
 */
export function useAnswer<T>(key: string, every: number, ask: (signal: AbortSignal) => Promise<T>): Answer<T> {
  const { round, paused } = useShared();
  const [answer, set] = useState<Answer<T> & { key: string }>({ ...NOTHING, key });
  const asking = useRef(ask);
  asking.current = ask;
  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    let busy = false;
    const turn = async (): Promise<void> => {
      if (busy || document.hidden) return;
      busy = true;
      let next = every;
      try {
        const data = await asking.current(stop.signal);
        set({ data, error: null, at: Date.now() / 1000, key });
      } catch (error) {
        if (stop.signal.aborted) return;
        const known = error instanceof ApiError ? error : new ApiError("refused", 0, String(error));
        set((old) => ({ ...(old.key === key ? old : { ...NOTHING, key }), error: known }));
        next = Math.min(every, RETRY_EVERY);
      }
      busy = false;
      if (!paused && !stop.signal.aborted) timer = window.setTimeout(() => void turn(), next);
    };
    const seen = (): void => {
      if (document.hidden || paused) return;
      clearTimeout(timer);
      void turn();
    };
    document.addEventListener("visibilitychange", seen);
    void turn();
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [key, every, round, paused]);
  return answer.key === key ? answer : NOTHING;
}

export type Theme = "system" | "light" | "dark";
const THEME = "redtap.theme";

export function storedTheme(): Theme {
  const stored = localStorage.getItem(THEME);
  return stored === "light" || stored === "dark" ? stored : "system";
}

const DARK = "(prefers-color-scheme: dark)";

/** Puts the theme on the page, where the style sheet reads it. */
export function showTheme(): void {
  const theme = storedTheme();
  const dark = theme === "system" ? matchMedia(DARK).matches : theme === "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  dispatchEvent(new Event("redtap:theme"));
}

/** Keeps a theme in this browser and shows it. */
export function keepTheme(theme: Theme): void {
  if (theme === "system") localStorage.removeItem(THEME);
  else localStorage.setItem(THEME, theme);
  showTheme();
}

/** Shows the theme, and follows the system when it changes. */
export function followTheme(): void {
  showTheme();
  matchMedia(DARK).addEventListener("change", showTheme);
}

/** Counts up when the colours of the page change: what is drawn on a canvas must be drawn again. */
export function useColours(): number {
  const [version, set] = useState(0);
  useEffect(() => {
    const changed = (): void => set((old) => old + 1);
    addEventListener("redtap:theme", changed);
    return () => removeEventListener("redtap:theme", changed);
  }, []);
  return version;
}

/** A colour of the style sheet. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Width of an element, as it changes. */
export function useWidth<E extends HTMLElement>(): [{ current: E | null }, number] {
  const element = useRef<E | null>(null);
  const [width, set] = useState(0);
  useEffect(() => {
    const current = element.current;
    if (!current) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) set(Math.floor(entry.contentRect.width));
    });
    observer.observe(current);
    return () => observer.disconnect();
  }, []);
  return [element, width];
}
