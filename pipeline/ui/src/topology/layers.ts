// Where the nodes of a graph lie: in columns from left to right, callers before those they call. The same graph always
// lies the same way, whatever the order it comes in, so that new numbers move nothing.

export interface GraphEdge {
  client: string;
  server: string;
}

export interface Place {
  x: number;
  y: number;
}

/** Between columns: room for what is written on an edge, but not in a crowd, where it is not written. */
export const COLUMN = 330;
export const CROWDED_COLUMN = 250;
/** Nodes from which on there is a crowd. */
export const CROWD = 40;
/** Least distance of the middles of two nodes above each other. */
export const ROW = 76;
/** A graph wider than this, compared with its height, is stretched downwards, to so many times its height at most. */
const [WIDEST, STRETCH] = [1.7, 3.5];
/** Most nodes above each other; a layer of more is laid in several columns. */
export const TALLEST = 26;
const SWEEPS = 12;

/** The layer of each node: one more than that of its callers, where there is no circle. */
export function layers(names: string[], edges: GraphEdge[]): Map<string, number> {
  const out = new Map<string, string[]>(names.map((name) => [name, []]));
  const callers = new Map<string, number>(names.map((name) => [name, 0]));
  for (const { client, server } of edges) {
    if (client === server || !out.has(client) || !out.has(server)) continue;
    out.get(client)?.push(server);
    callers.set(server, (callers.get(server) ?? 0) + 1);
  }
  for (const targets of out.values()) targets.sort();
  const forward = withoutCircles(names, out, callers);
  const waiting = new Map<string, number>(names.map((name) => [name, 0]));
  for (const targets of forward.values()) for (const to of targets) waiting.set(to, (waiting.get(to) ?? 0) + 1);
  const layer = new Map<string, number>(names.map((name) => [name, 0]));
  const ready = names.filter((name) => waiting.get(name) === 0);
  for (let next = ready.pop(); next !== undefined; next = ready.pop()) {
    for (const to of forward.get(next) ?? []) {
      layer.set(to, Math.max(layer.get(to) ?? 0, (layer.get(next) ?? 0) + 1));
      const left = (waiting.get(to) ?? 1) - 1;
      waiting.set(to, left);
      if (left === 0) ready.push(to);
    }
  }
  return layer;
}

/** The edges that do not lead back to where a walk came from. Walks begin where nobody calls, then with the busiest caller. */
function withoutCircles(names: string[], out: Map<string, string[]>, callers: Map<string, number>): Map<string, string[]> {
  const begin = [...names].sort((a, b) => {
    const order = (callers.get(a) ?? 0) - (callers.get(b) ?? 0) || (out.get(b)?.length ?? 0) - (out.get(a)?.length ?? 0);
    return order || (a < b ? -1 : 1);
  });
  const state = new Map<string, "open" | "done">();
  const kept = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const root of begin) {
    if (state.has(root)) continue;
    // Without recursion: a chain may be longer than the stack is deep.
    const walk = [{ name: root, next: 0 }];
    state.set(root, "open");
    for (let top = walk[walk.length - 1]; top !== undefined; top = walk[walk.length - 1]) {
      const to = out.get(top.name)?.[top.next];
      if (to === undefined) {
        state.set(top.name, "done");
        walk.pop();
        continue;
      }
      top.next += 1;
      if (state.get(to) === "open") continue;
      kept.get(top.name)?.push(to);
      if (!state.has(to)) {
        state.set(to, "open");
        walk.push({ name: to, next: 0 });
      }
    }
  }
  return kept;
}

/** Columns of names, each in the order in which few edges cross: every node goes to the middle of its neighbours. */
function ordered(layer: Map<string, number>, near: Map<string, string[]>): string[][] {
  const columns: string[][] = [];
  for (const name of [...layer.keys()].sort()) (columns[layer.get(name) ?? 0] ??= []).push(name);
  const place = new Map<string, number>();
  const note = (column: string[]): void =>
    column.forEach((name, row) => place.set(name, (row + 0.5) / column.length));
  columns.forEach(note);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const column of sweep % 2 === 0 ? columns : [...columns].reverse()) {
      const wish = new Map(
        column.map((name) => {
          const around = near.get(name) ?? [];
          const sum = around.reduce((all, other) => all + (place.get(other) ?? 0.5), 0);
          return [name, around.length > 0 ? sum / around.length : (place.get(name) ?? 0.5)];
        }),
      );
      column.sort((a, b) => (wish.get(a) ?? 0) - (wish.get(b) ?? 0) || (a < b ? -1 : 1));
      note(column);
    }
  }
  // Wide rather than tall: a column that would not fit is laid in several.
  return columns.filter(Boolean).flatMap((column) => {
    const parts = Math.ceil(column.length / TALLEST);
    return Array.from({ length: parts }, (_, part) => column.filter((_, row) => row % parts === part));
  });
}

/** Where each node's middle is. */
export function layout(nodes: string[], edges: GraphEdge[]): Map<string, Place> {
  const names = [...new Set(nodes)].sort();
  const near = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const { client, server } of edges) {
    if (client === server || !near.has(client) || !near.has(server)) continue;
    near.get(client)?.push(server);
    near.get(server)?.push(client);
  }
  for (const around of near.values()) around.sort();
  const columns = ordered(layers(names, edges), near);
  const places = new Map<string, Place>();
  const wide = names.length >= CROWD ? CROWDED_COLUMN : COLUMN;
  columns.forEach((column, at) =>
    column.forEach((name, row) => places.set(name, { x: at * wide, y: (row - (column.length - 1) / 2) * ROW })),
  );
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const column of columns) settle(column, near, places);
  }
  stretch(places, (columns.length - 1) * wide);
  return places;
}

/** Makes use of the height of a window that the width of the graph leaves free. */
function stretch(places: Map<string, Place>, width: number): void {
  const ys = [...places.values()].map(({ y }) => y);
  const height = Math.max(...ys) - Math.min(...ys);
  if (!(height > 0)) return;
  const factor = Math.min(STRETCH, Math.max(1, width / WIDEST / height));
  for (const place of places.values()) place.y *= factor;
}

/** Moves the nodes of a column towards their neighbours, in their order and no closer than a row. */
function settle(column: string[], near: Map<string, string[]>, places: Map<string, Place>): void {
  const wishes = column.map((name) => {
    const around = (near.get(name) ?? []).map((other) => places.get(other)?.y ?? 0);
    return around.length > 0 ? around.reduce((a, b) => a + b, 0) / around.length : (places.get(name)?.y ?? 0);
  });
  // Blocks of nodes that touch share one offset: the mean of what their nodes wish for.
  const blocks: { sum: number; size: number }[] = [];
  wishes.forEach((wish, row) => {
    blocks.push({ sum: wish - row * ROW, size: 1 });
    for (;;) {
      const [last, before] = [blocks[blocks.length - 1], blocks[blocks.length - 2]];
      if (!last || !before || before.sum / before.size <= last.sum / last.size) break;
      before.sum += last.sum;
      before.size += last.size;
      blocks.pop();
    }
  });
  let row = 0;
  for (const { sum, size } of blocks) {
    for (let inside = 0; inside < size; inside += 1, row += 1) {
      const place = places.get(column[row] ?? "");
      if (place) place.y = sum / size + row * ROW;
    }
  }
}
