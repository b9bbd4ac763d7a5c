// A small line without axes, beside the number that it leads to. It says nothing to a screen reader: the number does. Far
// from what is seen it is an empty box of its size: of hundreds of lines, most cost nothing.

import type { JSX } from "preact";
import { memo } from "../parts/memo";
import type { Values } from "../api/types";
import { useNear } from "./near";
import { areaPath, linePath, summary, thinned } from "./series";

const [WIDTH, HEIGHT, POINTS] = [112, 22, 56];

interface Props {
  values: Values;
  kind: "rate" | "errors" | "p99";
  /** What the top of the box is at least: 2 % of errors should not look like all of them. */
  atLeast?: number;
}

export const Spark = memo(function Spark({ values, kind, atLeast = 0 }: Props): JSX.Element {
  const [box, near] = useNear<SVGSVGElement>();
  const points = near ? thinned(values, POINTS) : [];
  const most = summary(points).max ?? 0;
  const top = Math.max(atLeast, most);
  return (
    <svg
      ref={box}
      class={`spark ${most > 0 ? kind : "none"}`}
      viewBox={`0 -1 ${WIDTH} ${HEIGHT + 2}`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      {near && (
        <>
          <path class="area" d={areaPath(points, top, WIDTH, HEIGHT)} />
          <path d={linePath(points, top, WIDTH, HEIGHT)} />
        </>
      )}
    </svg>
  );
});
