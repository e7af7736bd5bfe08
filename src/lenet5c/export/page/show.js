// Display of a prediction: label, bars, the net's input, and the maps of every layer.

import { chooseColors } from "./colors.js";
import { find, make, setText } from "./dom.js";
import { sizeOf } from "./layers.js";
import { Maps, shapeText } from "./maps.js";

const FEW = 10; // classes that have a bar each, in their order; of more, the largest come first

const percent = (share) => (share >= 0.9995 && share < 1 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`);

// Fills an image with pixels of one (gray) or three channels.
function fillImage(image, bytes, channels) {
  const plane = image.width * image.height;
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = bytes[(channels === 3 ? c * plane : 0) + i];
    image.data[4 * i + 3] = 255;
  }
}

export class View {
  constructor(model) {
    this.model = model;
    const { classes, stages, input } = model, [, height, width] = input;
    Object.assign(find("#seen"), { width, height });
    find("#seen-shape").textContent = shapeText(input);
    this.seen = new ImageData(width, height);
    this.seenContext = find("#seen").getContext("2d");
    this.maps = stages.map((stage, i) => new Maps(stage, i === stages.length - 1 ? classes : null));
    find("#maps").replaceChildren(...this.maps.map((maps) => maps.figure));
    this.scale = find("#scale").getContext("2d");
    this.bars = classes.map(() => {
      const [name, bar, number] = ["name", "bar", "number"].map((className) => make("span", { className }));
      const item = make("li", {}, name, make("span", { className: "track" }, bar), number);
      return { item, name, bar, number };
    });
    find("#bars").replaceChildren(...this.bars.map(({ item }) => item));
    find("#bars").classList.toggle("many", classes.length > FEW);
    if (classes.length > FEW) find("#bars").tabIndex = 0; // it can be scrolled by keys
    this.colors = chooseColors();
    this.blank();
    this.repaint();
  }

  blank() {
    this.#setVerdict("?", "none", `draw ${this.model.subject}`);
    this.#setBars(new Float32Array(this.model.classes.length), -1);
    this.#showSeen(new Uint8Array(sizeOf(this.model.input)));
    for (const maps of this.maps) maps.clear(this.colors);
    this.#say(`No answer: draw ${this.model.subject}`);
  }

  // Paints all layers and their legend in the current colors of the page.
  repaint() {
    const legend = new ImageData(255, 1);
    this.colors = chooseColors();
    new Uint32Array(legend.data.buffer).set(this.colors.subarray(1));
    this.scale.putImageData(legend, 0, 0);
    for (const maps of this.maps) maps.repaint(this.colors);
  }

  // Shows a prediction; `label` is the true label of an image of the data.
  paint({ best, rejected, probabilities, fitted, maps }, label) {
    const { classes } = this.model, name = classes[best], sure = percent(probabilities[best]);
    this.#showSeen(fitted);
    this.maps.forEach((each, i) => each.paint(maps[i], this.colors));
    this.#setBars(probabilities, best);
    let kind = "", verdict = "";
    if (label === best) [kind, verdict] = ["correct", ", correct"];
    else if (label !== undefined) [kind, verdict] = ["wrong", `, wrong: the true label is ${classes[label]}`];
    else if (rejected !== null) [kind, verdict] = ["rejected", `, rejected: ${rejected}`];
    this.#setVerdict(name, name.length > 2 ? `${kind} long` : kind, sure + verdict);
    this.#say(`${name}, ${sure}${verdict}`, name + verdict);
  }

  #setVerdict(name, className, sure) {
    const best = find("#best");
    setText(best, name);
    if (best.className !== className) best.className = className;
    setText(find("#sure"), sure);
  }

  #showSeen(bytes) {
    fillImage(this.seen, bytes, this.model.input[0]);
    this.seenContext.putImageData(this.seen, 0, 0);
  }

  #setBars(probabilities, best) {
    const order = [...probabilities.keys()];
    if (order.length > FEW) order.sort((a, b) => probabilities[b] - probabilities[a] || a - b);
    this.bars.forEach((row, i) => {
      const { item, name, bar, number } = row, share = probabilities[order[i]], text = this.model.classes[order[i]];
      if (name.textContent !== text) name.textContent = name.title = text;
      // Smaller values are less than a pixel.
      const length = share.toFixed(4);
      if (row.length !== length) bar.style.transform = `scaleX(${(row.length = length)})`;
      setText(number, best < 0 ? "" : percent(share));
      item.classList.toggle("best", order[i] === best);
    });
  }

  // Announces a prediction after a short delay, because a screen reader cannot follow each change.
  #say(text, essence = text) {
    this.text = text;
    if (essence === this.essence) return;
    this.essence = essence;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { find("#said").textContent = this.text; }, 700);
  }
}
