// The answer: predicted label, bars, the net's input, and the maps of every layer.

import { find, make } from "/dom.js";

const HEIGHT = 168; // of a layer's picture, about
const MOST_BARS = 12;

const shapeText = (shape) => shape.join(" × ");
const sizeOf = (shape) => shape.reduce((product, length) => product * length, 1);
const percent = (share) => (share >= 0.9995 && share < 1 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`);

// Colors of a value from 1 (lowest) over 128 (zero) to 255 (peak): blue, black, amber, cream.
const ABOVE = [[13, 16, 21], [120, 60, 14], [255, 160, 30], [255, 236, 179]];
const BELOW = [[13, 16, 21], [16, 56, 104], [30, 110, 190], [96, 184, 255]];
const COLORS = new Uint32Array(256).map((_, value) => {
  const stops = value >= 128 ? ABOVE : BELOW;
  const at = Math.min(Math.abs(value - 128) / 127, 1) * 3, from = Math.min(Math.floor(at), 2);
  const mixed = stops[from].map((low, i) => low + (at - from) * (stops[from + 1][i] - low));
  return new Uint32Array(new Uint8ClampedArray([...mixed, 255]).buffer)[0];
});

// Fills an image with pixels of one (gray) or three channels.
function fillImage(image, bytes, channels) {
  const plane = image.width * image.height;
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = bytes[(channels === 3 ? c * plane : 0) + i];
    image.data[4 * i + 3] = 255;
  }
}

// One layer: all its maps, or its units, on one canvas.
class Maps {
  constructor(stage, classes) {
    const [count, height, width] = stage.shown, units = height === 1 && width === 1;
    const named = units && classes && count <= 16, gap = units ? 1 : 2;
    const rows = named ? count : countRows(count, height, units);
    this.columns = Math.ceil(count / rows);
    this.scale = Math.max(1, Math.round(HEIGHT / rows / height - (units ? gap : 0)));
    Object.assign(this, { count, height, width, size: sizeOf(stage.shown) });
    Object.assign(this, { stepX: width * this.scale + gap, stepY: height * this.scale + gap });
    this.image = new ImageData(this.columns * this.stepX - gap, rows * this.stepY - gap);
    this.pixels = new Uint32Array(this.image.data.buffer);
    const shape = shapeText(stage.shape), label = `${stage.name}, ${stage.kind}, ${shape}`;
    const canvas = make("canvas", { width: this.image.width, height: this.image.height, role: "img", ariaLabel: label });
    this.context = canvas.getContext("2d");
    const names = named ? [make("ol", {}, ...classes.map((name) => make("li", {}, name)))] : [];
    this.figure = make("figure", {}, make("div", { className: "picture" }, canvas, ...names),
      make("figcaption", { title: stage.kind }, make("strong", {}, stage.name), " ", shape));
    this.clear();
  }

  clear() {
    this.paint(new Uint8Array(this.size).fill(128));
  }

  paint(values) {
    const { pixels, scale, width, height, columns, stepX, stepY } = this, across = this.image.width;
    for (let map = 0, i = 0; map < this.count; map++) {
      const left = (map % columns) * stepX, top = Math.floor(map / columns) * stepY;
      for (let y = 0; y < height; y++) {
        const line = (top + y * scale) * across + left;
        for (let x = 0; x < width; x++, i++) {
          pixels.fill(COLORS[values[i]], line + x * scale, line + (x + 1) * scale);
        }
        for (let copy = 1; copy < scale; copy++) {
          pixels.copyWithin(line + copy * across, line, line + width * scale);
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}

function countRows(count, height, units) {
  if (units) return count === 84 ? 12 : Math.ceil(Math.sqrt(count * 1.8)); // 84 units are a bitmap of 7 by 12
  return height > 20 ? Math.max(1, Math.floor(Math.sqrt((count * 2) / 3))) : Math.ceil(Math.sqrt(count));
}

export class View {
  constructor(model) {
    this.model = model;
    const [, height, width] = model.input;
    Object.assign(find("#seen"), { width, height });
    find("#seen-shape").textContent = `${shapeText(model.input)} pixels`;
    this.seen = new ImageData(width, height);
    const last = model.stages.at(-1);
    this.maps = model.stages.map((stage) => new Maps(stage, stage === last ? model.classes : null));
    find("#maps").replaceChildren(...this.maps.map((maps) => maps.figure));
    this.bars = model.classes.slice(0, MOST_BARS).map(() => {
      const [name, bar, number] = ["name", "bar", "number"].map((className) => make("span", { className }));
      const item = make("li", {}, name, make("span", { className: "track" }, bar), number);
      return { item, name, bar, number };
    });
    find("#bars").append(...this.bars.map(({ item }) => item));
    this.blank();
  }

  blank() {
    Object.assign(find("#best"), { textContent: "?", className: "none" });
    find("#sure").textContent = "draw a digit";
    this.#setBars(new Float32Array(this.model.classes.length), -1);
    this.#showSeen(new Uint8Array(sizeOf(this.model.input)));
    for (const maps of this.maps) maps.clear();
    this.#say("No answer: draw a digit");
  }

  // Shows an answer; `label` is the true label of a test digit. Returns its picture, as the data has it.
  paint({ facts, buffer, start }, label) {
    const { model } = this, { best, rejected } = facts, [channels, height, width] = model.image;
    const probabilities = new Float32Array(buffer, start, model.classes.length);
    let at = start + probabilities.byteLength;
    const take = (size) => new Uint8Array(buffer, (at += size) - size, size);
    this.#showSeen(take(sizeOf(model.input)));
    const picture = { bytes: take(sizeOf(model.image)), channels, height, width };
    for (const maps of this.maps) maps.paint(take(maps.size));
    this.#setBars(probabilities, best);
    const name = model.classes[best], sure = percent(probabilities[best]);
    let kind = "", verdict = "";
    if (label === best) [kind, verdict] = ["correct", ", correct"];
    else if (label !== undefined) [kind, verdict] = ["wrong", `, wrong: the true label is ${model.classes[label]}`];
    else if (rejected !== null) [kind, verdict] = ["rejected", `, rejected: ${rejected}`];
    Object.assign(find("#best"), { textContent: name, className: kind });
    find("#best").classList.toggle("long", name.length > 2);
    find("#sure").textContent = sure + verdict;
    this.#say(`${name}, ${sure}${verdict}`, name + verdict);
    return picture;
  }

  #showSeen(bytes) {
    fillImage(this.seen, bytes, this.model.input[0]);
    find("#seen").getContext("2d").putImageData(this.seen, 0, 0);
  }

  // Of many classes, those of the largest probabilities.
  #setBars(probabilities, best) {
    const order = [...probabilities.keys()];
    if (order.length > MOST_BARS) order.sort((a, b) => probabilities[b] - probabilities[a] || a - b);
    this.bars.forEach(({ item, name, bar, number }, i) => {
      const share = probabilities[order[i]];
      name.textContent = this.model.classes[order[i]];
      bar.style.transform = `scaleX(${share})`;
      number.textContent = best < 0 ? "" : percent(share);
      item.classList.toggle("best", order[i] === best);
    });
  }

  // Says an answer once it has stayed for a moment: a screen reader cannot keep up with each.
  #say(text, essence = text) {
    this.text = text;
    if (essence === this.essence) return;
    this.essence = essence;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { find("#said").textContent = this.text; }, 700);
  }
}
