// The page: the net is run for each change of the drawing or the sliders, before the next frame.

import { Reader } from "./answer.js";
import { find, recall, remember, setText, showError } from "./dom.js";
import { unpackExamples } from "./examples.js";
import { sizeOf } from "./layers.js";
import { Net } from "./net.js";
import { WhyView } from "./overlay.js";
import { Pad } from "./pad.js";
import { View } from "./show.js";
import { Sliders } from "./sliders.js";
import { PageStore, Teacher } from "./teach.js";

const THEMES = ["auto", "light", "dark"];
const KEPT_LATENCIES = 500;
// The source of the page as loaded; the page of a server cannot be saved.
const SOURCE = find("meta[name=token]") === null ? `<!doctype html>\n${document.documentElement.outerHTML}\n` : null;

export class Page {
  #image = null; // the image of the data that is shown in place of a drawing: {image, label, caption}
  #savedAs = null; // the label of the drawing, if it was saved
  #version = 0; // of what is shown: grows with each stroke
  #saving = null; // the version that is being saved
  #asked = null; // the time of the last event that was not answered yet
  #answered = null; // the time of the event that was answered last
  #asks = 0; // events since the last frame
  #seldom = true; // there was one at most before it
  #awaited = false; // there will be a frame
  #explain = null; // explains the last answer
  // For tests and the page: milliseconds from an event to its painted prediction, and the part spent in this script.
  latencies = [];
  computing = [];
  keys = { e: () => find("#example")?.click(), a: () => this.sliders.toggleSweep(), r: () => this.sliders.reset() };

