// Draws the graph on a canvas. No state: what is to be seen comes in whole, once a frame.

import type { NodeKind, Topology, TopologyEdge, TopologyNode } from "../api/types";
import { duration, percent, rate } from "../format";
import { health } from "../parts/red";
import { colour } from "../state";
import type { Box, Camera } from "./camera";
import { layout, type Place } from "./layers";

export const [WIDTH, HEIGHT] = [164, 46];

export interface SeenNode extends Place {
  node: TopologyNode;
}

export interface SeenEdge {
  edge: TopologyEdge;
  from: SeenNode;
  to: SeenNode;
  /** Of the curve: both ends and both of its handles. */
  curve: [number, number, number, number, number, number, number, number];
  thickness: number;
}

export interface Scene {
  nodes: SeenNode[];
  edges: SeenEdge[];
  box: Box;
}

export interface Focus {
  node: string;
  edge: TopologyEdge | null;
}

export interface Palette {
  surface: string;
  ink: string;
  quiet: string;
  line: string;
  strong: string;
  bad: string;
  warn: string;
  accent: string;
  font: string;
  badSoft: string;
  warnSoft: string;
  kinds: Record<NodeKind, string>;
}

export function palette(): Palette {
  return {
    surface: colour("surface"),
    ink: colour("ink"),
    quiet: colour("ink-2"),
    line: colour("line"),
    strong: colour("line-strong"),
    bad: colour("bad"),
    warn: colour("warn"),
    accent: colour("accent"),
    font: colour("font"),
    badSoft: colour("bad-soft"),
    warnSoft: colour("warn-soft"),
    kinds: {
      service: colour("kind-service"),
      database: colour("kind-database"),
      messaging: colour("kind-messaging"),
      external: colour("kind-external"),
      user: colour("kind-user"),
    },
  };
}

/** What decides where nodes lie: names and edges, not numbers. */
export function shapeOf(topology: Topology): string {
  const edges = topology.edges.map(({ client, server }) => `${client}\u0000${server}`);
  return [...topology.nodes.map(({ name }) => name).sort(), "", ...edges.sort()].join("\n");
}

export function places(topology: Topology): Map<string, Place> {
  return layout(
    topology.nodes.map(({ name }) => name),
    topology.edges,
  );
}

export function scene(topology: Topology, where: Map<string, Place>): Scene {
  const nodes = topology.nodes.map((node) => ({ node, ...(where.get(node.name) ?? { x: 0, y: 0 }) }));
  const byName = new Map(nodes.map((seen) => [seen.node.name, seen]));
  const fastest = Math.max(1e-9, ...topology.edges.map(({ red }) => red.requestsPerSecond));
  const edges = topology.edges.flatMap((edge) => {
    const [from, to] = [byName.get(edge.client), byName.get(edge.server)];
    if (!from || !to) return [];
    const part = Math.log1p(edge.red.requestsPerSecond) / Math.log1p(fastest);
    return [{ edge, from, to, curve: curve(from, to), thickness: 1.25 + 2.75 * part }];
  });
  const [xs, ys] = [nodes.map(({ x }) => x), nodes.map(({ y }) => y)];
  const box = {
    left: Math.min(...xs) - WIDTH / 2,
    right: Math.max(...xs) + WIDTH / 2,
    top: Math.min(...ys) - HEIGHT / 2,
    bottom: Math.max(...ys) + HEIGHT / 2,
  };
  return { nodes, edges, box };
}

