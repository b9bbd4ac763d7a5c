// Which column a table is sorted by, as the address says it: `p99` upwards, `-p99` downwards.

export interface Sort {
  key: string;
  descending: boolean;
}

export function parseSort(text: string): Sort | null {
  if (text === "" || text === "-") return null;
  return text.startsWith("-") ? { key: text.slice(1), descending: true } : { key: text, descending: false };
}

export function formatSort(sort: Sort): string {
  return sort.descending ? `-${sort.key}` : sort.key;
}

/** A sorted copy; equal rows stay in their order, and rows of unknown value come last either way. */
export function sorted<Row>(rows: Row[], by: (row: Row) => string | number | null, descending: boolean): Row[] {
  const keyed = rows.map((row) => ({ row, key: by(row) }));
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null ? 1 : 0) - (b.key === null ? 1 : 0);
    const order =
      typeof a.key === "string" || typeof b.key === "string" ? String(a.key).localeCompare(String(b.key)) : a.key - b.key;
    return descending ? -order : order;
  });
  return keyed.map(({ row }) => row);
}
