// The sliders, and their sweep.

const ROWS = [
  ["width", "Pen width", 0.1, (value) => `${value.toFixed(1)} px`],
  ["shift_x", "Shift right", 0.5, (value) => `${signed(value)} px`],
  ["shift_y", "Shift down", 0.5, (value) => `${signed(value)} px`],
  ["rotation", "Rotation", 1, (value) => `${signed(value)}°`],
  ["scale", "Size", 0.01, (value) => `${Math.round(100 * value)} %`],
  ["noise", "Noise", 0.01, (value) => `${Math.round(100 * value)} %`],
];
// What the sweep does: how far to either side, and how many seconds a turn takes.
const SWEEP = { shift_x: [4, 5.3], shift_y: [3, 7.1], rotation: [25, 11], scale: [0.22, 8.3] };

function signed(value) {
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value)}`;
}

export class Sliders {
  constructor(ranges, changed) {
    Object.assign(this, { ranges, changed, rows: {}, frame: null });
    for (const [name, label, step, text] of ROWS) this.#addRow(name, label, step, text);
    this.button = document.querySelector("#animate");
    this.button.addEventListener("click", () => this.toggleSweep());
    document.querySelector("#reset").addEventListener("click", () => this.reset());
  }

  #addRow(name, label, step, text) {
    const row = document.createElement("label"), input = document.createElement("input");
    const title = document.createElement("span"), output = document.createElement("output");
    const [min, max, value] = this.ranges[name];
    title.textContent = label;
    output.setAttribute("aria-live", "off"); // the slider says its value itself
    input.type = "range";
    Object.assign(input, { name, min, max, step, value, id: `slider-${name}` });
    row.htmlFor = input.id; // else it would be the label of the output
    input.addEventListener("input", (event) => {
      this.#label(name);
      this.changed(event.timeStamp);
    });
    // A double click brings one slider back.
    input.addEventListener("dblclick", (event) => this.set({ [name]: value }, event.timeStamp));
    row.append(title, output, input);
    document.querySelector("#sliders").append(row);
    this.rows[name] = { input, output, text, row };
    this.#label(name);
  }

  #label(name) {
    const { input, output, text, row } = this.rows[name];
    output.textContent = text(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
    row.classList.toggle("moved", Number(input.value) !== this.ranges[name][2]);
  }

  get values() {
    return Object.fromEntries(ROWS.map(([name]) => [name, Number(this.rows[name].input.value)]));
  }

  set(values, time = performance.now()) {
    for (const [name, value] of Object.entries(values)) {
      this.rows[name].input.value = value;
      this.#label(name);
    }
    this.changed(time);
  }

  reset() {
    this.#stop();
    this.set(Object.fromEntries(ROWS.map(([name]) => [name, this.ranges[name][2]])));
  }

  toggleSweep() {
    if (this.frame !== null) {
      this.#stop();
      return;
    }
    this.button.setAttribute("aria-pressed", "true");
    const start = performance.now();
    const sweep = (now) => {
      const values = {};
      for (const [name, [reach, seconds]] of Object.entries(SWEEP)) {
        values[name] = this.ranges[name][2] + reach * Math.sin((2 * Math.PI * (now - start)) / 1000 / seconds);
      }
      this.set(values, now);
      this.frame = requestAnimationFrame(sweep);
    };
    this.frame = requestAnimationFrame(sweep);
  }

  #stop() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    this.button.setAttribute("aria-pressed", "false");
  }
}
