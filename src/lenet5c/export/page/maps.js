// Maps of a layer, or its units, as pictures.

import { make } from "./dom.js";
import { sizeOf } from "./layers.js";

const HEIGHT = 168; // of a layer's picture, about
const LARGEST = 64; // pixels a side that are shown; larger maps are averaged down
const MAX_NAMED = 130, MAX_ROWS = 13; // units of the last layer with names, and those above one another

export const shapeText = (shape) => shape.join(" × ");

// Returns the displayed shape [C, h, w] of values: units have no height and width.
function shownShape(shape) {
  if (shape.length !== 3 || shape[1] * shape[2] === 1) return [sizeOf(shape), 1, 1];
  const block = Math.ceil(Math.max(shape[1], shape[2]) / LARGEST);
  return [shape[0], Math.ceil(shape[1] / block), Math.ceil(shape[2] / block)];
}

// Returns values with larger maps averaged down to the shape that is shown.
function shrink(values, shape, [channels, rows, columns]) {
  if (values.length === channels * rows * columns) return values;
  const [, height, width] = shape, block = Math.ceil(Math.max(height, width) / LARGEST);
  const sums = new Float32Array(channels * rows * columns), counts = new Float32Array(sums.length);
  values.forEach((value, i) => {
    const x = i % width, y = Math.floor(i / width) % height, c = Math.floor(i / (width * height));
    const at = (c * rows + Math.floor(y / block)) * columns + Math.floor(x / block);
    sums[at] += value;
    counts[at]++;
  });
  return sums.map((sum, i) => sum / counts[i]);
}

// Writes values as bytes: 128 is zero, 255 the largest value of the layer; in the last one, where only differences matter,
// 128 is the middle between lowest and highest.
function quantize(values, centered, bytes) {
  let low = values[0], high = values[0];
  for (let i = 1; i < values.length; i++) {
    if (values[i] < low) low = values[i];
    else if (values[i] > high) high = values[i];
  }
  const middle = centered ? (high + low) / 2 : 0, peak = Math.max(high - middle, middle - low) || 1;
  for (let i = 0; i < values.length; i++) bytes[i] = ((values[i] - middle) * 127) / peak + 128.5;
}

// Maps or units on one canvas.
class Sheet {
  constructor(count, height, width, rows, gap, scale, ariaLabel) {
    this.columns = Math.ceil(count / rows);
    Object.assign(this, { count, height, width, scale, size: count * height * width });
    Object.assign(this, { stepX: width * scale + gap, stepY: height * scale + gap });
    this.image = new ImageData(this.columns * this.stepX - gap, rows * this.stepY - gap);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.canvas = make("canvas", { width: this.image.width, height: this.image.height, role: "img", ariaLabel });
    this.context = this.canvas.getContext("2d");
  }

  paint(values, colors) {
    const { pixels, scale, width, height, columns, stepX, stepY } = this, across = this.image.width;
    for (let map = 0, i = 0; map < this.count; map++) {
      const left = (map % columns) * stepX, top = Math.floor(map / columns) * stepY;
      for (let y = 0; y < height; y++) {
        const line = (top + y * scale) * across + left;
        for (let x = 0, at = line; x < width; x++, i++) {
          const color = colors[values[i]];
          for (let copy = 0; copy < scale; copy++) pixels[at++] = color;
        }
        for (let copy = 1; copy < scale; copy++) {
          pixels.copyWithin(line + copy * across, line, line + width * scale);
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}

// One layer: all its maps, or its units; units of the last layer, with `classes`, have names.
export class Maps {
  constructor(stage, classes = null) {
    Object.assign(this, { shape: stage.shape, shown: shownShape(stage.shape), last: classes !== null });
    const [count, height, width] = this.shown, units = height === 1 && width === 1;
    const named = units && classes && count <= MAX_NAMED, gap = units ? 1 : 2;
    const shape = shapeText(stage.shape), label = `${stage.name}, ${stage.kind}, ${shape}`;
    const picture = make("div", { className: "picture" });
    this.sheets = [];
    const add = (number, rows, ariaLabel, names) => {
      const scale = Math.max(1, Math.round(HEIGHT / rows / height - (units ? gap : 0)));
      const sheet = new Sheet(number, height, width, named ? number : rows, gap, scale, ariaLabel);
      this.sheets.push(sheet);
      const list = names.map((name) => make("li", { title: name }, name));
      picture.append(make("div", { className: "sheet" }, sheet.canvas, ...(list.length ? [make("ol", {}, ...list)] : [])));
    };
    if (named) {
      const rows = Math.ceil(count / Math.ceil(count / MAX_ROWS));
      for (let from = 0; from < count; from += rows) {
        const names = classes.slice(from, from + rows);
        add(names.length, rows, from ? `${label}, from ${names[0]} on` : label, names);
      }
    } else {
      add(count, countRows(count, height, units), label, []);
    }
    this.figure = make("figure", {}, picture,
      make("figcaption", { title: stage.kind }, make("strong", {}, stage.name), " ", shape));
    this.bytes = new Uint8Array(sizeOf(this.shown));
  }

  clear(colors) {
    this.bytes.fill(128);
    this.repaint(colors);
  }

  paint(values, colors) {
    quantize(shrink(values, this.shape, this.shown), this.last, this.bytes);
    this.repaint(colors);
  }

  repaint(colors) {
    let at = 0;
    for (const sheet of this.sheets) sheet.paint(this.bytes.subarray(at, (at += sheet.size)), colors);
  }
}

function countRows(count, height, units) {
  if (units) return count === 84 ? 12 : Math.ceil(Math.sqrt(count * 1.8)); // 84 units are a bitmap of 7 by 12
  return height > 20 ? Math.max(1, Math.floor(Math.sqrt((count * 2) / 3))) : Math.ceil(Math.sqrt(count));
}
