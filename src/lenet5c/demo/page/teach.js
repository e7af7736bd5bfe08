// Samples and fine-tuning.

import { ask } from "/api.js";
import { find, make, samplesText } from "/dom.js";

const MOST_BUTTONS = 20;
const [LEAST_EPOCHS, DEFAULT_EPOCHS, MOST_EPOCHS] = [1, 3, 20];

export class Teacher {
  // `drawing()` returns what is to be saved, or throws why it cannot be; `saved(label)` is called
  // after a sample was saved, `changed()` when another model answers.
  constructor(model, { drawing, saved, changed, fail }) {
    Object.assign(this, { model, drawing, saved, changed, fail });
    this.counts = [];
    this.#makeClasses();
    for (const [id, path] of [["#delete", "/delete_sample"], ["#revert", "/revert_model"], ["#keep", "/keep_model"]]) {
      find(id).addEventListener("click", () => this.#act(path));
    }
    find("#tune").addEventListener("click", () => {
      const epochs = Math.round(find("#epochs").valueAsNumber) || DEFAULT_EPOCHS;
      if (this.running) this.#act("/stop_tuning");
      else this.#act("/start_tuning", { epochs: Math.min(Math.max(epochs, LEAST_EPOCHS), MOST_EPOCHS) });
    });
    this.update(model);
  }

  // A button for each class; of many classes, a list to choose from.
  #makeClasses() {
    const { classes } = this.model, group = find("#classes");
    const button = (label, ...children) => {
      const made = make("button", { type: "button" }, ...children);
      made.addEventListener("click", () => this.save(label()));
      group.append(made);
      return made;
    };
    if (classes.length > MOST_BUTTONS) {
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

  async save(label) {
    await this.#act("/save_sample", () => ({ ...this.drawing(), label }), () => this.saved(label));
  }

  async #act(path, request = {}, done = () => {}) {
    try {
      const state = await ask(path, typeof request === "function" ? request() : request);
      this.fail(null);
      this.update(state);
      if (state.saved) find("#teach-hint").textContent = `Saved: ${state.saved}`;
      if (state.deleted) find("#teach-hint").textContent = `Deleted: ${state.deleted}`;
      done();
    } catch (error) {
      this.fail(error);
    }
  }

  update({ samples, folder, tuning, tuned, kept }) {
    const total = samples.reduce((sum, count) => sum + count, 0), hasTests = this.model.tests.count > 0;
    const running = tuning.state === "running";
    this.counts.forEach((count, label) => {
      count.textContent = samples[label] || "";
      count.parentElement.ariaLabel = `${this.model.classes[label]}, ${samplesText(samples[label])}`;
    });
    find("#counts").textContent = total === 0 ? "No samples yet" : samplesText(total);
    find("#folder").textContent = `In ${folder}`;
    find("#delete").disabled = total === 0 || running;
    find("#tune").textContent = running ? "Stop" : "Fine-tune";
    find("#tune").disabled = !running && (total === 0 || !hasTests);
    find("#keep").disabled = !tuned || kept !== null;
    find("#revert").disabled = !tuned;
    find("#kept").textContent = kept === null ? "" : `Kept. Use it: lenet5c predict --model ${quoted(kept)} digit.png`;
    this.#showTuning(tuning, total === 0 && hasTests);
    if (this.tuned !== undefined && (this.tuned !== tuned || (this.running && !running && tuned))) this.changed();
    Object.assign(this, { tuned, running });
    if (running && !this.timer) this.timer = setTimeout(() => this.#poll(), 150);
  }

  async #poll() {
    this.timer = null;
    try {
      const state = await ask("/state");
      if (this.lost) this.fail(null);
      this.lost = false;
      this.update(state);
    } catch (error) {
      this.lost = true;
      this.fail(error);
      this.timer = setTimeout(() => this.#poll(), 1000);
    }
  }

  #showTuning({ state, progress, message, before, after, samples, unusable }, needsSample) {
    Object.assign(find("#progress"), { hidden: state !== "running", value: progress ?? 0 });
    const texts = {
      none: needsSample ? "It needs a sample first." : this.model.tests.why ?? "",
      running: `Training on ${samplesText(samples)}…`,
      done: "The fine-tuned model answers now.",
      stopped: "Stopped; the model is as it was.",
      failed: message,
    };
    find("#tune-state").textContent = texts[state] + (unusable?.length ? ` Not used: ${unusable.join(", ")}` : "");
    find("#figures").hidden = !before;
    find("#figures-hint").hidden = Boolean(before);
    for (const [id, part] of [["#on-samples", "samples"], ["#on-tests", "tests"]]) {
      const cells = find(id).querySelectorAll("td");
      cells[0].textContent = before ? share(before[part]) : "";
      cells[1].textContent = after ? share(after[part]) : "";
    }
  }
}

function share([correct, count]) {
  const percent = `${((100 * correct) / count).toFixed(2)} % of ${count.toLocaleString("en")}`;
  return count > 1000 ? percent : `${correct} of ${count}`;
}

function quoted(path) {
  return /^[\w./~:\\-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
