// Fine-tuning of the whole net, by the server.

import { ask, askBytes } from "./api.js";
import { find, samplesText, showError } from "./dom.js";

const [MIN_EPOCHS, DEFAULT_EPOCHS, MAX_EPOCHS] = [1, 3, 20];

export class Tuning {
  // `tests` is the number of test images, or the reason why there are none; `useWeights` sets the weights of the page, and
  // `keepSamples` disables changes of the samples during training.
  constructor(tests, { useWeights, keepSamples }) {
    Object.assign(this, { tests, useWeights, keepSamples, model: 0 });
    for (const [id, path] of [["#revert", "/revert_model"], ["#keep", "/keep_model"]]) {
      find(id).addEventListener("click", () => this.#act(path));
    }
    find("#tune").addEventListener("click", () => {
      const epochs = Math.round(find("#epochs").valueAsNumber) || DEFAULT_EPOCHS;
      if (this.running) this.#act("/stop_tuning");
      else this.#act("/start_tuning", { epochs: Math.min(Math.max(epochs, MIN_EPOCHS), MAX_EPOCHS) });
    });
  }

  async #act(path, request) {
    try {
      await this.update(await ask(path, request));
      showError("#tune-error");
    } catch (error) {
      showError("#tune-error", error);
    }
  }

  // Shows the state of the server: samples, fine-tuning, the model in use.
  async update({ samples, folder, tuning, tuned, kept, model }) {
    const total = samples.reduce((sum, count) => sum + count, 0), hasTests = this.tests.count > 0;
    const running = tuning.state === "running";
    find("#folder").textContent = `In ${folder}`;
    find("#tune").textContent = running ? "Stop" : "Fine-tune all layers";
    find("#tune").disabled = !running && (total === 0 || !hasTests);
    this.keepSamples(running);
    find("#keep").disabled = !tuned || kept !== null;
    find("#revert").disabled = !tuned;
    find("#kept").textContent = kept === null ? "" : `Kept. Use it: lenet5c predict --model ${quoted(kept)} digit.png`;
    this.#showTuning(tuning, total === 0 && hasTests);
    this.running = running;
    if (running && !this.timer) this.timer = setTimeout(() => this.#poll(), 150);
    if (model !== this.model) {
      const { bytes } = await askBytes("/weights");
      // Only if they can be viewed as numbers.
      this.useWeights(new Float32Array(bytes.slice().buffer));
      this.model = model;
    }
  }

  async #poll() {
    this.timer = null;
    try {
      const state = await ask("/state");
      if (this.lost) showError("#tune-error");
      this.lost = false;
      await this.update(state);
    } catch (error) {
      this.lost = true;
      showError("#tune-error", error);
      this.timer = setTimeout(() => this.#poll(), 1000);
    }
  }

  #showTuning({ state, progress, message, before, after, samples, unusable }, needsSample) {
    Object.assign(find("#progress"), { hidden: state !== "running", value: progress ?? 0 });
    const texts = {
      none: needsSample ? "Save a sample first." : this.tests.why ?? "",
      running: `Training on ${samplesText(samples)}…`,
      done: "The fine-tuned model is now in use.",
      stopped: "Stopped; the model is unchanged.",
      failed: message,
    };
    find("#tune-state").textContent = texts[state] + (unusable?.length ? ` Not used: ${unusable.join(", ")}` : "");
    find("#figures").hidden = !before;
    for (const [id, part] of [["#on-samples", "samples"], ["#on-tests", "tests"]]) {
      const cells = find(id).querySelectorAll("td");
      cells[0].textContent = before ? shareText(before[part]) : "";
      cells[1].textContent = after ? shareText(after[part]) : "";
    }
  }
}

function shareText([correct, count]) {
  const text = `${((100 * correct) / count).toFixed(2)} % of ${count.toLocaleString("en")}`;
  return count > 1000 ? text : `${correct} of ${count}`;
}

function quoted(path) {
  return /^[\w./~:\\-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