  // `store` has the samples; without a server, they are lost when the page is closed.
  constructor(store = new PageStore()) {
    const model = JSON.parse(find("#model-data").textContent);
    this.net = new Net(model);
    this.reader = new Reader(this.net);
    this.examples = unpackExamples(model.examples, sizeOf(model.image));
    this.#setTheme(recall("theme"));
    find("#model").textContent = `${model.name}: ${model.parameters.toLocaleString("en")} parameters`;
    this.view = new View(model);
    this.why = new WhyView(this.reader, () => this.ask());
    this.pad = new Pad(find("#pad"), (time) => this.#drawn(time), (text) => this.say(text));
    this.sliders = new Sliders((time) => {
      this.pad.setWidth(this.sliders.values.width);
      this.ask(time);
    });
    this.teacher = new Teacher(this.net, store, {
      drawing: () => this.#drawing(), changed: () => this.ask(),
      examples: this.examples, source: SOURCE,
    });
    this.#listen();
  }

  #listen() {
    const on = (selector, name, action) => find(selector).addEventListener(name, action);
    on("#theme", "click", () => this.#setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % 3]));
    on("#undo", "click", (event) => this.pad.undo(event.timeStamp));
    on("#clear", "click", (event) => this.pad.clear(event.timeStamp));
    if (find("#example")) {
      on("#example", "click", () => this.showExample());
      find("#example").hidden = find("#example").disabled = this.examples.length === 0;
    }
    find("#ink-row").hidden = this.net.model.framing !== null;
    on("#inverted", "change", (event) => {
      this.reader.inverted = event.target.checked;
      this.ask();
    });
    find("#shortcuts").checked = recall("shortcuts") !== "off";
    on("#shortcuts", "change", () => remember("shortcuts", find("#shortcuts").checked ? "on" : "off"));
    document.addEventListener("keydown", (event) => this.#onKey(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#repaint());
  }

  say(text) {
    setText(find("#pad-state"), text);
  }

  // Computes the prediction immediately. Events before it has been painted are processed with the next frame, as are all events
  // while there are several per frame.
  ask(time = performance.now()) {
    const blank = this.pad.empty && this.#image === null;
    find("#invite").hidden = !blank;
    find("#undo").disabled = find("#clear").disabled = blank;
    this.#asked = time;
    this.#asks++;
    if (this.#awaited) return;
    this.#awaited = true;
    requestAnimationFrame(() => this.#endFrame());
    if (this.#seldom) this.#answer();
  }

  // Processes pending events; after painting, computes the explanation and measures the time.
  #endFrame() {
    this.#awaited = false;
    this.#seldom = this.#asks < 2;
    this.#asks = 0;
    if (this.#asked !== null) this.#answer();
    // The first message after a frame arrives when it has been painted.
    const { port1, port2 } = new MessageChannel(), time = this.#answered;
    port1.onmessage = () => {
      port1.close();
      this.#measure(performance.now() - time);
      this.#explain?.();
      this.#explain = null;
    };
    port2.postMessage(null);
  }

  #answer() {
    const transform = this.sliders.values, began = performance.now();
    this.#answered = this.#asked;
    this.#asked = this.#explain = null;
    const placed = this.#image
      ? { image: this.reader.rewrite(this.#image.image, transform.width), rejected: null, seen: null }
      : this.reader.prepare(this.pad.strokes, transform.width);
    if (placed === null) {
      this.view.blank();
      this.why.clear();
    } else {
      const answer = this.reader.answer(placed.image, transform);
      answer.rejected = this.reader.reject(placed, answer);
      if (this.#image) this.pad.show({ image: placed.image, shape: this.net.model.image, form: this.reader.form });
      this.view.paint(answer, this.#image?.label);
      const drawn = this.#image ? null : placed;
      this.#explain = () => this.why.update(answer, drawn, transform);
    }
    keepLast(this.computing, performance.now() - began);
  }

  #measure(milliseconds) {
    keepLast(this.latencies, milliseconds);
    const sorted = this.latencies.slice(-100).sort((a, b) => a - b), count = sorted.length;
    const at = (rank) => sorted[Math.min(Math.floor(rank * count), count - 1)].toFixed(0);
    find("#latency").textContent =
      `${milliseconds.toFixed(0)} ms; median ${at(0.5)}, 95 % within ${at(0.95)} of the last ${count}`;
  }

  #drawn(time) {
    if (this.#image !== null || this.#savedAs !== null || this.pad.empty) this.say(this.pad.empty ? find("#pad-state").dataset.hint : "");
    this.#image = this.#savedAs = null;
    this.#version += 1;
    showError();
    this.ask(time);
  }

  // Shows an image of the data, {image, label}, in place of a drawing.
  show(image, caption) {
    this.#image = image;
    this.#savedAs = null;
    this.#version += 1;
    showError();
    this.say(caption);
    this.ask();
  }

  showExample() {
    this.shown = ((this.shown ?? -1) + 1) % this.examples.length;
    const example = this.examples[this.shown];
    this.show(example, `Training image, true label ${this.net.classes[example.label]}`);
  }

  // Returns the sample to save, {image, done}, or throws the reason why there is none; `done` is called with the label, or null if
  // it was not saved.
  #drawing() {
    if (this.#image) throw new Error("Images of the data set cannot be saved as samples. Make a drawing instead.");
    if (this.#savedAs !== null) {
      throw new Error(`This drawing has been saved as ${this.net.classes[this.#savedAs]}; delete that sample or make another drawing.`);
    }
    if (this.#saving === this.#version) throw new Error("This drawing is being saved.");
    const placed = this.reader.prepare(this.pad.strokes, this.sliders.values.width);
    if (placed === null) throw new Error(`There is nothing to save; draw ${this.net.model.subject} first.`);
    const version = this.#saving = this.#version;
    return { image: placed.image, done: (label) => this.#saved(version, label) };
  }

  #saved(version, label) {
    if (this.#saving === version) this.#saving = null;
    if (label === null || version !== this.#version) return; // another drawing was begun meanwhile
    this.#savedAs = label;
    this.pad.fresh = true;
    this.say(`Saved as ${this.net.classes[label]}. Draw the next one.`);
  }

  #setTheme(theme) {
    const chosen = THEMES.includes(theme) ? theme : "auto";
    document.documentElement.dataset.theme = chosen;
    find("#theme").textContent = `Colors: ${chosen}`;
    remember("theme", chosen);
    this.#repaint();
  }

  // Paints parts whose colors are not from the style sheet.
  #repaint() {
    this.pad?.paint();
    this.view?.repaint();
    this.why?.repaint();
  }

  #onKey(event) {
    const key = event.key.toLowerCase(), label = this.net.classes.indexOf(event.key);
    if (event.ctrlKey && key === "z" && !(event.target instanceof HTMLInputElement)) {
      this.pad.undo(event.timeStamp);
      event.preventDefault();
      return;
    }
    const typing = event.target.matches?.("input[type=number], select, textarea");
    if (!find("#shortcuts").checked || event.ctrlKey || event.altKey || event.metaKey || event.repeat || typing) return;
    if (/^\d$/.test(key) && label >= 0) this.teacher.save(label);
    else if (Object.hasOwn(this.keys, key)) this.keys[key]();
  }
}

function keepLast(times, milliseconds) {
  times.push(milliseconds);
  times.splice(0, times.length - KEPT_LATENCIES);
}
