// Resizing of planes of gray levels, bit-identical to lenet5c's functions.

// Rounds halves to the even neighbor, as NumPy and Python do.
export function roundEven(value) {
  const below = Math.floor(value), rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// A plane: height, width, and a value for each pixel, row by row.
export class Plane {
  constructor(height, width, values = new Uint8Array(height * width)) {
    Object.assign(this, { height, width, values });
  }

  get longer() {
    return Math.max(this.height, this.width);
  }

  map(change) {
    return new Plane(this.height, this.width, this.values.map(change));
  }

  crop([top, left, bottom, right]) {
    const cut = new Plane(bottom - top, right - left);
    for (let y = top; y < bottom; y++) {
      cut.values.set(this.values.subarray(y * this.width + left, y * this.width + right), (y - top) * cut.width);
    }
    return cut;
  }

  // Returns the plane with a border of one level.
  pad(border, level = 0) {
    const padded = new Plane(this.height + 2 * border, this.width + 2 * border);
    padded.values.fill(level);
    padded.paste(this, border, border);
    return padded;
  }

  paste(plane, top, left) {
    for (let y = 0; y < plane.height; y++) {
      this.values.set(plane.values.subarray(y * plane.width, (y + 1) * plane.width), (top + y) * this.width + left);
    }
  }
}

// Returns, for each of `length` pixels, the first of the `source` pixels that count and their weights: a triangle filter
// whose weights are multiples of 2 ** -20, so that sums are exact.
function triangleFilter(length, source) {
  const ratio = source / length, reach = Math.max(ratio, 1), unit = 2 ** 20;
  return Array.from({ length }, (_, i) => {
    const center = (i + 0.5) * ratio, weights = [];
    let first = -1, sum = 0;
    for (let k = 0; k < source; k++) {
      const weight = Math.max(1 - Math.abs(k + 0.5 - center) / reach, 0);
      sum += weight;
      if (weight > 0 && first < 0) first = k;
      if (first >= 0) weights.push(weight);
    }
    const units = weights.map((weight) => roundEven((weight / sum) * unit));
    const largest = units.indexOf(Math.max(...units));
    units[largest] += unit - units.reduce((total, value) => total + value, 0);
    while (units.at(-1) === 0) units.pop();
    return { first, weights: units.map((value) => value / unit) };
  });
}

const filters = new Map();

function filterOf(length, source) {
  const key = `${length} ${source}`;
  if (!filters.has(key)) {
    if (filters.size > 500) filters.clear();
    filters.set(key, triangleFilter(length, source));
  }
  return filters.get(key);
}

export function resize(plane, height, width) {
  const { height: h, width: w, values } = plane;
  if (h === height && w === width) return plane;
  const columns = filterOf(width, w), rows = filterOf(height, h), wide = new Float64Array(h * width);
  for (let x = 0; x < width; x++) {
    const { first, weights } = columns[x];
    for (let y = 0; y < h; y++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * values[y * w + first + k];
      wide[y * width + x] = sum;
    }
  }
  const resized = new Plane(height, width);
  for (let y = 0; y < height; y++) {
    const { first, weights } = rows[y];
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * wide[(first + k) * width + x];
      resized.values[y * width + x] = Math.floor(sum + 0.5);
    }
  }
  return resized;
}

// Converts gradients (H, W) with respect to a resized plane to those with respect to its source (h, w).
export function resizeBack(values, [height, width], [h, w]) {
  const columns = filterOf(width, w), rows = filterOf(height, h), narrow = new Float64Array(height * w), back = new Float64Array(h * w);
  for (let y = 0; y < height; y++) {
    columns.forEach(({ first, weights }, x) => {
      for (let k = 0; k < weights.length; k++) narrow[y * w + first + k] += weights[k] * values[y * width + x];
    });
  }
  rows.forEach(({ first, weights }, y) => {
    for (let k = 0; k < weights.length; k++) {
      for (let x = 0; x < w; x++) back[(first + k) * w + x] += weights[k] * narrow[y * w + x];
    }
  });
  return back;
}

// Returns the largest [height, width] of the source's proportions within a height and width.
export function fitSize([h, w], [height, width]) {
  if (height * w <= width * h) return [height, Math.max(1, Math.floor((2 * w * height + h) / (2 * h)))];
  return [Math.max(1, Math.floor((2 * h * width + w) / (2 * w))), width];
}

// Returns rounded means over squares of `factor` pixels a side, without an incomplete rest.
export function reduce(plane, factor) {
  if (factor === 1) return plane;
  const down = Math.min(factor, plane.height), across = Math.min(factor, plane.width), count = down * across;
  const reduced = new Plane(Math.floor(plane.height / down), Math.floor(plane.width / across));
  for (let y = 0; y < reduced.height; y++) {
    for (let x = 0; x < reduced.width; x++) {
      let total = 0;
      for (let i = 0; i < down; i++) {
        for (let j = 0; j < across; j++) total += plane.values[(y * down + i) * plane.width + x * across + j];
      }
      reduced.values[y * reduced.width + x] = Math.floor((2 * total + count) / (2 * count));
    }
  }
  return reduced;
}
