// Normalization of ink to the format of the training images, as in lenet5c.recognition: cropped, with strokes of normal
// width, scaled to the box of the framing, and centered. Constants and steps are those of recognition/digit.py.

import { clamp, fitSize, Plane, reduce, resize, roundEven } from "./resampling.js";

const EDGE = 0.3; // share of the strongest ink that a stroke's pixels reach at least
export const FINE = 200, COARSE = 60; // pixels of the longer side at which strokes are measured, at most and at least

export const MNIST = {
  paper: [0], ink: [255], box: [20 / 28, 20 / 28], stretched: false, center: "mass",
  place: [14.5 / 28, 14.5 / 28], stroke: [5, 11], binary: false,
};

// Returns [top, left, bottom, right] of the ink, null if there is none.
export function findBox({ height, width, values }) {
  let most = 0;
  for (let i = 0; i < values.length; i++) if (values[i] > most) most = values[i];
  const least = Math.max(1, EDGE * most);
  let [top, left, bottom, right] = [height, width, 0, 0];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (values[i] < least) continue;
      [top, left] = [Math.min(top, y), Math.min(left, x)];
      [bottom, right] = [y + 1, Math.max(right, x + 1)];
    }
  }
  return bottom ? [top, left, bottom, right] : null;
}

// Height and width of the framing's box in an image of this size.
function boxSize(form, size) {
  return size.map((length, axis) => Math.max(1, roundEven(form.box[axis] * length)));
}

// Returns the mean width of strokes in pixels: twice the area over the length of the outline.
export function measureStroke({ height, width, values }) {
  let area = 0, edges = 0;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (values[i] < 128) continue;
      area++;
      // Its sides towards paper.
      edges += (x === 0 || values[i - 1] < 128) + (x === width - 1 || values[i + 1] < 128);
      edges += (y === 0 || values[i - width] < 128) + (y === height - 1 || values[i + width] < 128);
    }
  }
  return (2 * area) / Math.max((edges * Math.PI) / 4, 1);
}

// Returns the maximum over an octagon of this radius about each pixel.
export function dilate(plane, radius) {
  const { height, width } = plane;
  let values = plane.values;
  for (let step = 0; step < radius; step++) {
    const source = values, wider = source.slice();
    const spread = (to, from) => { if (from > wider[to]) wider[to] = from; };
    for (let i = width; i < source.length; i++) {
      spread(i, source[i - width]);
      spread(i - width, source[i]);
    }
    const sideways = step % 2 ? wider.slice() : source;
    for (let i = 1; i < source.length; i++) {
      if (i % width === 0) continue;
      spread(i, sideways[i - 1]);
      spread(i - 1, sideways[i]);
    }
    values = wider;
  }
  return new Plane(height, width, values);
}

// Returns a plane whose gaps and holes narrower than twice the radius are filled.
export function close(plane, radius) {
  const invert = (value) => 255 - value, { height, width } = plane;
  const closed = dilate(dilate(plane.pad(radius), radius).map(invert), radius).map(invert);
  return closed.crop([radius, radius, radius + height, radius + width]);
}

// Thickens hairlines and thins broad strokes to the framing's range; others are unchanged. Returns the plane, and how far it
// extends beyond the given one, in pixels of the latter.
export function normalizeStroke(crop, form, size) {
  if (crop.longer < Math.max(...boxSize(form, size))) return [crop, 0];
  const reduced = reduce(crop, Math.ceil(crop.longer / FINE)), enlarge = Math.ceil(COARSE / reduced.longer);
  const fine = enlarge > 1 ? resize(reduced, reduced.height * enlarge, reduced.width * enlarge) : reduced;
  const stroke = measureStroke(fine), [thickest, thinnest] = form.stroke;
  const usual = clamp(stroke, fine.longer / thinnest, fine.longer / thickest);
  const radius = roundEven(Math.abs(usual - stroke) / 2), unit = crop.longer / fine.longer;
  if (radius === 0) return [reduced, 0];
  if (usual > stroke) return [dilate(fine.pad(radius), radius), radius * unit];
  const thinner = dilate(fine.pad(1).map((value) => 255 - value), radius).map((value) => 255 - value);
  return thinner.values.some((value) => value > 0) ? [thinner, unit] : [reduced, 0];
}

// Returns ink cropped, scaled to the box of a framing, with its center of mass in position, and its location: pixels of the
// ink per pixel of the image, and before the image's corner. Null if the ink is too faint.
function center(strength, form, size) {
  const found = findBox(strength);
  if (!found) return null;
  const crop = strength.crop(found), box = boxSize(form, size);
  const [height, width] = form.stretched ? box : fitSize([crop.height, crop.width], box);
  const small = resize(crop, height, width);
  if (!small.values.some((value) => value > 0)) return null;
  let total = 0;
  const moment = [0, 0];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      total += small.values[i];
      moment[0] += small.values[i] * (2 * y + 1);
      moment[1] += small.values[i] * (2 * x + 1);
    }
  }
  const [top, left] = [height, width].map((length, axis) => {
    const middle = form.center === "mass" ? moment[axis] / (2 * total) : length / 2;
    return clamp(Math.floor(size[axis] * form.place[axis] - middle + 0.5), 0, size[axis] - length);
  });
  const image = new Plane(...size), scale = [crop.height / height, crop.width / width];
  image.paste(small, top, left);
  return { image, scale, corner: [found[0] - top * scale[0], found[1] - left * scale[1]] };
}

// Returns ink, a plane, as an image with a framing: {image, scale, corner}, or null if there is no ink or only a dot. If `normal`,
// strokes are adjusted to the normal width. `least` is the minimum length that is not a dot.
export function frame(ink, form, size, { normal = true, least = 0 } = {}) {
  const found = findBox(ink);
  if (!found) return null;
  const crop = ink.crop(found);
  if (crop.longer < least) return null;
  const [stroke, border] = normal ? normalizeStroke(crop, form, size) : [crop, 0];
  const placed = center(stroke, form, size);
  if (!placed) return null;
  // From pixels of the stroke to those of the ink.
  const units = [(crop.height + 2 * border) / stroke.height, (crop.width + 2 * border) / stroke.width];
  const corner = placed.corner.map((first, axis) => found[axis] - border + first * units[axis]);
  return { image: placed.image, scale: placed.scale.map((each, axis) => each * units[axis]), corner };
}

// Returns ink, from 0 for none to 255, as the consecutive channels of an image.
export function color({ values }, form, channels) {
  const plane = values.length, made = new Uint8Array(channels * plane);
  for (let c = 0; c < channels; c++) {
    const [paper, ink] = [form.paper, form.ink].map((levels) => levels[levels.length === channels ? c : 0]);
    for (let i = 0; i < plane; i++) {
      const share = form.binary ? 255 * (values[i] >= 128) : values[i];
      made[c * plane + i] = Math.floor((510 * paper + 2 * (ink - paper) * share + 255) / 510);
    }
  }
  return made;
}
