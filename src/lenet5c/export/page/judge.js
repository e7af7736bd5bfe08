// Rejection of ink that cannot be one digit, by its measures, as in recognition/judge.py.

import { close, FINE, findBox, measureStroke, MNIST, normalizeStroke } from "./ink.js";
import { reduce, resize, roundEven } from "./resampling.js";

const LONGER = 80; // pixels of the longer side at which strokes are measured
const GRAIN = 2; // radius of gaps within a stroke that are filled

// Returns measures of the ink of a drawing.
export function measure(ink) {
  const whole = ink.crop(findBox(ink)), { longer } = whole;
  // Reduced and closed, because noise lengthens outlines.
  const thin = close(reduce(whole, Math.ceil(longer / FINE)), GRAIN), width = measureStroke(thin);
  let crop = whole, thinLength = 0;
  if (thin.longer > MNIST.stroke[1] * width) {
    // Thin lines count with the width that the net sees.
    thinLength = count(thin.values, 128) / Math.max(width, 1e-6) / thin.longer;
    [crop] = normalizeStroke(whole, MNIST, [28, 28]);
  }
  const scale = LONGER / crop.longer;
  const sides = [crop.height, crop.width].map((side) => Math.max(1, roundEven(side * scale)));
  const fine = close(resize(crop, ...sides), 1);
  const stroke = Math.max(measureStroke(fine), 1e-6);
  const inked = count(fine.values, 128), faint = count(fine.values, 26);
  const areas = measureComponents(fine), largest = Math.max(0, ...areas);
  const paper = measureComponents(fine.map((value) => 255 - value).pad(1, 255));
  const { height, width: across, values } = ink;
  let edge = 0;
  for (let x = 0; x < across; x++) edge += (values[x] >= 128) + (values[(height - 1) * across + x] >= 128);
  for (let y = 0; y < height; y++) edge += (values[y * across] >= 128) + (values[y * across + across - 1] >= 128);
  return {
    pixels: longer,
    slenderness: LONGER / stroke,
    length: Math.max(thinLength, inked / stroke / LONGER),
    parts: areas.filter((area) => area >= 0.05 * largest).length,
    holes: paper.filter((area) => area >= 6).length - 1,
    edge: edge / (2 * (height + across)),
    gray: faint ? count(fine.values, 26, 180) / faint : 1,
  };
}

// Returns the number of values from `low` to less than `high`.
function count(values, low, high = 256) {
  let found = 0;
  for (let i = 0; i < values.length; i++) if (values[i] >= low && values[i] < high) found++;
  return found;
}

// Returns the areas of the components of ink; they touch at an edge or a corner.
function measureComponents({ height, width, values }) {
  // With a border of paper, so that all neighbors exist.
  const across = width + 2, left = new Uint8Array(across * (height + 2)), areas = [], waiting = new Int32Array(values.length);
  for (let y = 0, i = 0, at = across + 1; y < height; y++, at += 2) for (let x = 0; x < width; x++, i++, at++) left[at] = values[i] >> 7;
  const around = [-across - 1, -across, -across + 1, -1, 1, across - 1, across, across + 1];
  for (let start = 0; start < left.length; start++) {
    if (!left[start]) continue;
    let area = 0, count = 1;
    waiting[0] = start;
    left[start] = 0;
    while (count) {
      const at = waiting[--count];
      area++;
      for (let k = 0; k < 8; k++) {
        const next = at + around[k];
        if (!left[next]) continue;
        left[next] = 0;
        waiting[count++] = next;
      }
    }
    areas.push(area);
  }
  return areas;
}

// Returns the reason why ink with these measures cannot be one digit, or null.
export function rejectInk({ pixels, edge, gray, slenderness, length, parts, holes }) {
  if (pixels < 8) return `the ink is too small for a digit: ${pixels} pixels`;
  // A digit may fill the drawing: a few clear strokes in one piece.
  const clear = parts === 1 && holes <= 3 && length <= 3.6 && slenderness >= 3.5 && gray < 0.65;
  if (edge > 0.03 && !clear) return "the ink extends beyond the picture on all sides";
  if (gray > 0.93) return "there are no clear strokes";
  if (slenderness < 2.7 && length < 2) return "the ink is a blot without strokes";
  if (parts > 6 || parts === 0) return `the ink has ${parts} separate parts, not one digit`;
  if (holes > 4 || length > 4.6) return "the ink has too many strokes for one digit";
  return null;
}

const REJECT = 0.5; // minimum confidence of an accepted prediction
// Prior frequencies, if one digit is expected, of signs and of other or several characters, relative to the training images.
const SIGN_SHARE = 0.1, NONE_SHARE = 0.4;
const WORDS = {
  "+": "a plus sign", "-": "a minus sign", x: "a multiplication sign", "/": "a slash", "=": "an equals sign", "(": "a bracket",
  ")": "a bracket", ".": "a dot",
};
const isDigit = (name) => /^\d$/.test(name);

const SECOND = 0.3; // share of the net of digits and signs in which digit it is

// Returns the reason to reject a prediction, names and probabilities of a net, or null. `seen` has those of the net of digits
// and signs, null for other classes. The page displays this net's digit: it is rejected if both nets together predict another.
export function rejectAnswer(answer, seen = null) {
  const named = answer.probabilities.indexOf(Math.max(...answer.probabilities)), share = seen ? digitShare(seen) : 1;
  const both = seen ? weighDigits(answer, seen) : answer.probabilities, best = Math.max(...both);
  if (best * share >= REJECT && both[named] === best) return null;
  return share < best ? describeSign(seen) : `the net is uncertain: the most probable class has ${roundEven(100 * best)}%`;
}

// Returns the probabilities of digits by both nets, their weighted geometric mean.
function weighDigits({ names, probabilities }, seen) {
  const own = names.map((name) => seen.probabilities[seen.names.indexOf(name)]);
  const total = Math.max(own.reduce((sum, value) => sum + value), 1e-9);
  const both = own.map((value, i) => Math.max(probabilities[i], 1e-6) ** (1 - SECOND) * Math.max(value / total, 1e-6) ** SECOND);
  const whole = both.reduce((sum, value) => sum + value);
  return both.map((value) => value / whole);
}

// Returns the probability that ink is one digit, if digits are expected.
function digitShare({ names, probabilities }) {
  const sum = (chosen) => probabilities.reduce((total, value, i) => total + (chosen(names[i]) ? value : 0), 0);
  const digits = sum(isDigit), none = sum((name) => name === "none" || name === "several");
  return digits / Math.max(digits + SIGN_SHARE * sum((name) => name in WORDS) + NONE_SHARE * none, 1e-12);
}

function describeSign({ names, probabilities }) {
  const others = [...names.keys()].filter((i) => !isDigit(names[i]));
  const best = names[others.reduce((most, i) => (probabilities[i] > probabilities[most] ? i : most))];
  if (best === "several") return "it looks like several characters, not one digit";
  return best === "none" ? "it does not look like a digit" : `it looks like ${WORDS[best]}, not a digit`;
}
