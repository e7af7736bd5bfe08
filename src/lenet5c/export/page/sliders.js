// The sliders, and their sweep.

import { find, make } from "./dom.js";
import { RANGES } from "./transform.js";

const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value)}`;
const share = (value) => `${Math.round(100 * value)} %`;

// Title, step and text of each slider.
const ROWS = {
  width: ["Pen width", 0.1, (value) => `${value.toFixed(1)} px`],
  shift_x: ["Shift right", 0.5, (value) => `${signed(value)} px`],
  shift_y: ["Shift down", 0.5, (value) => `${signed(value)} px`],
  rotation: ["Rotation", 1, (value) => `${signed(value)}°`],
  scale: ["Size", 0.01, share],
  noise: ["Noise", 0.01, share],
};
// The sweep: how far to either side, and how many seconds a turn takes.
const SWEEP = { shift_x: [4, 5.3], shift_y: [3, 7.1], rotation: [25, 11], scale: [0.22, 8.3] };

export class Sliders {
  #inputs = {};
  #frame = null;

  constructor(changed) {
    Object.assign(this, { changed });
    this.defaults = Object.fromEntries(Object.entries(RANGES).map(([name, range]) => [name, range[2]]));
    for (const name of Object.keys(ROWS)) this.#addRow(name, ...RANGES[name]);
    find("#animate").addEventListener("click", () => this.toggleSweep());
    find("#reset").addEventListener("click", () => this.reset());
  }

  #addRow(name, min, max, value) {
    const [title, step] = ROWS[name], id = `slider-${name}`;
    const input = make("input", { type: "range", id, name, min, max, step, value });
    // The slider announces its value itself; otherwise the row would be the label of the output.
    const output = make("output", { ariaLive: "off" });
    find("#sliders").append(make("label", { htmlFor: id }, make("span", {}, title), output, input));
    this.#inputs[name] = input;
    input.addEventListener("input", (event) => this.set({ [name]: input.value }, event.timeStamp));
    input.addEventListener("dblclick", (event) => this.set({ [name]: value }, event.timeStamp));
    this.#show(name);
  }

  #show(name) {
    const input = this.#inputs[name], value = Number(input.value), text = ROWS[name][2](value);
    input.previousSibling.textContent = input.ariaValueText = text;
    input.parentElement.classList.toggle("moved", value !== this.defaults[name]);
  }

  get values() {
    return Object.fromEntries(Object.entries(this.#inputs).map(([name, input]) => [name, Number(input.value)]));
  }

  set(values, time = performance.now()) {
    for (const [name, value] of Object.entries(values)) {
      this.#inputs[name].value = value;
      this.#show(name);
    }
    this.changed(time);
  }

  reset() {
    this.#stop();
    this.set(this.defaults);
  }

  toggleSweep() {
    if (this.#frame !== null) return this.#stop();
    find("#animate").ariaPressed = "true";
    const start = performance.now();
    const sweep = (now) => {
      const at = ([name, [reach, seconds]]) =>
        [name, this.defaults[name] + reach * Math.sin((2 * Math.PI * (now - start)) / 1000 / seconds)];
      this.set(Object.fromEntries(Object.entries(SWEEP).map(at)), now);
      // After the work scheduled for the next frame, so that each value is shown.
      this.#frame = requestAnimationFrame(sweep);
    };
    this.#frame = requestAnimationFrame(sweep);
  }

  #stop() {
    cancelAnimationFrame(this.#frame);
    this.#frame = null;
    find("#animate").ariaPressed = "false";
  }
}
