// Conversion of pen strokes to ink.

import { Plane } from "./resampling.js";

export const SIDE = 112; // pixels of the square that is drawn on, four to each of MNIST's
export const GRID = 28; // units of the pen's width to a side
export const USUAL_WIDTH = 2.4;
const MAX_DISCS = 20_000; // about: where a drawing wants more, they lie further apart

// Returns the ink of strokes, lists of x, y and thickness, again and again: 0 is paper, 255 full ink, smooth at the edges.
// x and y are fractions of the side, thickness a factor of the pen's width, which is in 28ths of the side.
export function render(strokes, width = USUAL_WIDTH) {
  const radius = ((width / GRID) * SIDE) / 2, ink = new Float32Array(SIDE * SIDE);
  for (const stroke of strokes) {
    for (const disc of placeDiscs(stroke, radius, MAX_DISCS / strokes.length)) addDisc(ink, ...disc);
  }
  const plane = new Plane(SIDE, SIDE);
  for (let i = 0; i < ink.length; i++) plane.values[i] = Math.min(ink[i], 1) * 255 + 0.5;
  return plane;
}

function addDisc(ink, x, y, r) {
  const reach = r + 0.5;
  const left = Math.max(0, Math.floor(x - reach)), right = Math.min(SIDE, Math.ceil(x + reach));
  const top = Math.max(0, Math.floor(y - reach)), bottom = Math.min(SIDE, Math.ceil(y + reach));
  for (let i = top; i < bottom; i++) {
    for (let j = left; j < right; j++) {
      const dy = i + 0.5 - y, dx = j + 0.5 - x, inside = reach - Math.sqrt(dy * dy + dx * dx), at = i * SIDE + j;
      if (inside > ink[at]) ink[at] = inside;
    }
  }
}

// Returns [x, y, radius] in pixels along a stroke, close enough for a smooth outline; corners are kept.
function placeDiscs(stroke, radius, most) {
  const points = [];
  for (let i = 0; i < stroke.length; i += 3) points.push([stroke[i] * SIDE, stroke[i + 1] * SIDE, stroke[i + 2] * radius]);
  const length = points.reduce((sum, [x, y], i) => sum + (i ? Math.hypot(x - points[i - 1][0], y - points[i - 1][1]) : 0), 0);
  const step = Math.max(Math.min(2, 0.7 * Math.min(...points.map(([, , r]) => r))), length / most);
  const discs = [points[0]];
  for (let i = 1; i < points.length; i++) {
    const [a, b] = [points[i - 1], points[i]], count = Math.ceil(Math.hypot(b[0] - a[0], b[1] - a[1]) / step);
    for (let k = 1; k <= count; k++) discs.push(a.map((value, axis) => value + ((b[axis] - value) * k) / count));
  }
  return discs;
}
