// Fine-tuning of the last layer alone: softmax regression on the values before it.

import { softmax } from "./net.js";

const MAX_STEPS = 300, SMALL = 1e-3; // of the gradient, beside its first length if that is over 1
// Weights of half the mean squared change of the rehearsed outputs, and of the weights, relative to the mean cross-entropy of
// the samples.
const HOLD = 0.2, SHRINK = 1e-3;

// True if the net ends in a linear layer, which is required for fine-tuning.
export const canTune = (net) => net.layers.at(-1).kind === "Linear" && !net.model.negated;

// Returns the input of the last layer for an image.
export function features(net, image) {
  net.logits(image);
  return Float32Array.from(net.layers.at(-1).x);
}

const dot = (a, b) => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
};

// Changes the weights of the net's last layer, in place, so that it classifies `samples` of {features, label}, and nearly
// keeps its outputs for `rehearsed` features. `start` has the initial weight and bias.
//
// In coordinates in which the penalty is a squared length, each step only uses the samples, and few steps are needed: with the
// penalty C = L L^T, the change of a row of weights is V L^-1, and V is optimized.
export function tuneLastLayer(net, start, samples, rehearsed) {
  const layer = net.layers.at(-1), outputs = layer.bias.length, inputs = layer.weight.length / outputs, row = inputs + 1;
  const withOne = (values) => Float64Array.of(...values, 1), share = 1 / samples.length;
  const lower = decompose(penalty(rehearsed.map(withOne), row));
  const parts = samples.map(({ features: values, label }) => {
    const x = Float64Array.from(values);
    const before = Float64Array.from(start.bias, (bias, o) => bias + dot(x, start.weight.subarray(o * inputs, (o + 1) * inputs)));
    return { x: solveLower(lower, withOne(values)), before, label };
  });
  const rate = 1 / (1 + 0.5 * share * parts.reduce((sum, { x }) => sum + dot(x, x), 0));
  const rows = () => Array.from({ length: outputs }, () => new Float64Array(row));
  let now = rows(), ahead = rows(), momentum = 1, first = 0;
  for (let step = 0; step < MAX_STEPS; step++) {
    const gradient = ahead.map((each) => each.slice());
    for (const { x, before, label } of parts) {
      const probabilities = softmax(before.map((score, o) => score + dot(x, ahead[o])));
      gradient.forEach((each, o) => {
        const error = share * (probabilities[o] - (o === label));
        for (let k = 0; k < row; k++) each[k] += error * x[k];
      });
    }
    const length = Math.sqrt(gradient.reduce((sum, each) => sum + dot(each, each), 0));
    first ||= length;
    if (length <= SMALL * Math.max(first, 1)) break;
    // Nesterov's accelerated gradient.
    const after = (1 + Math.sqrt(1 + 4 * momentum ** 2)) / 2, pace = (momentum - 1) / after;
    const next = ahead.map((each, o) => each.map((value, k) => value - rate * gradient[o][k]));
    ahead = next.map((each, o) => each.map((value, k) => value + pace * (value - now[o][k])));
    [now, momentum] = [next, after];
  }
  now.forEach((each, o) => {
    const change = solveUpper(lower, each);
    for (let k = 0; k < inputs; k++) layer.weight[o * inputs + k] = start.weight[o * inputs + k] + change[k];
    layer.bias[o] = start.bias[o] + change[inputs];
  });
}

// Returns the rows of a symmetric matrix, the penalty of a change of one output's weights.
function penalty(rehearsed, row) {
  const matrix = Array.from({ length: row }, (_, i) => new Float64Array(row).fill(SHRINK, i, i + 1));
  for (const x of rehearsed) {
    for (let i = 0; i < row; i++) {
      const factor = (HOLD * x[i]) / rehearsed.length;
      for (let k = 0; k <= i; k++) matrix[i][k] += factor * x[k];
    }
  }
  return matrix;
}

// Returns Cholesky's L of a symmetric matrix, of which the lower half is read.
function decompose(matrix) {
  const lower = matrix.map((each) => new Float64Array(each.length));
  for (let i = 0; i < matrix.length; i++) {
    for (let k = 0; k <= i; k++) {
      let sum = matrix[i][k];
      for (let j = 0; j < k; j++) sum -= lower[i][j] * lower[k][j];
      lower[i][k] = i === k ? Math.sqrt(sum) : sum / lower[k][k];
    }
  }
  return lower;
}

// Returns L^-1 x.
function solveLower(lower, x) {
  const solved = new Float64Array(x.length);
  for (let i = 0; i < x.length; i++) {
    let sum = x[i];
    for (let k = 0; k < i; k++) sum -= lower[i][k] * solved[k];
    solved[i] = sum / lower[i][i];
  }
  return solved;
}

// Returns L^-T x.
function solveUpper(lower, x) {
  const solved = Float64Array.from(x);
  for (let i = x.length - 1; i >= 0; i--) {
    solved[i] /= lower[i][i];
    for (let k = 0; k < i; k++) solved[k] -= lower[i][k] * solved[i];
  }
  return solved;
}
