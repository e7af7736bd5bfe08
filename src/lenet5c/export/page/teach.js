// Labeled samples, and fine-tuning of the last layer on them, in the page.

import { find, make, samplesText, saveFile, showError } from "./dom.js";
import { canTune, features, tuneLastLayer } from "./last_layer.js";
import { encodeFloats } from "./net.js";
import { writeTensors } from "./tensors.js";

const MAX_BUTTONS = 20;

// Samples stored while the page is open.
export class PageStore {
  samples = [];

  async save(image, label) {
    this.samples.push({ image, label });
  }

  async deleteLast() {
    this.samples.pop();
  }

  async all() {
    return this.samples;
  }

  // Returns the number of samples of each class.
  counts(classes) {
    return classes.map((_, label) => this.samples.filter((sample) => sample.label === label).length);
  }
}

export class Teacher {
  // `drawing()` returns the sample to save, {image, done}, or throws the reason why there is none; `done(label)` is called after a
  // sample was saved, `done(null)` if it was not; `changed()` when weights have changed; `source` is the page as loaded, null if
  // it cannot be saved.
  constructor(net, store, { drawing, changed, examples, source }) {
    Object.assign(this, { net, store, drawing, changed, examples, source, kept: false });
    this.#start();
    this.#makeClasses();
    const on = (selector, action) => find(selector).addEventListener("click", () => this.#act(action));
    on("#delete", () => this.store.deleteLast());
    on("#tune-last", () => this.tune());
    on("#reset-last", () => this.reset());
    on("#save-page", () => this.#savePage());
    on("#save-weights", () => this.#saveWeights());
    find("#save-page").hidden = source === null;
    this.update();
  }

  // Sets the current weights as the start of fine-tuning.
  #start() {
    const layer = this.net.layers.at(-1);
    this.tuned = false;
    this.rehearsed = null;
    this.start = canTune(this.net) && { weight: layer.weight.slice(), bias: layer.bias.slice() };
  }

  // A button for each class, or a list for many classes.
  #makeClasses() {
    const { classes } = this.net, group = find("#classes");
    const button = (label, ...children) => {
      const made = make("button", { type: "button" }, ...children);
      made.addEventListener("click", () => this.save(label()));
      group.append(made);
      return made;
    };
    this.counts = [];
    if (classes.length > MAX_BUTTONS) {
      const select = make("select", { ariaLabel: "True label" }, ...classes.map((name, label) => new Option(name, label)));
      group.append(select);
      button(() => Number(select.value), "Save with this label");
      return;
    }
    this.counts = classes.map((name, label) => {
      const count = make("small");
      button(() => label, name, count);
      return count;
    });
  }

  save(label) {
    return this.#act(async () => {
      const { image, done } = this.drawing();
      let saved = null;
      try {
        await this.store.save(image, label);
        saved = label;
      } finally {
        done(saved);
      }
    });
  }

  async #act(action) {
    try {
      await action();
      showError("#teach-error");
    } catch (error) {
      showError("#teach-error", error);
    }
    this.update();
  }

  update() {
    const { classes } = this.net, counts = this.store.counts(classes), total = counts.reduce((sum, count) => sum + count, 0);
    this.counts.forEach((count, label) => {
      count.textContent = counts[label] || "";
      count.parentElement.ariaLabel = `${classes[label]}, ${samplesText(counts[label])}`;
    });
    find("#counts").textContent = total === 0 ? "No samples yet" : samplesText(total);
    find("#delete").disabled = total === 0 || this.kept;
    find("#tune-last").disabled = total === 0 || !this.start;
    find("#reset-last").disabled = find("#save-page").disabled = find("#save-weights").disabled = !this.tuned;
    if (!this.start) find("#tune-last-state").textContent = "The last layer of this net is not linear and cannot be fine-tuned here.";
  }

  // Disables deleting samples for a while.
  keepSamples(kept) {
    this.kept = kept;
    this.update();
  }

  // Fine-tunes the last layer from its initial weights on all samples, while preserving its outputs for training images.
  async tune() {
    const samples = await this.store.all(), { net } = this;
    if (samples.length === 0) throw new Error("There are no samples; make a drawing and press its true label first.");
    const right = () => samples.filter(({ image, label }) => net.logits(image).reduce(indexOfMost, 0) === label).length;
    this.#restore();
    const before = right(), began = performance.now();
    this.rehearsed ??= this.examples.map(({ image }) => features(net, image));
    const drawn = samples.map(({ image, label }) => ({ features: features(net, image), label }));
    tuneLastLayer(net, this.start, drawn, this.rehearsed);
    const time = performance.now() - began;
    this.tuned = true;
    find("#tune-last-state").textContent =
      `Correct on your samples: ${before} of ${samples.length} before, ${right()} after. It took ${time.toFixed(0)} ms.`;
    this.changed();
  }

  #restore() {
    const layer = this.net.layers.at(-1);
    layer.weight.set(this.start.weight);
    layer.bias.set(this.start.bias);
  }

  reset() {
    this.#restore();
    this.tuned = false;
    find("#tune-last-state").textContent = "The last layer has been reset.";
    this.changed();
  }

  // Sets other weights, from which the last layer is fine-tuned.
  useWeights(weights) {
    this.net.useWeights(weights);
    this.#start();
    find("#tune-last-state").textContent = "";
    this.update();
    this.changed();
  }

  #savePage() {
    saveFile("lenet5-tuned.html", this.source.replace(this.net.model.weights, encodeFloats(this.net.weights)), "text/html");
  }

  #saveWeights() {
    saveFile("lenet5-tuned.safetensors", writeTensors(namedArrays(this.net.model.steps, this.net.weights)), "application/octet-stream");
  }
}

function indexOfMost(best, value, i, values) {
  return value > values[best] ? i : best;
}

// Returns {name, shape, values} of the arrays of all layers.
function namedArrays(steps, weights) {
  return steps.flatMap(({ name, arrays = {}, branches = [] }) => [
    ...Object.entries(arrays).map(([key, [at, size, shape]]) => ({
      name: `${name}.${key}`, shape, values: weights.subarray(at, at + size),
    })),
    ...branches.flatMap((inner) => namedArrays(inner, weights)),
  ]);
}
