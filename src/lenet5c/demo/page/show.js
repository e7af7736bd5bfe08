// The answer: verdict, bars, the net's input, and the maps of every layer.

const HEIGHT = 168; // of a layer's picture, about
const MOST_BARS = 12;

export function shapeText(shape) {
  return shape.join(" × ");
}

export function percent(share) {
  return share >= 0.9995 && share < 1 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`;
}

// Colours of a value from 1 (the lowest) to 255 (the peak), 128 is zero: black, to amber and cream above, to blue below.
const COLOURS = (() => {
  const above = [[13, 16, 21], [120, 60, 14], [255, 160, 30], [255, 236, 179]];
  const below = [[13, 16, 21], [16, 56, 104], [30, 110, 190], [96, 184, 255]];
  const table = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const stops = i >= 128 ? above : below;
    const at = Math.min(Math.abs(i - 128) / 127, 1) * 3, from = Math.min(Math.floor(at), 2);
    for (let c = 0; c < 3; c++) {
      table[4 * i + c] = stops[from][c] + (at - from) * (stops[from + 1][c] - stops[from][c]);
    }
    table[4 * i + 3] = 255;
  }
  return new Uint32Array(table.buffer);
})();

// One layer: all its maps, or its units, on one canvas.
class Maps {
  constructor(stage, classes) {
    const [count, height, width] = stage.shown;
    Object.assign(this, { count, height, width, size: count * height * width });
    const units = height === 1 && width === 1;
    const named = units && classes && count <= 16;
    this.rows = named ? count : rowsOf(count, height, units);
    this.columns = Math.ceil(count / this.rows);
    this.gap = units ? 1 : 2;
    this.scale = Math.max(1, Math.round(HEIGHT / this.rows / height - (units ? this.gap : 0)));
    this.figure = document.createElement("figure");
    this.canvas = document.createElement("canvas");
    this.stepX = width * this.scale + this.gap;
    this.stepY = height * this.scale + this.gap;
    this.canvas.width = this.columns * this.stepX - this.gap;
    this.canvas.height = this.rows * this.stepY - this.gap;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${stage.name}, ${stage.kind}, ${shapeText(stage.shape)}`);
    this.context = this.canvas.getContext("2d");
    this.image = new ImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    const picture = document.createElement("div");
    picture.className = "picture";
    picture.append(this.canvas);
    if (named) picture.append(names(classes));
    const caption = document.createElement("figcaption");
    const name = document.createElement("strong"), kind = document.createElement("span");
    name.textContent = stage.name;
    kind.textContent = `${shapeText(stage.shape)}`;
    kind.title = caption.title = stage.kind;
    caption.append(name, " ", kind);
    this.figure.append(picture, caption);
    this.paint(new Uint8Array(this.size).fill(128));
  }

  paint(values) {
    const { pixels, scale, width, height, columns, stepX, stepY } = this;
    const across = this.canvas.width;
    for (let map = 0, i = 0; map < this.count; map++) {
      const left = (map % columns) * stepX, top = Math.floor(map / columns) * stepY;
      for (let y = 0; y < height; y++) {
        const line = (top + y * scale) * across + left;
        for (let x = 0; x < width; x++, i++) {
          pixels.fill(COLOURS[values[i]], line + x * scale, line + (x + 1) * scale);
        }
        for (let copy = 1; copy < scale; copy++) {
          pixels.copyWithin(line + copy * across, line, line + width * scale);
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}

function rowsOf(count, height, units) {
  if (units) return count === 84 ? 12 : Math.ceil(Math.sqrt(count * 1.8)); // 84 units are a bitmap of 7 by 12
  return height > 20 ? Math.max(1, Math.floor(Math.sqrt((count * 2) / 3))) : Math.ceil(Math.sqrt(count));
}

function names(classes) {
  const list = document.createElement("ol");
  for (const name of classes) {
    const item = document.createElement("li");
    item.textContent = name;
    list.append(item);
  }
  return list;
}

export class View {
  constructor(model) {
    this.model = model;
    this.best = document.querySelector("#best");
    this.sure = document.querySelector("#sure");
    this.seen = document.querySelector("#seen");
    this.said = document.querySelector("#said");
    const [, height, width] = model.input;
    Object.assign(this.seen, { width, height });
    this.seenImage = new ImageData(width, height);
    document.querySelector("#seen-shape").textContent = `${shapeText(model.input)} pixels`;
    const last = model.stages.at(-1);
    this.maps = model.stages.map((stage) => new Maps(stage, stage === last ? model.classes : null));
    document.querySelector("#maps").replaceChildren(...this.maps.map((maps) => maps.figure));
    this.#makeBars();
    this.blank();
  }

  #makeBars() {
    const list = document.querySelector("#bars");
    this.bars = [];
    for (let i = 0; i < Math.min(this.model.classes.length, MOST_BARS); i++) {
      const item = document.createElement("li");
      const [name, track, bar, number] = ["span", "span", "span", "span"].map((tag) => document.createElement(tag));
      [name.className, track.className, bar.className, number.className] = ["name", "track", "bar", "number"];
      track.append(bar);
      item.append(name, track, number);
      list.append(item);
      this.bars.push({ item, name, bar, number });
    }
  }

  blank() {
    this.best.textContent = "?";
    this.best.className = "none";
    this.sure.textContent = "draw a digit";
    this.#setBars(new Float32Array(this.model.classes.length), -1);
    this.seenImage.data.fill(0).forEach((_, i, data) => { if (i % 4 === 3) data[i] = 255; });
    this.seen.getContext("2d").putImageData(this.seenImage, 0, 0);
    for (const maps of this.maps) maps.paint(new Uint8Array(maps.size).fill(128));
    this.#say("No answer: draw a digit");
  }

  // `label` is the true class of a test digit, if it is one. Returns its picture, as the data has it.
  paint({ facts, buffer, start }, label) {
    const { model } = this;
    const probabilities = new Float32Array(buffer, start, model.classes.length);
    let at = start + 4 * probabilities.length;
    const take = (size) => new Uint8Array(buffer, (at += size) - size, size);
    const size = ([a, b, c]) => a * b * c;
    this.#paintSeen(take(size(model.input)));
    const [channels, height, width] = model.image;
    const picture = { bytes: take(size(model.image)), channels, height, width };
    for (const maps of this.maps) maps.paint(take(maps.size));
    this.#setBars(probabilities, facts.best);
    const name = model.classes[facts.best], sure = percent(probabilities[facts.best]);
    this.best.textContent = name;
    this.best.className = label === undefined ? "" : label === facts.best ? "right" : "wrong";
    this.best.classList.toggle("long", name.length > 2);
    this.best.classList.toggle("doubt", label === undefined && facts.doubt !== null);
    const doubt = facts.doubt === null ? "" : `in doubt: ${facts.doubt}`;
    const verdict = label === undefined ? doubt : label === facts.best ? "right" : `wrong, it is ${model.classes[label]}`;
    this.sure.textContent = verdict ? `${sure}, ${verdict}` : sure;
    this.#say(`${name}, ${sure}${verdict ? `, ${verdict}` : ""}`, `${name} ${verdict}`);
    return picture;
  }

  #paintSeen(bytes) {
    const [channels, height, width] = this.model.input, plane = height * width, { data } = this.seenImage;
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < 3; c++) data[4 * i + c] = bytes[(channels === 3 ? c * plane : 0) + i];
      data[4 * i + 3] = 255;
    }
    this.seen.getContext("2d").putImageData(this.seenImage, 0, 0);
  }

  #setBars(probabilities, best) {
    let order = [...probabilities.keys()];
    if (order.length > MOST_BARS) order.sort((a, b) => probabilities[b] - probabilities[a] || a - b);
    order = order.slice(0, MOST_BARS);
    this.bars.forEach(({ item, name, bar, number }, i) => {
      const share = probabilities[order[i]];
      name.textContent = this.model.classes[order[i]];
      bar.style.transform = `scaleX(${share})`;
      number.textContent = best < 0 ? "" : percent(share);
      item.classList.toggle("best", order[i] === best);
    });
  }

  // Say an answer once it has stayed for a moment: a screen reader cannot keep up with each.
  #say(text, essence = text) {
    if (essence !== this.essence) {
      this.essence = essence;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => { this.said.textContent = this.text; }, 700);
    }
    this.text = text;
  }
}
