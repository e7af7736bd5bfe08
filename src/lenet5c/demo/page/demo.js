// The page: each change of drawing or sliders is sent to the net at once, and its answer painted.

import { ask, askBytes, Latest } from "/api.js";
import { find } from "/dom.js";
import { Pad } from "/pad.js";
import { View } from "/show.js";
import { Sliders } from "/sliders.js";
import { Teacher } from "/teach.js";

const THEMES = ["auto", "light", "dark"];
const KEPT_LATENCIES = 500;

// For tests, and for the curious: milliseconds from an event to its painted answer.
const state = (window.lenet5cDemo = { latencies: [], answers: 0, ready: false });

let pad, view, sliders, teacher;
let test = null; // the test digit that is shown
let savedAs = null; // the label of the drawing, if it was saved
let newest = null; // the answer that the next frame paints

function fail(error) {
  find("#fault").hidden = error === null;
  find("#fault").textContent = error?.message ?? "";
}

const latest = new Latest(
  ({ request }) => askBytes("/answer", request),
  (answer, asked) => {
    fail(null);
    // Of two answers in one frame the newer one.
    if (newest === null) requestAnimationFrame(paint);
    newest = { answer, ...asked };
  },
  fail,
);

function paint() {
  const { answer, time, test: asked } = newest;
  newest = null;
  if (answer.facts.blank) {
    view.blank();
  } else {
    const picture = view.paint(answer, asked?.label);
    // The drawing may have gone on since.
    if (asked && asked === test) pad.show(picture);
  }
  state.answers++;
  // Of the messages after a frame, the first comes when it has been painted.
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    measure(performance.now() - time);
  };
  port2.postMessage(null);
}

function measure(milliseconds) {
  state.latencies.push(milliseconds);
  state.latencies.splice(0, state.latencies.length - KEPT_LATENCIES);
  const sorted = state.latencies.slice(-100).sort((a, b) => a - b), count = sorted.length;
  const at = (share) => sorted[Math.min(Math.floor(share * count), count - 1)].toFixed(0);
  find("#latency").textContent =
    `${milliseconds.toFixed(0)} ms; median ${at(0.5)}, 95 % within ${at(0.95)} of the last ${count}`;
}

function send(time = performance.now()) {
  const blank = pad.empty && test === null;
  find("#invite").hidden = !blank;
  find("#undo").disabled = find("#clear").disabled = blank;
  const what = test ? { test: test.test } : { strokes: pad.strokes };
  latest.push({ request: { transform: sliders.values, ...what }, time, test });
}

async function showTest(wrong) {
  try {
    const shown = await ask("/test_digit", { wrong });
    [test, savedAs] = [shown, null];
    const among = wrong ? `; one of ${shown.among} that are misclassified` : "";
    find("#pad-state").textContent = `Test image ${shown.test}, true label ${view.model.classes[shown.label]}${among}`;
    send();
  } catch (error) {
    fail(error);
  }
}

// Returns what is to be saved as a sample, or throws why it cannot be.
function drawing() {
  if (test) throw new Error("A test image is not saved: it is there to measure, not to learn from. Draw a digit.");
  if (pad.empty) throw new Error("There is nothing to save: draw a digit first.");
  if (savedAs !== null) throw new Error(`This drawing is saved as ${view.model.classes[savedAs]}: delete that sample, or draw another.`);
  return { strokes: pad.strokes, transform: sliders.values };
}

function saved(label) {
  savedAs = label;
  pad.fresh = true;
  find("#pad-state").textContent = `Saved as ${view.model.classes[label]}. Draw the next one.`;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  find("#theme").textContent = `Colors: ${theme}`;
  remember("theme", theme);
  repaint();
}

// Paints what has its colors from here and not from the style sheet.
function repaint() {
  pad?.paint();
  view?.repaint();
}

// Settings outlive the page where the browser lets them.
function remember(name, value) {
  try {
    localStorage.setItem(`lenet5c-${name}`, value);
  } catch {
    // They do not, then.
  }
}

function recall(name) {
  try {
    return localStorage.getItem(`lenet5c-${name}`);
  } catch {
    return null;
  }
}

const KEYS = {
  t: () => showTest(false), w: () => showTest(true), a: () => sliders.toggleSweep(), r: () => sliders.reset(),
};

function onKey(event) {
  const key = event.key.toLowerCase(), label = view.model.classes.indexOf(event.key);
  if (event.ctrlKey && key === "z" && !(event.target instanceof HTMLInputElement)) {
    pad.undo(event.timeStamp);
    event.preventDefault();
    return;
  }
  const typing = event.target.matches?.("input[type=number], select, textarea");
  if (!find("#shortcuts").checked || event.ctrlKey || event.altKey || event.metaKey || event.repeat || typing) return;
  if (/^\d$/.test(key) && label >= 0) teacher.save(label);
  else if (Object.hasOwn(KEYS, key)) KEYS[key]();
}

async function start() {
  const theme = recall("theme");
  setTheme(THEMES.includes(theme) ? theme : "auto");
  const on = (selector, name, action) => find(selector).addEventListener(name, action);
  on("#theme", "click", () => {
    const now = THEMES.indexOf(document.documentElement.dataset.theme);
    setTheme(THEMES[(now + 1) % THEMES.length]);
  });
  const model = await ask("/model");
  find("#model").textContent = `${model.name}: ${model.parameters.toLocaleString("en")} parameters`;
  view = new View(model);
  const drawn = (time) => {
    test = savedAs = null;
    send(time);
  };
  pad = new Pad(find("#pad"), drawn, (text) => { find("#pad-state").textContent = text; });
  sliders = new Sliders(model.ranges, (time) => {
    pad.setWidth(sliders.values.width);
    if (test || !pad.empty) send(time);
  });
  teacher = new Teacher(model, { drawing, saved, changed: send, fail });
  on("#undo", "click", (event) => pad.undo(event.timeStamp));
  on("#clear", "click", (event) => pad.clear(event.timeStamp));
  for (const [id, wrong] of [["#random", false], ["#wrong", true]]) {
    Object.assign(find(id), { disabled: model.tests.count === 0, title: model.tests.why ?? "" });
    on(id, "click", () => showTest(wrong));
  }
  find("#shortcuts").checked = recall("shortcuts") !== "off";
  on("#shortcuts", "change", () => remember("shortcuts", find("#shortcuts").checked ? "on" : "off"));
  document.addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  state.ready = true;
}

start().catch(fail);
