// The graph in its window: pan by dragging, zoom by wheel or pinch, fit; all of it by keys as well.

import type { JSX } from "preact";
import { useCallback, useEffect, useMemo, useRef } from "preact/hooks";
import { NODE_KINDS, type NodeKind, type Topology, type TopologyEdge } from "../api/types";
import { useColours } from "../state";
import { type Camera, fitted, zoomed } from "./camera";
import { type Focus, draw, hit, palette, places, scene, shapeOf } from "./draw";

interface Props {
  topology: Topology;
  focus: Focus;
  onNode: (name: string) => void;
  onEdge: (edge: TopologyEdge | null) => void;
}

const NOTHING: Focus = { node: "", edge: null };
/** A press that moves less than this, pixels, is a click. */
const STEADY = 4;

export function Graph({ topology, focus, onNode, onEdge }: Props): JSX.Element {
  const colours = useColours();
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const camera = useRef<Camera>({ x: 0, y: 0, scale: 1 });
  const size = useRef({ width: 0, height: 0, density: 1 });
  const hover = useRef<Focus>(NOTHING);
  const due = useRef(0);
  const shape = shapeOf(topology);
  const where = useMemo(() => places(topology), [shape]);
  const seen = useMemo(() => scene(topology, where), [topology, where]);
  const paint = useMemo(palette, [colours]);
  const now = useRef({ seen, paint, focus });
  now.current = { seen, paint, focus };

  const redraw = useCallback(() => {
    if (due.current !== 0) return;
    due.current = requestAnimationFrame(() => {
      due.current = 0;
      const pen = canvas.current?.getContext("2d");
      if (!pen) return;
      const { seen, paint, focus } = now.current;
      const chosen = focus.node !== "" || focus.edge ? focus : hover.current;
      draw(pen, seen, camera.current, size.current, chosen, paint);
    });
  }, []);
  const fit = useCallback(() => {
    camera.current = fitted(now.current.seen.box, size.current.width, size.current.height);
    redraw();
  }, []);
  const zoom = useCallback((factor: number, x = size.current.width / 2, y = size.current.height / 2) => {
    camera.current = zoomed(camera.current, factor, x, y);
    redraw();
  }, []);
  const pan = useCallback((x: number, y: number) => {
    camera.current = { ...camera.current, x: camera.current.x + x, y: camera.current.y + y };
    redraw();
  }, []);

  useEffect(() => {
    const [box, paper] = [frame.current, canvas.current];
    if (!box || !paper) return;
    const measure = (): void => {
      const density = devicePixelRatio || 1;
      const first = size.current.width === 0;
      size.current = { width: box.clientWidth, height: box.clientHeight, density };
      paper.width = Math.round(box.clientWidth * density);
      paper.height = Math.round(box.clientHeight * density);
      if (first) fit();
      else redraw();
    };
    const observer = new ResizeObserver(measure);
    observer.observe(box);
    return () => observer.disconnect();
  }, []);
  useEffect(fit, [shape]);
  useEffect(redraw, [seen, paint, focus]);
  useEffect(() => listen(canvas.current, { camera, now, hover, zoom, pan, redraw, onNode, onEdge }), [onNode, onEdge]);

  const key = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== event.currentTarget) return;
    const step = 60;
    const actions: Record<string, () => void> = {
      ArrowLeft: () => pan(step, 0),
      ArrowRight: () => pan(-step, 0),
      ArrowUp: () => pan(0, step),
      ArrowDown: () => pan(0, -step),
      "+": () => zoom(1.25),
      "=": () => zoom(1.25),
      "-": () => zoom(0.8),
      "0": fit,
      Escape: () => onEdge(null),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };
  const label = `Graph of ${topology.nodes.length} nodes and ${topology.edges.length} edges. Arrow keys move it, plus and minus zoom, 0 shows all. The list of edges holds the same numbers.`;
  return (
    <div class="graph" ref={frame} tabIndex={0} role="group" aria-label={label} onKeyDown={key}>
      <canvas ref={canvas} aria-hidden="true" />
      <div class="controls">
        <button type="button" class="button icon" aria-label="Zoom in" onClick={() => zoom(1.25)}>
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M8 3v10M3 8h10" />
          </svg>
        </button>
        <button type="button" class="button icon" aria-label="Zoom out" onClick={() => zoom(0.8)}>
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M3 8h10" />
          </svg>
        </button>
        <button type="button" class="button" onClick={fit}>
          Fit
        </button>
      </div>
      <Key kinds={new Set(topology.nodes.map(({ kind }) => kind))} />
    </div>
  );
}

