// A table that sorts by any of its columns; which one, and which way, is in the address.

import type { ComponentChild, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useParam } from "../state";
import { memo } from "./memo";
import { type Sort, formatSort, parseSort, sorted } from "./sort";

export interface Column<Row> {
  key: string;
  title: string;
  /** Spoken and shown on pointing, where the title is short. */
  hint?: string;
  /** Classes of its cells: `number`, `wide` (not on small screens), `medium` (not on phones). */
  class?: string;
  /** What it is sorted by; without it, it cannot be. */
  by?: (row: Row) => string | number | null;
  cell: (row: Row) => ComponentChild;
}

interface Props<Row> {
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  id: (row: Row) => string;
  /** Name of the parameter that holds the sort, and what it is when it holds nothing: empty for the order of the rows. */
  param: string;
  initial?: string;
  /** Rows beyond are counted, not shown. */
  most?: number;
}

/** Rows that are made in one frame: more than a screen holds, and few enough that the page answers meanwhile. */
const IN_A_FRAME = 40;

/** How many of so many rows are drawn by now: new ones come a frame's worth at a time, until all are there. */
function useDrawn(rows: number): number {
  const before = useRef(0);
  const [, again] = useState(0);
  const drawn = Math.min(rows, before.current + IN_A_FRAME);
  useLayoutEffect(() => {
    before.current = drawn;
    if (drawn === rows) return;
    // Behind the frame that shows what is there, not before it.
    let timer = 0;
    const frame = requestAnimationFrame(() => {
      timer = window.setTimeout(() => again((old) => old + 1));
    });
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
    };
  });
  return drawn;
}

/** Drawn again only when its row is another one, or when the columns are. */
const Cells = memo(function Cells({ row, columns }: { row: unknown; columns: Column<unknown>[] }): JSX.Element {
  return (
    <tr>
      {columns.map((column, at) =>
        at === 0 ? (
          <th key={column.key} scope="row" class={column.class}>
            {column.cell(row)}
          </th>
        ) : (
          <td key={column.key} class={column.class}>
            {column.cell(row)}
          </td>
        ),
      )}
    </tr>
  );
});

export function Table<Row>({ caption, columns, rows, id, param, initial = "", most = 500 }: Props<Row>): JSX.Element {
  const [text, set] = useParam(param, initial);
  const sort = parseSort(text);
  const by = columns.find((column) => column.key === sort?.key)?.by;
  const shown = (sort && by ? sorted(rows, by, sort.descending) : rows).slice(0, most);
  const drawn = useDrawn(shown.length);
  const press = (column: Column<Row>): void => {
    const numeric = column.class?.includes("number") ?? false;
    const next: Sort =
      sort?.key === column.key ? { key: column.key, descending: !sort.descending } : { key: column.key, descending: numeric };
    set(formatSort(next), true);
  };
  return (
    <div class="scroll">
      <table>
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => {
              const chosen = sort?.key === column.key;
              const direction = sort?.descending ? "descending" : "ascending";
              return (
                <th key={column.key} scope="col" class={column.class} aria-sort={chosen ? direction : undefined}>
                  {column.by ? (
                    <button type="button" onClick={() => press(column)} title={column.hint}>
                      {column.title}
                      <span class="arrow" aria-hidden="true">
                        {chosen ? (sort.descending ? "▼" : "▲") : ""}
                      </span>
                    </button>
                  ) : (
                    column.title
                  )}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {shown.slice(0, drawn).map((row) => (
            <Cells key={id(row)} row={row} columns={columns as Column<unknown>[]} />
          ))}
        </tbody>
      </table>
      {rows.length > shown.length && <p class="quiet small card-note">{rows.length - shown.length} more are not shown; use the filter.</p>}
    </div>
  );
}
