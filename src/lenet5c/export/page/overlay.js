// Explanations of the prediction: an image beside the input, and an overlay on the drawing that follows the pen.

import { chooseColors } from "./colors.js";
import { find, make, recall, remember } from "./dom.js";
import { SIDE } from "./drawing.js";
import { matrixOf } from "./transform.js";
import { occlusion, saliency } from "./why.js";

const SLICE = 6; // milliseconds that occlusion takes at a time
// The meaning of red and blue.
const TEXTS = {
  gradient: ["where more ink raises the score of the predicted class", "where it lowers it"],
  occlusion: ["where covering ink lowers the score of the predicted class", "where it raises it"],
  none: ["", ""],
};
const KINDS = Object.keys(TEXTS);

export class WhyView {
  #shown = null; // the map that is shown, with what it belongs to
  #job = null; // of occlusion

  // `changed()` requests a new prediction.
  constructor(reader, changed) {
    const { net } = reader, [, height, width] = net.model.image;
    Object.assign(this, { reader, net, height, width });
    this.canvas = Object.assign(find("#why"), { width, height });
    this.small = make("canvas", { width, height });
    this.overlay = find("#overlay");
    const kind = recall("why");
    find("#why-kind").value = KINDS.includes(kind) ? kind : KINDS[0];
    find("#why-kind").addEventListener("change", () => {
      remember("why", this.kind);
      this.#explain();
      changed();
    });
    find("#why-on").checked = recall("why-on") !== "off";
    find("#why-on").addEventListener("change", () => {
      remember("why-on", find("#why-on").checked ? "on" : "off");
      this.#paint();
    });
    this.#explain();
    this.colors = chooseColors();
    new ResizeObserver(() => this.#fit()).observe(this.overlay);
    this.#paint();
  }

  get kind() {
    return find("#why-kind").value;
  }

  #explain() {
    const [above, below] = TEXTS[this.kind];
    find("#why-above").textContent = above;
    find("#why-below").textContent = below;
    find("#why-row").hidden = this.kind === "none";
  }

  clear() {
    this.#job = this.#shown = null;
    this.#paint();
  }

  // Shows an explanation; `placed` is the position of the image on the drawing, null if there is none.
  update({ seen, fitted, best }, placed, transform) {
    this.#job = null;
    const subject = { placed, transform }, { form } = this.reader;
    if (this.kind === "none") {
      this.clear();
    } else if (this.kind === "gradient") {
      // More ink is less light where ink is dark.
      const sign = form.ink[0] < form.paper[0] ? -1 : 1;
      if (this.net.forwarded !== fitted) this.net.forward(fitted);
      this.#show(saliency(this.net, best).map((value) => sign * value), subject);
    } else {
      this.#start(occlusion(this.net, seen, best, this.reader.groundOf(seen), () => performance.now() > this.end), subject);
    }
  }

  // Continues the occlusion when idle.
  #start(steps, subject) {
    const job = (this.#job = {});
    const goOn = () => {
      if (this.#job !== job) return; // the drawing has changed
      this.end = performance.now() + SLICE;
      const { done, value } = steps.next();
      if (done) this.#show(value, subject);
      else setTimeout(goOn);
    };
    setTimeout(goOn, 60);
  }

  #show(map, subject) {
    this.#shown = { map, ...subject };
    this.#paint();
  }

  #fit() {
    const side = Math.round(this.overlay.clientWidth * Math.min(window.devicePixelRatio || 1, 2));
    if (side > 0 && side !== this.overlay.width) this.overlay.width = this.overlay.height = side;
    this.#paint();
  }

  // Paints in the current colors of the page.
  repaint() {
    this.colors = chooseColors();
    this.#paint();
  }

  #paint() {
    const context = this.overlay.getContext("2d"), shown = this.#shown;
    context.resetTransform();
    context.clearRect(0, 0, this.overlay.width, this.overlay.height);
    this.#paintMap(this.canvas, shown?.map ?? new Float32Array(this.height * this.width), () => 255);
    if (!shown || !find("#why-on").checked) return;
    this.#paintMap(this.small, shown.map, (share) => 200 * Math.min(1, 1.6 * share));
    const { image } = this.net.model, side = this.overlay.width;
    // From the net's image to the drawing, to the canvas.
    context.scale(side / SIDE, side / SIDE);
    if (shown.placed) {
      const { corner, scale } = shown.placed;
      context.translate(corner[1], corner[0]);
      context.scale(scale[1], scale[0]);
    } else {
      context.scale(SIDE / this.width, SIDE / this.height);
    }
    const [a, b, c, d, e, f] = matrixOf(shown.transform, image), area = a * d - b * c;
    context.transform(d / area, -b / area, -c / area, a / area, (c * f - d * e) / area, (b * e - a * f) / area);
    context.drawImage(this.small, 0, 0);
  }

  #paintMap(canvas, map, alpha) {
    const image = new ImageData(this.width, this.height), { data } = image, pixels = new Uint32Array(data.buffer);
    let peak = 0;
    for (let i = 0; i < map.length; i++) peak = Math.max(peak, Math.abs(map[i]));
    for (let i = 0; i < map.length; i++) {
      const share = map[i] / (peak || 1);
      pixels[i] = this.colors[Math.round(128 + 127 * share)];
      data[4 * i + 3] = alpha(Math.abs(share));
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }
}