interface Hands {
  camera: { current: Camera };
  now: { current: { seen: ReturnType<typeof scene> } };
  hover: { current: Focus };
  zoom: (factor: number, x?: number, y?: number) => void;
  pan: (x: number, y: number) => void;
  redraw: () => void;
  onNode: (name: string) => void;
  onEdge: (edge: TopologyEdge | null) => void;
}

function listen(canvas: HTMLCanvasElement | null, hands: Hands): (() => void) | undefined {
  if (!canvas) return undefined;
  const { camera, now, hover, zoom, pan, redraw, onNode, onEdge } = hands;
  const pressed = new Map<number, { x: number; y: number }>();
  let moved = 0;
  const find = (event: MouseEvent): ReturnType<typeof hit> => {
    const { x, y, scale } = camera.current;
    return hit(now.current.seen, { x: (event.offsetX - x) / scale, y: (event.offsetY - y) / scale }, scale);
  };
  const move = (event: PointerEvent): void => {
    const before = pressed.get(event.pointerId);
    if (!before) {
      const found = find(event);
      const next: Focus = !found
        ? NOTHING
        : "node" in found
          ? { node: found.node.node.name, edge: null }
          : { node: "", edge: found.edge.edge };
      canvas.classList.toggle("over", found !== null);
      if (next.node === hover.current.node && next.edge === hover.current.edge) return;
      hover.current = next;
      redraw();
      return;
    }
    const here = { x: event.offsetX, y: event.offsetY };
    moved += Math.abs(here.x - before.x) + Math.abs(here.y - before.y);
    const other = [...pressed].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const spread = (at: { x: number; y: number }): number => Math.hypot(at.x - other.x, at.y - other.y);
      zoom(spread(here) / Math.max(1, spread(before)), (here.x + other.x) / 2, (here.y + other.y) / 2);
    } else {
      pan(here.x - before.x, here.y - before.y);
    }
    pressed.set(event.pointerId, here);
  };
  const down = (event: PointerEvent): void => {
    canvas.setPointerCapture(event.pointerId);
    if (pressed.size === 0) moved = 0;
    pressed.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  };
  const up = (event: PointerEvent): void => {
    pressed.delete(event.pointerId);
    if (event.type !== "pointerup" || moved > STEADY) return;
    const found = find(event);
    if (found && "node" in found) onNode(found.node.node.name);
    else onEdge(found ? found.edge.edge : null);
  };
  const leave = (): void => {
    hover.current = NOTHING;
    redraw();
  };
  const wheel = (event: WheelEvent): void => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), event.offsetX, event.offsetY);
  };
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("wheel", wheel, { passive: false });
  return () => {
    canvas.removeEventListener("pointermove", move);
    canvas.removeEventListener("pointerdown", down);
    canvas.removeEventListener("pointerup", up);
    canvas.removeEventListener("pointercancel", up);
    canvas.removeEventListener("pointerleave", leave);
    canvas.removeEventListener("wheel", wheel);
  };
}

const KINDS: Record<NodeKind, { label: string; path: string; dash?: string }> = {
  service: { label: "service", path: "M3 3h10a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H3a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2Z" },
  database: { label: "database", path: "M1.5 4v8c0 3 13 3 13 0V4c0-3-13-3-13 0c0 3 13 3 13 0" },
  messaging: { label: "broker", path: "M4.5 3h7L15 8l-3.500 5h-7L1 8Z" },
  external: { label: "external", path: "M1 3h14v10H1Z", dash: "3 2" },
  user: { label: "unknown callers", path: "M6 3h4a5 5 0 0 1 0 10H6A5 5 0 0 1 6 3Z" },
};

export function KindIcon({ kind }: { kind: NodeKind }): JSX.Element {
  const { path, dash } = KINDS[kind];
  return (
    <svg viewBox="0 0 16 16" aria-hidden="true">
      <path class={`kind-${kind}`} d={path} stroke-dasharray={dash} />
    </svg>
  );
}

export function kindLabel(kind: NodeKind): string {
  return KINDS[kind].label;
}

function Key({ kinds }: { kinds: Set<NodeKind> }): JSX.Element {
  return (
    <ul class="key" aria-label="Kinds of nodes">
      {NODE_KINDS.filter((kind) => kinds.has(kind)).map((kind) => (
        <li key={kind}>
          <KindIcon kind={kind} />
          {kindLabel(kind)}
        </li>
      ))}
      <li>edges: rate · errors · p99; dashed: 5 % errors or more</li>
    </ul>
  );
}
