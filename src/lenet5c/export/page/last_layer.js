// Fine-tuning of the last layer alone: softmax regression on the values before it.

import { softmax } from "./net.js";

const STEPS = 60;
const HOLD = 1e-3; // weight of the squared distance from the weights as they were

// Whether the net ends in a linear layer, which alone can be fine-tuned here.
export const canTune = (net) => net.layers.at(-1).kind === "Linear" && !net.model.negated;

// Returns the input of the last layer for an image.
export function features(net, image) {
  net.logits(image);
  return Float32Array.from(net.layers.at(-1).x);
}

// Changes the weights of the net's last layer, in place, so that it classifies examples of {features, target, share}: target
// is a probability for each class, share the weight of the example. `start` has the weight and bias to begin from.
export function tuneLastLayer(net, start, examples) {
  const layer = net.layers.at(-1), outputs = layer.bias.length, inputs = layer.weight.length / outputs, row = inputs + 1;
  const total = examples.reduce((sum, { share }) => sum + share, 0);
  // Weights and biases as one matrix, the bias as the weight of a constant.
  const first = new Float64Array(outputs * row);
  for (let o = 0; o < outputs; o++) {
    first.set(start.weight.subarray(o * inputs, (o + 1) * inputs), o * row);
    first[o * row + inputs] = start.bias[o];
  }
  const rows = examples.map(({ features: values }) => Float64Array.of(...values, 1));
  const rate = 1 / (HOLD + 0.5 * largestCurvature(rows, examples.map(({ share }) => share / total)));
  let now = Float64Array.from(first), ahead = Float64Array.from(first), momentum = 1;
  for (let step = 0; step < STEPS; step++) {
    const gradient = ahead.map((value, i) => HOLD * (value - first[i]));
    examples.forEach(({ target, share }, n) => {
      const x = rows[n], scores = [];
      for (let o = 0; o < outputs; o++) {
        let sum = 0;
        for (let i = 0; i < row; i++) sum += ahead[o * row + i] * x[i];
        scores.push(sum);
      }
      const probabilities = softmax(scores);
      for (let o = 0; o < outputs; o++) {
        const error = ((probabilities[o] - target[o]) * share) / total;
        for (let i = 0; i < row; i++) gradient[o * row + i] += error * x[i];
      }
    });
    // Nesterov's accelerated gradient.
    const next = ahead.map((value, i) => value - rate * gradient[i]), after = (1 + Math.sqrt(1 + 4 * momentum ** 2)) / 2;
    ahead = next.map((value, i) => value + ((momentum - 1) / after) * (value - now[i]));
    [now, momentum] = [next, after];
  }
  for (let o = 0; o < outputs; o++) {
    layer.weight.set(now.subarray(o * row, o * row + inputs), o * inputs);
    layer.bias[o] = now[o * row + inputs];
  }
}

// Returns the largest eigenvalue of the weighted sum of x x^T, about, from above.
function largestCurvature(rows, shares) {
  let direction = Float64Array.from(rows[0], () => 1), length = 0;
  for (let round = 0; round < 12; round++) {
    const next = new Float64Array(direction.length);
    rows.forEach((x, n) => {
      const along = shares[n] * x.reduce((sum, value, i) => sum + value * direction[i], 0);
      x.forEach((value, i) => { next[i] += along * value; });
    });
    length = Math.hypot(...next);
    direction = next.map((value) => value / (length || 1));
  }
  return 1.1 * length;
}
