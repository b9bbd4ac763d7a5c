// What part of the graph the window shows: a scale and the place of the graph's origin in the window.

export interface Camera {
  x: number;
  y: number;
  scale: number;
}

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export const [SMALLEST, LARGEST] = [0.06, 2.5];

/** All of the box in the middle of a window of this size, no larger than life. */
export function fitted(box: Box, width: number, height: number, margin = 28): Camera {
  const [w, h] = [Math.max(1, box.right - box.left), Math.max(1, box.bottom - box.top)];
  const room = Math.min((width - 2 * margin) / w, (height - 2 * margin) / h);
  const scale = Math.min(1.15, Math.max(SMALLEST, room));
  return {
    scale,
    x: width / 2 - ((box.left + box.right) / 2) * scale,
    y: height / 2 - ((box.top + box.bottom) / 2) * scale,
  };
}

/** So many times larger; what is under the point (in the window) stays there. */
export function zoomed(camera: Camera, factor: number, x: number, y: number): Camera {
  const scale = Math.min(LARGEST, Math.max(SMALLEST, camera.scale * factor));
  const real = scale / camera.scale;
  return { scale, x: x - (x - camera.x) * real, y: y - (y - camera.y) * real };
}
