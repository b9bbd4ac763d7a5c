// Who calls whom: a graph, and beside it the same edges as a list that keys reach.

import type { JSX } from "preact";
import { useCallback, useEffect, useMemo, useRef } from "preact/hooks";
import { api } from "../api/client";
import type { Red, Topology, TopologyEdge, TopologyNode } from "../api/types";
import { count, duration, percent, plural, rate } from "../format";
import { Message, Shown } from "../parts/message";
import { ErrorRatio, HealthMark } from "../parts/red";
import { Search, matches } from "../parts/search";
import { go, useAnswer, useParam, useView } from "../state";
import { Graph, KindIcon, kindLabel } from "../topology/graph";
import { ask, format, parse, rangeWords, withParams } from "../url";
import { serviceAddress } from "./services";

export function TopologyPage({ again }: { again: () => void }): JSX.Element {
  const view = useView();
  const { last, every } = ask(view.range);
  const answer = useAnswer(`topology ${last}`, every, (signal) => api.topology(last, signal));
  return (
    <>
      <div class="head">
        <h1>Topology</h1>
        <span class="quiet">
          {rangeWords(view.range)}
          {answer.data && ` · ${plural(answer.data.nodes.length, "node")}, ${plural(answer.data.edges.length, "edge")}`}
        </span>
      </div>
      <Shown answer={answer} again={again}>
        {(topology) =>
          topology.nodes.length === 0 ? (
            <section class="card">
              <Message title="Nobody called anybody yet">
                <p>
                  In {rangeWords(view.range)} no request between two parties was seen. Choose a longer range, or look at{" "}
                  <a href={format({ ...view, page: "sees", params: {} })}>what redtap sees</a>.
                </p>
              </Message>
            </section>
          ) : (
            <Map_ topology={topology} />
          )
        }
      </Shown>
    </>
  );
}

function worst(a: TopologyEdge, b: TopologyEdge): number {
  return (b.red.errorRatio ?? 0) - (a.red.errorRatio ?? 0) || b.red.requestsPerSecond - a.red.requestsPerSecond;
}

function Map_({ topology }: { topology: Topology }): JSX.Element {
  const [node] = useParam("node");
  const [edgeText] = useParam("edge");
  const [filter, setFilter] = useParam("filter");
  const edge = useMemo(
    () => topology.edges.find(({ client, server }) => `${client} → ${server}` === edgeText) ?? null,
    [topology, edgeText],
  );
  const focus = useMemo(() => ({ node, edge }), [node, edge]);
  const choose = useCallback((changes: Record<string, string>) => {
    go(withParams(parse(location.hash), { node: "", edge: "", ...changes }));
  }, []);
  const onNode = useCallback((name: string) => choose({ node: name }), []);
  const onEdge = useCallback(
    (chosen: TopologyEdge | null) => choose(chosen ? { edge: `${chosen.client} → ${chosen.server}` } : {}),
    [],
  );
  const listed = topology.edges
    .filter(({ client, server }) => (node === "" || client === node || server === node) && matches(filter, client, server))
    .sort(worst);
  const chosen = topology.nodes.find(({ name }) => name === node);
  return (
    <div class="map">
      <section class="card" aria-label="Graph">
        <Graph topology={topology} focus={focus} onNode={onNode} onEdge={onEdge} />
      </section>
      <section class="card edges" aria-label="Edges">
        {chosen && <PickedNode node={chosen} onClose={() => choose({})} />}
        {edge && <PickedEdge edge={edge} onClose={() => choose({})} />}
        <header class="card-head">
          <h2>{chosen ? `Edges of ${chosen.name}` : "Edges, worst first"}</h2>
          <Search label="Filter edges" value={filter} onChange={(value) => setFilter(value, true)} />
        </header>
        <ul>
          {listed.map((each) => (
            <li key={`${each.client}\u0000${each.server}`}>
              <button type="button" aria-pressed={each === edge} onClick={() => onEdge(each === edge ? null : each)}>
                <span class="who">
                  <HealthMark red={each.red} />
                  {each.client} <span class="quiet">→</span> {each.server}
                </span>
                <span class="number">{rate(each.red.requestsPerSecond)}</span>
                <span class="what">
                  <ErrorRatio value={each.red.errorRatio} /> errors · p50 {duration(each.red.p50)} · p99 {duration(each.red.p99)}
                </span>
              </button>
            </li>
          ))}
        </ul>
        {listed.length === 0 && <p class="message quiet">No edge matches.</p>}
      </section>
    </div>
  );
}

function Numbers({ red }: { red: Red }): JSX.Element {
  return (
    <>
      <dt>Rate</dt>
      <dd>
        {rate(red.requestsPerSecond)} ({count(red.requests)} requests)
      </dd>
      <dt>Errors</dt>
      <dd>{percent(red.errorRatio)}</dd>
      <dt>p50, p90, p99</dt>
      <dd>
        {duration(red.p50)}, {duration(red.p90)}, {duration(red.p99)}
      </dd>
    </>
  );
}

function Close({ onClose }: { onClose: () => void }): JSX.Element {
  return (
    <button type="button" class="button icon" aria-label="Show everything again" onClick={onClose}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d="m4 4 8 8M12 4l-8 8" />
      </svg>
    </button>
  );
}

/** Who picks from the list by keys goes on in what was picked, which is above the list. */
function usePicked(what: string): { current: HTMLHeadingElement | null } {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (document.activeElement?.closest(".edges")) heading.current?.focus();
  }, [what]);
  return heading;
}

function PickedNode({ node, onClose }: { node: TopologyNode; onClose: () => void }): JSX.Element {
  const view = useView();
  const heading = usePicked(node.name);
  return (
    <div class="picked">
      <div class="picked-head">
        <h2 ref={heading} tabIndex={-1}>
          <span class="key">
            <KindIcon kind={node.kind} />
          </span>{" "}
          {node.name}
        </h2>
        <Close onClose={onClose} />
      </div>
      <dl class="facts">
        <dt>Kind</dt>
        <dd>{kindLabel(node.kind)}</dd>
        {node.red ? <Numbers red={node.red} /> : null}
      </dl>
      {node.kind === "service" && (
        <p class="chips">
          <a class="button main" href={serviceAddress(view, node.name)}>
            Open the service
          </a>
          <a class="button" href={format({ ...view, page: "calls", params: { service: node.name } })}>
            Its calls, live
          </a>
        </p>
      )}
    </div>
  );
}

function PickedEdge({ edge, onClose }: { edge: TopologyEdge; onClose: () => void }): JSX.Element {
  const view = useView();
  const heading = usePicked(`${edge.client} ${edge.server}`);
  return (
    <div class="picked">
      <div class="picked-head">
        <h2 ref={heading} tabIndex={-1}>
          {edge.client} → {edge.server}
        </h2>
        <Close onClose={onClose} />
      </div>
      <dl class="facts">
        {edge.connectionType !== "" && (
          <>
            <dt>Connection</dt>
            <dd>{edge.connectionType.replaceAll("_", " ")}</dd>
          </>
        )}
        <Numbers red={edge.red} />
      </dl>
      <p class="chips">
        <a class="button" href={serviceAddress(view, edge.server)}>
          Open {edge.server}
        </a>
        <a class="button" href={format({ ...view, page: "calls", params: { service: edge.client, peer: edge.server } })}>
          These calls, live
        </a>
      </p>
    </div>
  );
}
