// The filter box of a page. The key / leads to it.

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface Props {
  label: string;
  value: string;
  onChange: (value: string) => void;
}

export function Search({ label, value, onChange }: Props): JSX.Element {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const key = (event: KeyboardEvent): void => {
      const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      input.current?.focus();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  return (
    <input
      ref={input}
      class="input"
      type="search"
      aria-label={label}
      placeholder={`${label}  ( / )`}
      aria-keyshortcuts="/"
      value={value}
      onInput={(event) => onChange(event.currentTarget.value)}
    />
  );
}

/** True if every word of the filter is somewhere in the texts, whatever their case. */
export function matches(filter: string, ...texts: string[]): boolean {
  const all = texts.join(" ").toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word));
}
