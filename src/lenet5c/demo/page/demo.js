// The page: what is drawn or moved is sent to the net at once, and its answer painted.

import { ask, askBytes, Latest } from "/api.js";
import { Pad } from "/pad.js";
import { View } from "/show.js";
import { Sliders } from "/sliders.js";
import { Teacher } from "/teach.js";

const find = (selector) => document.querySelector(selector);
const THEMES = { auto: ["auto", "as the system has them"], light: ["light", "light"], dark: ["dark", "dark"] };
const KEPT_LATENCIES = 500;

// For tests, and for the curious: milliseconds from an event to its painted answer.
const latencies = [];
window.lenet5cDemo = { latencies, answers: 0 };

let pad, view, sliders, teacher, test = null, savedAs = null, painted = null;

function fail(error) {
  const fault = find("#fault");
  fault.hidden = error === null;
  fault.textContent = error === null ? "" : error.message;
}

const latest = new Latest(
  ({ request }) => askBytes("/answer", request),
  (answer, { time, test }) => {
    fail(null);
    // In the next frame; of two answers in one frame the newer one.
    if (painted === null) requestAnimationFrame(paint);
    painted = { answer, time, test };
  },
  fail,
);

function paint() {
  const { answer, time, test } = painted;
  painted = null;
  if (answer.facts.blank) {
    view.blank();
  } else {
    const picture = view.paint(answer, test?.label);
    // The drawing may have gone on since.
    if (test && test === shownTest()) pad.show(picture);
  }
  window.lenet5cDemo.answers++;
  // Of the messages after a frame, the first comes when it has been painted.
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    measure(performance.now() - time);
  };
  port2.postMessage(null);
}

function measure(milliseconds) {
  latencies.push(milliseconds);
  if (latencies.length > KEPT_LATENCIES) latencies.shift();
  const sorted = latencies.slice(-100).sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)].toFixed(0);
  find("#latency").textContent = `${milliseconds.toFixed(0)} ms; median ${at(0.5)}, 95 % within ${at(0.95)} of the last ${sorted.length}`;
}

function shownTest() {
  return test;
}

function send(time) {
  const drawn = !pad.empty;
  find("#invite").hidden = drawn || test !== null;
  find("#undo").disabled = find("#clear").disabled = !drawn && test === null;
  const request = { transform: sliders.values, ...(test ? { test: test.test } : { strokes: pad.vectors }) };
  latest.push({ request, time, test });
}

function drawingChanged(time) {
  test = null;
  savedAs = null;
  send(time);
}

async function showTest(wrong) {
  try {
    const chosen = await ask("/test_digit", { wrong });
    test = chosen;
    savedAs = null;
    find("#pad-state").textContent =
      `Test image ${chosen.test}, labelled ${view.model.classes[chosen.label]}` + (wrong ? `; one of ${chosen.choice} it misreads` : "");
    send(performance.now());
  } catch (error) {
    fail(error);
  }
}

// What is to be saved as a sample, or an error that says why not.
function drawing() {
  if (test) throw new Error("A test image is not saved: it is there to measure, not to learn from. Draw a digit.");
  if (pad.empty) throw new Error("There is nothing to save: draw a digit first.");
  if (savedAs !== null) throw new Error(`This drawing is saved as ${view.model.classes[savedAs]}: delete that sample, or draw another.`);
  return { strokes: pad.vectors, transform: sliders.values };
}

function saved(label) {
  savedAs = label;
  pad.fresh = true; // the next stroke begins a new drawing
  find("#pad-state").textContent = `Saved as ${view.model.classes[label]}. Draw the next one.`;
}

function setTheme(theme) {
  const [text, what] = THEMES[theme];
  const button = find("#theme");
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.textContent = `Colours: ${text}`;
  button.setAttribute("aria-label", `Colours: ${what}`);
  button.dataset.theme = theme;
  remember("theme", theme);
  pad?.paint();
}

// Settings outlive the page where the browser lets them.
function remember(name, value) {
  try {
    localStorage.setItem(`lenet5c-${name}`, value);
  } catch {
    // They do not, then.
  }
}

function remembered(name) {
  try {
    return localStorage.getItem(`lenet5c-${name}`);
  } catch {
    return null;
  }
}

function onKey(event) {
  if (event.ctrlKey && event.key.toLowerCase() === "z" && !(event.target instanceof HTMLInputElement)) {
    pad.undo(event.timeStamp);
    event.preventDefault();
    return;
  }
  const typing = event.target.matches?.("input[type=number], select, textarea");
  if (!find("#shortcuts").checked || event.ctrlKey || event.altKey || event.metaKey || event.repeat || typing) return;
  const label = view.model.classes.indexOf(event.key);
  const actions = { t: () => showTest(false), w: () => showTest(true), a: () => sliders.toggleSweep(), r: () => sliders.reset() };
  if (/^\d$/.test(event.key) && label >= 0) teacher.save(label);
  else if (event.key.toLowerCase() in actions) actions[event.key.toLowerCase()]();
}

async function start() {
  setTheme(remembered("theme") in THEMES ? remembered("theme") : "auto");
  find("#theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    setTheme(names[(names.indexOf(find("#theme").dataset.theme) + 1) % names.length]);
  });
  const model = await ask("/model");
  find("#model").textContent = `${model.name}: ${model.parameters.toLocaleString("en")} parameters`;
  view = new View(model);
  pad = new Pad(find("#pad"), drawingChanged, (text) => { find("#pad-state").textContent = text; });
  sliders = new Sliders(model.ranges, (time) => {
    pad.setWidth(sliders.values.width);
    if (test || !pad.empty) send(time);
  });
  teacher = new Teacher(model, { drawing, saved, changed: () => send(performance.now()), fail });
  find("#undo").addEventListener("click", (event) => pad.undo(event.timeStamp));
  find("#clear").addEventListener("click", (event) => pad.clear(event.timeStamp));
  for (const [id, wrong] of [["#random", false], ["#wrong", true]]) {
    find(id).disabled = model.tests.count === 0;
    find(id).title = model.tests.why ?? "";
    find(id).addEventListener("click", () => showTest(wrong));
  }
  const shortcuts = find("#shortcuts");
  shortcuts.checked = remembered("shortcuts") !== "off";
  shortcuts.addEventListener("change", () => remember("shortcuts", shortcuts.checked ? "on" : "off"));
  document.addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => pad.paint());
  window.lenet5cDemo.ready = true;
}

start().catch(fail);
