// The page of the demo: the page of a model, with features that need the server.

import { askBytes } from "./api.js";
import { find, showError } from "./dom.js";
import { imagesOf } from "./examples.js";
import { Page } from "./page.js";
import { Photo } from "./photo.js";
import { FolderStore } from "./store.js";
import { Tuning } from "./tuning.js";

let tuning = null;
const store = new FolderStore((state) => {
  tuning?.update(state);
  if (state.saved) find("#teach-hint").textContent = `Saved: ${state.saved}`;
  if (state.deleted) find("#teach-hint").textContent = `Deleted: ${state.deleted}`;
});
const page = (window.lenet5c = new Page(store));

// Shows a test image, or one that is misclassified.
async function showTest(wrong) {
  try {
    const { facts, bytes } = await askBytes("/test_image", { wrong });
    const among = wrong ? `; one of ${facts.among} that are misclassified` : "";
    page.show({ image: bytes, label: facts.label }, `Test image ${facts.test}, true label ${page.net.classes[facts.label]}${among}`);
  } catch (error) {
    showError("#pad-error", error);
  }
}

async function start() {
  const { facts: { tests, photos, labels, ...state }, bytes } = await askBytes("/start");
  page.teacher.examples = imagesOf(bytes, labels);
  for (const [id, wrong] of [["#random", false], ["#wrong", true]]) {
    Object.assign(find(id), { disabled: tests.count === 0, title: tests.why ?? "" });
    find(id).addEventListener("click", () => showTest(wrong));
  }
  Object.assign(page.keys, { t: () => showTest(false), w: () => showTest(true) });
  new Photo(photos);
  store.numbers = state.samples;
  page.teacher.update();
  tuning = new Tuning(tests, {
    useWeights: (weights) => page.teacher.useWeights(weights), keepSamples: (kept) => page.teacher.keepSamples(kept),
  });
  await tuning.update(state);
  page.ready = true;
}

start().catch((error) => showError("#pad-error", error));