function curve(from: Place, to: Place): SeenEdge["curve"] {
  const half = WIDTH / 2;
  if (from === to) return [from.x + 20, from.y - 22, from.x + 70, from.y - 80, from.x - 70, from.y - 80, from.x - 20, from.y - 24];
  if (to.x > from.x) {
    const reach = Math.max(50, (to.x - from.x - WIDTH) / 2);
    return [from.x + half, from.y, from.x + half + reach, from.y, to.x - half - reach, to.y, to.x - half - 3, to.y];
  }
  // Back, or within a column: around the left or right, so that it is not hidden behind the nodes between.
  const bow = to.x === from.x ? 80 : 60;
  return to.x === from.x
    ? [from.x + half, from.y, from.x + half + bow, from.y, to.x + half + bow, to.y, to.x + half + 3, to.y]
    : [from.x - half, from.y + 8, from.x - half - bow, from.y + 8, to.x + half + bow, to.y + 8, to.x + half + 3, to.y + 8];
}

/** A point of an edge's curve, from 0 to 1. */
export function along(edge: SeenEdge, part: number): Place {
  const [x0, y0, x1, y1, x2, y2, x3, y3] = edge.curve;
  const rest = 1 - part;
  const [a, b, c, d] = [rest ** 3, 3 * rest * rest * part, 3 * rest * part * part, part ** 3];
  return { x: a * x0 + b * x1 + c * x2 + d * x3, y: a * y0 + b * y1 + c * y2 + d * y3 };
}

/** What lies at a point of the graph. */
export function hit(scene: Scene, at: Place, scale: number): { node: SeenNode } | { edge: SeenEdge } | null {
  for (const seen of scene.nodes) {
    if (Math.abs(at.x - seen.x) <= WIDTH / 2 && Math.abs(at.y - seen.y) <= HEIGHT / 2) return { node: seen };
  }
  const reach = (7 / scale) ** 2;
  let best: SeenEdge | null = null;
  let nearest = reach;
  for (const edge of scene.edges) {
    for (let step = 0; step <= 24; step += 1) {
      const point = along(edge, step / 24);
      const next = along(edge, Math.min(1, (step + 1) / 24));
      const far = distance(at, point, next);
      if (far < nearest) [nearest, best] = [far, edge];
    }
  }
  return best ? { edge: best } : null;
}

/** The square of the distance of a point from a stretch. */
function distance(at: Place, a: Place, b: Place): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = dx * dx + dy * dy;
  const part = length === 0 ? 0 : Math.max(0, Math.min(1, ((at.x - a.x) * dx + (at.y - a.y) * dy) / length));
  return (at.x - a.x - part * dx) ** 2 + (at.y - a.y - part * dy) ** 2;
}

function touches(edge: SeenEdge, focus: Focus): boolean {
  if (focus.edge) return edge.edge.client === focus.edge.client && edge.edge.server === focus.edge.server;
  return focus.node === "" || edge.from.node.name === focus.node || edge.to.node.name === focus.node;
}

export function edgeText({ red }: TopologyEdge): string {
  const errors = (red.errorRatio ?? 0) > 0 ? ` · ${percent(red.errorRatio)} err` : "";
  return `${rate(red.requestsPerSecond)}${errors} · ${duration(red.p99)}`;
}

