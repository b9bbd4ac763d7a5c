// Whether an element is in the window or close to it. One observer for all: there may be hundreds of them.

import { useEffect, useRef, useState } from "preact/hooks";

const told = new WeakMap<Element, (near: boolean) => void>();
let observer: IntersectionObserver | null = null;

function shared(): IntersectionObserver {
  observer ??= new IntersectionObserver(
    (entries) => {
      for (const entry of entries) told.get(entry.target)?.(entry.isIntersecting);
    },
    // A window's height above and below: scrolled to, it is there already.
    { rootMargin: "100% 0px" },
  );
  return observer;
}

/** False until it is known; what is not shown at all is never near. */
export function useNear<E extends Element>(): [{ current: E | null }, boolean] {
  const element = useRef<E | null>(null);
  const [near, set] = useState(false);
  useEffect(() => {
    const { current } = element;
    if (!current) return;
    told.set(current, set);
    shared().observe(current);
    // On paper there is no window.
    const print = (): void => set(true);
    addEventListener("beforeprint", print);
    return () => {
      removeEventListener("beforeprint", print);
      told.delete(current);
      shared().unobserve(current);
    };
  }, []);
  return [element, near];
}
