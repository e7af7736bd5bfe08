// Samples in the folder of the demo.

import { ask, askBytes } from "./api.js";
import { imagesOf } from "./examples.js";

export class FolderStore {
  // `receive(state)` is called with the state of the server after each change.
  constructor(receive) {
    this.receive = receive;
    this.numbers = [];
  }

  async #change(path, request) {
    const state = await ask(path, request);
    this.numbers = state.samples;
    this.receive(state);
  }

  save(image, label) {
    return this.#change("/save_sample", { image: btoa(String.fromCharCode(...image)), label });
  }

  deleteLast() {
    return this.#change("/delete_sample");
  }

  // Returns {image, label} of each sample of the folder that is an image of the model.
  async all() {
    const { facts, bytes } = await askBytes("/read_samples");
    return imagesOf(bytes, facts.labels);
  }

  counts() {
    return this.numbers;
  }
}