export function draw(
  pen: CanvasRenderingContext2D,
  seen: Scene,
  camera: Camera,
  size: { width: number; height: number; density: number },
  focus: Focus,
  paint: Palette,
): void {
  const { width, height, density } = size;
  pen.setTransform(density, 0, 0, density, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.setTransform(density * camera.scale, 0, 0, density * camera.scale, density * camera.x, density * camera.y);
  const window_ = {
    left: -camera.x / camera.scale,
    top: -camera.y / camera.scale,
    right: (width - camera.x) / camera.scale,
    bottom: (height - camera.y) / camera.scale,
  };
  const focused = focus.node !== "" || focus.edge !== null;
  const near = new Set<string>();
  for (const edge of seen.edges) {
    if (!focused || !touches(edge, focus)) continue;
    near.add(edge.from.node.name).add(edge.to.node.name);
  }
  if (focus.node !== "") near.add(focus.node);
  for (const lit of [false, true]) {
    for (const edge of seen.edges) {
      if (touches(edge, focus) !== lit || !edgeSeen(edge, window_)) continue;
      pen.globalAlpha = lit || !focused ? 1 : 0.15;
      drawEdge(pen, edge, camera.scale, paint);
    }
  }
  for (const node of seen.nodes) {
    const outside =
      node.x + WIDTH < window_.left || node.x - WIDTH > window_.right || node.y + HEIGHT < window_.top || node.y - HEIGHT > window_.bottom;
    if (outside) continue;
    pen.globalAlpha = !focused || near.has(node.node.name) ? 1 : 0.3;
    drawNode(pen, node, camera.scale, node.node.name === focus.node, paint);
  }
  pen.globalAlpha = 1;
  const all = camera.scale >= 0.62;
  for (const edge of seen.edges) {
    if ((all && !focused) || (focused && touches(edge, focus))) drawLabel(pen, edge, camera.scale, paint);
  }
  // In a crowd, what is looked at has its name beside it in full.
  if (focused && camera.scale < 0.5) {
    for (const node of seen.nodes) if (near.has(node.node.name)) drawName(pen, node, camera.scale, paint);
  }
}

function edgeSeen({ curve: [x0, y0, , , , , x3, y3] }: SeenEdge, window_: Box): boolean {
  const bow = 90;
  return (
    Math.max(x0, x3) + bow >= window_.left &&
    Math.min(x0, x3) - bow <= window_.right &&
    Math.max(y0, y3) + bow >= window_.top &&
    Math.min(y0, y3) - bow <= window_.bottom
  );
}

function drawEdge(pen: CanvasRenderingContext2D, seen: SeenEdge, scale: number, paint: Palette): void {
  const [x0, y0, x1, y1, x2, y2, x3, y3] = seen.curve;
  const how = health(seen.edge.red);
  pen.strokeStyle = how === "bad" ? paint.bad : how === "warn" ? paint.warn : paint.strong;
  pen.fillStyle = pen.strokeStyle;
  pen.lineWidth = Math.max(seen.thickness, 0.7 / scale);
  // Failing edges are dashed as well: colour alone says nothing to many.
  pen.setLineDash(how === "bad" ? [9, 5] : []);
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.bezierCurveTo(x1, y1, x2, y2, x3, y3);
  pen.stroke();
  pen.setLineDash([]);
  const turn = Math.atan2(y3 - y2, x3 - x2);
  const length = 7 + seen.thickness;
  pen.beginPath();
  pen.moveTo(x3, y3);
  pen.lineTo(x3 - length * Math.cos(turn - 0.4), y3 - length * Math.sin(turn - 0.4));
  pen.lineTo(x3 - length * Math.cos(turn + 0.4), y3 - length * Math.sin(turn + 0.4));
  pen.fill();
}

function drawLabel(pen: CanvasRenderingContext2D, seen: SeenEdge, scale: number, paint: Palette): void {
  const at = along(seen, 0.5);
  const text = edgeText(seen.edge);
  const size = Math.max(11, 9.5 / scale);
  pen.font = `${size}px ${paint.font}`;
  const wide = pen.measureText(text).width + size;
  pen.fillStyle = paint.surface;
  pen.globalAlpha = 0.92;
  pen.beginPath();
  pen.roundRect(at.x - wide / 2, at.y - size * 0.8, wide, size * 1.6, 4);
  pen.fill();
  pen.globalAlpha = 1;
  pen.fillStyle = health(seen.edge.red) === "bad" ? paint.bad : paint.quiet;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(text, at.x, at.y);
}

function drawName(pen: CanvasRenderingContext2D, { node, x, y }: SeenNode, scale: number, paint: Palette): void {
  const size = 11.5 / scale;
  pen.font = `600 ${size}px ${paint.font}`;
  const wide = pen.measureText(node.name).width + size * 0.6;
  const top = y + HEIGHT / 2 + size;
  pen.fillStyle = paint.surface;
  pen.fillRect(x - wide / 2, top - size * 0.75, wide, size * 1.5);
  pen.fillStyle = paint.ink;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(node.name, x, top);
}

/** The outline says what a node is: each kind has its own. */
export function outline(pen: CanvasRenderingContext2D | Path2D, kind: NodeKind, x: number, y: number, w: number, h: number): void {
  const [left, top, right, bottom] = [x - w / 2, y - h / 2, x + w / 2, y + h / 2];
  switch (kind) {
    case "service":
      pen.roundRect(left, top, w, h, 8);
      break;
    case "external":
      pen.rect(left, top, w, h);
      break;
    case "user":
      pen.roundRect(left, top, w, h, h / 2);
      break;
    case "messaging": {
      const cut = h / 3;
      pen.moveTo(left + cut, top);
      pen.lineTo(right - cut, top);
      pen.lineTo(right, y);
      pen.lineTo(right - cut, bottom);
      pen.lineTo(left + cut, bottom);
      pen.lineTo(left, y);
      pen.closePath();
      break;
    }
    case "database": {
      const lid = h / 8;
      pen.moveTo(left, top + lid);
      pen.lineTo(left, bottom - lid);
      pen.ellipse(x, bottom - lid, w / 2, lid, 0, Math.PI, 0, true);
      pen.lineTo(right, top + lid);
      pen.ellipse(x, top + lid, w / 2, lid, 0, 0, Math.PI, true);
      pen.ellipse(x, top + lid, w / 2, lid, 0, Math.PI, 0, true);
      break;
    }
  }
}

function drawNode(pen: CanvasRenderingContext2D, seen: SeenNode, scale: number, chosen: boolean, paint: Palette): void {
  const { node, x, y } = seen;
  const how = health(node.red);
  pen.beginPath();
  outline(pen, node.kind, x, y, WIDTH, HEIGHT);
  pen.fillStyle = how === "bad" ? paint.badSoft : how === "warn" ? paint.warnSoft : paint.surface;
  pen.fill();
  pen.lineWidth = Math.max(chosen ? 3 : 1.75, (chosen ? 2 : 1) / scale);
  // Too small for a mark in words, what fails has the colour of failure; its shape still says its kind.
  pen.strokeStyle = chosen ? paint.accent : how === "bad" && scale < 0.5 ? paint.bad : paint.kinds[node.kind];
  pen.setLineDash(node.kind === "external" ? [5, 3] : []);
  pen.stroke();
  pen.setLineDash([]);
  // Too small for text; its colour and its outline are still seen.
  if (scale < 0.2) return;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const two = node.red !== null && scale >= 0.5;
  const size = Math.min(36, Math.max(13, 8.5 / scale));
  pen.font = `600 ${size}px ${paint.font}`;
  pen.fillStyle = paint.ink;
  pen.fillText(shortened(pen, node.name, WIDTH - (node.kind === "service" ? 10 : 26)), x, two ? y - 7 : y);
  if (!two || node.red === null) return;
  pen.font = `11px ${paint.font}`;
  pen.fillStyle = how === "bad" ? paint.bad : how === "warn" ? paint.warn : paint.quiet;
  const errors = how === "bad" || how === "warn" ? `${how === "bad" ? "■" : "▲"} ${percent(node.red.errorRatio)} · ` : "";
  pen.fillText(`${errors}${rate(node.red.requestsPerSecond)} · ${duration(node.red.p99)}`, x, y + 11);
}

const FITTING = new Map<string, string>();

/** A name that fits, with a mark where it was cut. Measuring is what costs: results are kept. */
function shortened(pen: CanvasRenderingContext2D, name: string, width: number): string {
  const key = `${pen.font}\u0000${name}`;
  const known = FITTING.get(key);
  if (known !== undefined) return known;
  let short = name;
  while (short.length > 1 && pen.measureText(short === name ? name : `${short}…`).width > width) short = short.slice(0, -1);
  if (FITTING.size > 4_000) FITTING.clear();
  const text = short === name ? name : `${short}…`;
  FITTING.set(key, text);
  return text;
}
