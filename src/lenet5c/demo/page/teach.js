// Samples and fine-tuning.

import { ask } from "/api.js";

const MOST_BUTTONS = 20;
const find = (selector) => document.querySelector(selector);

export class Teacher {
  // `drawing()` returns what is to be saved, or throws why it cannot be; `saved(label)` and `changed()` are called
  // after a sample was saved, and after another model answers.
  constructor(model, { drawing, saved, changed, fail }) {
    Object.assign(this, { model, drawing, saved, changed, fail });
    this.#makeClasses();
    const act = (selector, path, request = () => ({})) =>
      find(selector).addEventListener("click", () => this.#act(path, request()));
    act("#delete", "/delete_sample");
    act("#revert", "/revert_model");
    act("#keep", "/keep_model");
    find("#tune").addEventListener("click", () => {
      if (this.running) this.#act("/stop_tuning", {});
      else this.#act("/start_tuning", { epochs: Math.min(Math.max(Math.round(find("#epochs").valueAsNumber) || 3, 1), 20) });
    });
    this.update(model);
  }

  #makeClasses() {
    const { classes } = this.model, group = find("#classes");
    if (classes.length <= MOST_BUTTONS) {
      this.buttons = classes.map((name, label) => {
        const button = document.createElement("button"), count = document.createElement("small");
        button.type = "button";
        button.append(name, count);
        button.addEventListener("click", () => this.save(label));
        return { button, count };
      });
      group.append(...this.buttons.map(({ button }) => button));
      return;
    }
    const select = document.createElement("select"), button = document.createElement("button");
    select.append(...classes.map((name, label) => new Option(name, label)));
    select.setAttribute("aria-label", "True class");
    button.type = "button";
    button.textContent = "Save as this class";
    button.addEventListener("click", () => this.save(Number(select.value)));
    this.buttons = [];
    group.append(select, button);
  }

  async save(label) {
    try {
      const drawing = this.drawing();
      const state = await ask("/save_sample", { ...drawing, label });
      this.update(state);
      this.saved(label);
      find("#teach-hint").textContent = `Saved as ${this.model.classes[label]}: ${state.saved}`;
      this.fail(null);
    } catch (error) {
      this.fail(error);
    }
  }

  async #act(path, request) {
    try {
      const state = await ask(path, request);
      if (state.deleted) find("#teach-hint").textContent = `Deleted ${state.deleted}`;
      this.fail(null);
      this.update(state);
    } catch (error) {
      this.fail(error);
    }
  }

  update({ samples, folder, tuning, tuned, kept }) {
    const total = samples.reduce((sum, count) => sum + count, 0);
    const running = (this.running = tuning.state === "running");
    this.buttons.forEach(({ button, count }, label) => {
      count.textContent = samples[label] || "";
      const times = samples[label] === 1 ? "1 sample" : `${samples[label]} samples`;
      button.setAttribute("aria-label", `${this.model.classes[label]}, ${times}`);
    });
    find("#counts").textContent = total === 0 ? "No samples yet" : total === 1 ? "1 sample" : `${total} samples`;
    find("#folder").textContent = `In ${folder}`;
    find("#delete").disabled = total === 0 || running;
    const tune = find("#tune");
    tune.textContent = running ? "Stop" : "Fine-tune";
    tune.disabled = !running && (total === 0 || this.model.tests.count === 0);
    find("#keep").disabled = !tuned || kept !== null;
    find("#revert").disabled = !tuned;
    find("#kept").textContent = kept === null ? "" : `Kept. Use it: lenet5c predict --model ${quoted(kept)} digit.png`;
    this.#showTuning(tuning, tuned, total);
    if (this.tuned !== undefined && (this.tuned !== tuned || (this.wasRunning && !running && tuned))) this.changed();
    [this.tuned, this.wasRunning] = [tuned, running];
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

  #showTuning({ state, progress, message, before, after, samples, unusable }, tuned, total) {
    const bar = find("#progress");
    bar.hidden = state !== "running";
    bar.value = progress ?? 0;
    const texts = {
      none: this.model.tests.count === 0 ? this.model.tests.why : total === 0 ? "It needs a sample first." : "",
      running: `Learning from ${samples === 1 ? "1 sample" : `${samples} samples`}…`,
      done: "The fine-tuned model answers now.",
      stopped: "Stopped; the model is as it was.",
      failed: message,
    };
    const skipped = unusable?.length ? ` Not used: ${unusable.join(", ")}` : "";
    find("#tune-state").textContent = texts[state] + skipped;
    const shown = before !== undefined;
    find("#figures").hidden = !shown;
    find("#figures-hint").hidden = shown;
    if (!shown) return;
    for (const [i, name] of ["samples", "tests"].entries()) {
      const cells = document.querySelectorAll("#figures tbody tr")[i].querySelectorAll("td");
      cells[0].textContent = figures(before[name]);
      cells[1].textContent = after === undefined ? "" : figures(after[name]);
    }
  }
}

function figures([right, of]) {
  return of > 1000 ? `${((100 * right) / of).toFixed(2)} % of ${of.toLocaleString("en")}` : `${right} of ${of}`;
}

function quoted(path) {
  return /^[\w./~:\\-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

