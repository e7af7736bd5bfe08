// The answer: predicted label, bars, the net's input, and the maps of every layer.

import { find, make } from "/dom.js";

const HEIGHT = 168; // of a layer's picture, about
const MOST_BARS = 12;

const shapeText = (shape) => shape.join(" × ");
const sizeOf = (shape) => shape.reduce((product, length) => product * length, 1);
const percent = (share) => (share >= 0.9995 && share < 1 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`);

const MOST_NAMED = 130, MOST_ROWS = 13; // units of the last layer with names, and those above one another

// Colors of a value: of 128, zero, and on to 255, the peak, red; down to 1, its negative, blue. On light paper they are
// those of the pictures of a run, matplotlib's RdBu_r; on dark paper zero is dark, and larger is lighter.
const LIGHT = {
  zero: [247, 247, 247],
  above: [[253, 219, 199], [244, 165, 130], [214, 96, 77], [178, 24, 43], [103, 0, 31]],
  below: [[209, 229, 240], [146, 197, 222], [67, 147, 195], [33, 102, 172], [5, 48, 97]],
};
const DARK = {
  zero: [13, 16, 21],
  above: [[84, 16, 30], [152, 30, 43], [214, 75, 62], [246, 146, 112], [255, 219, 199]],
  below: [[13, 42, 82], [25, 80, 142], [52, 131, 194], [122, 188, 226], [209, 229, 240]],
};

function mixColors({ zero, above, below }) {
  return new Uint32Array(256).map((_, value) => {
    const stops = [zero, ...(value >= 128 ? above : below)], last = stops.length - 1;
    const at = Math.min(Math.abs(value - 128) / 127, 1) * last, from = Math.min(Math.floor(at), last - 1);
    const mixed = stops[from].map((low, i) => low + (at - from) * (stops[from + 1][i] - low));
    return new Uint32Array(new Uint8ClampedArray([...mixed, 255]).buffer)[0];
  });
}

const PALETTES = { light: mixColors(LIGHT), dark: mixColors(DARK) };

function chooseColors() {
  const { theme } = document.documentElement.dataset;
  const dark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  return PALETTES[dark ? "dark" : "light"];
}

// Fills an image with pixels of one (gray) or three channels.
function fillImage(image, bytes, channels) {
  const plane = image.width * image.height;
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = bytes[(channels === 3 ? c * plane : 0) + i];
    image.data[4 * i + 3] = 255;
  }
}

// Some maps, or units, on one canvas.
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
        for (let x = 0; x < width; x++, i++) {
          pixels.fill(colors[values[i]], line + x * scale, line + (x + 1) * scale);
        }
        for (let copy = 1; copy < scale; copy++) {
          pixels.copyWithin(line + copy * across, line, line + width * scale);
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}

// One layer: all its maps, or its units; those of the last layer have the names of the classes beside them.
class Maps {
  constructor(stage, classes) {
    const [count, height, width] = stage.shown, units = height === 1 && width === 1;
    const named = units && classes && count <= MOST_NAMED, gap = units ? 1 : 2;
    const shape = shapeText(stage.shape), label = `${stage.name}, ${stage.kind}, ${shape}`;
    const picture = make("div", { className: "picture" });
    this.size = sizeOf(stage.shown);
    this.sheets = [];
    const add = (number, rows, ariaLabel, names) => {
      const scale = Math.max(1, Math.round(HEIGHT / rows / height - (units ? gap : 0)));
      const sheet = new Sheet(number, height, width, named ? number : rows, gap, scale, ariaLabel);
      this.sheets.push(sheet);
      const list = names.map((name) => make("li", { title: name }, name));
      picture.append(make("div", { className: "sheet" }, sheet.canvas, ...(list.length ? [make("ol", {}, ...list)] : [])));
    };
    if (named) {
      const rows = Math.ceil(count / Math.ceil(count / MOST_ROWS));
      for (let from = 0; from < count; from += rows) {
        const names = classes.slice(from, from + rows);
        add(names.length, rows, from ? `${label}, from ${names[0]} on` : label, names);
      }
    } else {
      add(count, countRows(count, height, units), label, []);
    }
    this.figure = make("figure", {}, picture,
      make("figcaption", { title: stage.kind }, make("strong", {}, stage.name), " ", shape));
    this.clear();
  }

  clear() {
    this.paint(new Uint8Array(this.size).fill(128));
  }

  paint(values, colors = chooseColors()) {
    this.values = values;
    let at = 0;
    for (const sheet of this.sheets) sheet.paint(values.subarray(at, (at += sheet.size)), colors);
  }

  repaint() {
    this.paint(this.values);
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
    this.scale = find("#scale").getContext("2d");
    this.bars = model.classes.slice(0, MOST_BARS).map(() => {
      const [name, bar, number] = ["name", "bar", "number"].map((className) => make("span", { className }));
      const item = make("li", {}, name, make("span", { className: "track" }, bar), number);
      return { item, name, bar, number };
    });
    find("#bars").append(...this.bars.map(({ item }) => item));
    this.blank();
    this.repaint();
  }

  blank() {
    Object.assign(find("#best"), { textContent: "?", className: "none" });
    find("#sure").textContent = "draw a digit";
    this.#setBars(new Float32Array(this.model.classes.length), -1);
    this.#showSeen(new Uint8Array(sizeOf(this.model.input)));
    for (const maps of this.maps) maps.clear();
    this.#say("No answer: draw a digit");
  }

  // Paints all layers in the colors of the page, which may have changed, and their legend.
  repaint() {
    const colors = chooseColors(), legend = new ImageData(255, 1);
    new Uint32Array(legend.data.buffer).set(colors.subarray(1));
    this.scale.putImageData(legend, 0, 0);
    for (const maps of this.maps) maps.repaint();
  }

  // Shows an answer; `label` is the true label of a test digit. Returns its picture, as the data has it.
  paint({ facts, buffer, start }, label) {
    const { model } = this, { best, rejected } = facts, [channels, height, width] = model.image;
    const probabilities = new Float32Array(buffer, start, model.classes.length);
    let at = start + probabilities.byteLength;
    const take = (size) => new Uint8Array(buffer, (at += size) - size, size);
    this.#showSeen(take(sizeOf(model.input)));
    const picture = { bytes: take(sizeOf(model.image)), channels, height, width };
    const colors = chooseColors();
    for (const maps of this.maps) maps.paint(take(maps.size), colors);
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
