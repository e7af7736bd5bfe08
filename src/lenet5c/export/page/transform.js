// Transformation of an image by the sliders.

import { USUAL_WIDTH } from "./drawing.js";
import { dilate } from "./ink.js";
import { clamp, Plane, resize } from "./resampling.js";

// Lowest, highest and default value of each slider: the pen's width in 28ths of the drawing area; shifts in pixels of the
// image, to the right and down; degrees, clockwise; a factor of the size; the noise's standard deviation, 1 for 255 levels.
export const RANGES = {
  width: [0.6, 6, USUAL_WIDTH],
  shift_x: [-10, 10, 0],
  shift_y: [-10, 10, 0],
  rotation: [-180, 180, 0],
  scale: [0.4, 1.8, 1],
  noise: [0, 1, 0],
};
const FINER = 4;

// Returns the image (C, H, W) warped and with noise; with all defaults, the image itself. Pixels from outside
// have the levels of the paper, one for each channel.
export function applyTransform(image, [channels, height, width], transform, paper) {
  const { shift_x, shift_y, rotation, scale, noise } = transform;
  const still = shift_x === 0 && shift_y === 0 && rotation === 0 && scale === 1;
  if (still && !noise) return image;
  const warped = still ? Float32Array.from(image) : warp(image, [channels, height, width], transform, paper);
  if (noise) {
    const draw = normalGenerator(1998); // always the same, so that it does not flicker
    for (let i = 0; i < warped.length; i++) warped[i] += 255 * noise * draw();
  }
  return Uint8Array.from(warped, (value) => clamp(value + 0.5, 0, 255));
}

// The map of points of the image, [a, b, c, d, e, f] as in CanvasRenderingContext2D.transform.
export function matrixOf({ shift_x, shift_y, rotation, scale }, [, height, width]) {
  const angle = (rotation * Math.PI) / 180, c = scale * Math.cos(angle), s = scale * Math.sin(angle);
  const x = width / 2, y = height / 2;
  return [c, s, -s, c, x + shift_x - c * x + s * y, y + shift_y - s * x - c * y];
}

function warp(image, [channels, height, width], { shift_x, shift_y, rotation, scale }, paper) {
  const warped = new Float32Array(image.length), plane = height * width;
  const angle = (rotation * Math.PI) / 180, c = Math.cos(angle) / scale, s = Math.sin(angle) / scale;
  const middleY = (height - 1) / 2, middleX = (width - 1) / 2;
  // A quarter turn should not land between pixels.
  const rounded = (value) => Math.round(value * 1e9) / 1e9;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const dx = x - middleX - shift_x, dy = y - middleY - shift_y;
      const fromX = rounded(c * dx + s * dy + middleX), fromY = rounded(c * dy - s * dx + middleY);
      const left = Math.floor(fromX), top = Math.floor(fromY), right = fromX - left, below = fromY - top;
      for (let channel = 0; channel < channels; channel++) {
        const at = (row, column) => (row >= 0 && column >= 0 && row < height && column < width
          ? image[channel * plane + row * width + column] : paper[channel]);
        const upper = at(top, left) * (1 - right) + at(top, left + 1) * right;
        const lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right;
        warped[channel * plane + i] = upper * (1 - below) + lower * below;
      }
    }
  }
  return warped;
}

// Returns a function that draws normal numbers, the same for the same seed.
function normalGenerator(seed) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

// Returns ink (C, H, W) as if it had been written with a pen of this width: it grows or shrinks by half the difference on each
// side, on a grid that is finer.
export function thicken(image, [channels, height, width], penWidth) {
  const more = ((penWidth - USUAL_WIDTH) / 2) * FINER, radius = Math.floor(Math.abs(more) + 0.5);
  if (radius === 0) return image;
  const border = Math.ceil((radius + FINER) / FINER), plane = height * width, made = new Uint8Array(image.length);
  for (let channel = 0; channel < channels; channel++) {
    const part = new Plane(height, width, image.subarray(channel * plane, (channel + 1) * plane)).pad(border);
    const fine = resize(part, part.height * FINER, part.width * FINER), invert = (value) => 255 - value;
    const grown = more > 0 ? dilate(fine, radius) : dilate(fine.map(invert), radius).map(invert);
    const coarse = resize(grown, part.height, part.width).crop([border, border, border + height, border + width]);
    made.set(coarse.values, channel * plane);
  }
  return made;
}
