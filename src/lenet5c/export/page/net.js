// A trained model: logits and the values of every layer for an image, and gradients with respect to its pixels.

import { makeLayer, runBackward, runForward, sizeOf } from "./layers.js";
import { Plane, resize } from "./resampling.js";

export const decodeBytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// Returns the numbers of text in base64: little-endian float32.
export function decodeFloats(text) {
  const bytes = decodeBytes(text);
  const view = new DataView(bytes.buffer), floats = new Float32Array(bytes.length / 4);
  for (let i = 0; i < floats.length; i++) floats[i] = view.getFloat32(4 * i, true);
  return floats;
}

// Returns the numbers of arrays of which some are int8, with a scale for each output.
function decodeQuantized({ layout, bytes, floats }) {
  const small = new Int8Array(decodeBytes(bytes).buffer), numbers = decodeFloats(floats);
  const values = new Float32Array(layout.reduce((sum, [size]) => sum + size, 0));
  let at = 0, byte = 0, number = 0;
  for (const [size, outputs] of layout) {
    for (let i = 0; i < size; i++) {
      values[at++] = outputs ? small[byte++] * numbers[number + Math.floor((i * outputs) / size)] : numbers[number++];
    }
    number += outputs;
  }
  return values;
}

export function encodeFloats(floats) {
  const bytes = new Uint8Array(4 * floats.length), view = new DataView(bytes.buffer);
  floats.forEach((value, i) => view.setFloat32(4 * i, value, true));
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x6000) text += btoa(String.fromCharCode(...bytes.subarray(i, i + 0x6000)));
  return text;
}

export function softmax(scores, temperature = 1) {
  const most = Math.max(...scores), powers = Float64Array.from(scores, (value) => Math.exp((value - most) / temperature));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}

export class Net {
  // `model` is what lenet5c.export writes: settings, steps, and all arrays of the steps one after another.
  constructor(model, weights = model.quantized ? decodeQuantized(model.quantized) : decodeFloats(model.weights)) {
    Object.assign(this, { model, classes: model.classes });
    this.useWeights(weights);
    this.inputSize = sizeOf(model.input);
    this.prepared = new Float32Array(this.inputSize);
  }

  // Replaces the weights; the steps stay the same.
  useWeights(weights) {
    this.weights = weights;
    const withArrays = (step) => {
      const arrays = Object.entries(step.arrays ?? {}).map(([name, [at, size]]) => [name, weights.subarray(at, at + size)]);
      return { ...step, ...Object.fromEntries(arrays), branches: step.branches?.map((steps) => steps.map(withArrays)) };
    };
    this.offset = withArrays(this.model.offset).values;
    this.layers = this.model.steps.map((step) => makeLayer(withArrays(step)));
  }

  // Fits an image (C, h, w) to the size of the input: uint8 (C, H, W).
  fit(image) {
    const { image: [channels, h, w], input: [, height, width], margins } = this.model, fitted = new Uint8Array(this.inputSize);
    for (let c = 0; c < channels; c++) {
      const part = new Plane(h, w, image.subarray(c * h * w, (c + 1) * h * w)), whole = new Plane(height, width);
      if (margins) whole.paste(part, margins[0], margins[1]);
      fitted.set((margins ? whole : resize(part, height, width)).values, c * height * width);
    }
    return fitted;
  }

  // Returns the logits of a fitted image, and stores it in `forwarded`.
  forward(fitted) {
    this.forwarded = fitted;
    const { prepared, offset } = this, { scale, negated } = this.model, uniform = offset.length === 1;
    for (let i = 0; i < fitted.length; i++) prepared[i] = Math.fround(fitted[i] * scale) + offset[uniform ? 0 : i];
    const outputs = runForward(this.layers, prepared);
    return negated ? outputs.map((value) => -value) : Float32Array.from(outputs);
  }

  logits(image) {
    return this.forward(this.fit(image));
  }

  probabilities(logits) {
    return softmax(logits, this.model.temperature);
  }

  // Returns the values at the end of each stage since the last `forward`, copied.
  maps() {
    const values = [this.prepared, ...this.layers.map((layer) => (layer.kind === "Flatten" ? null : layer.y))];
    return this.model.stages.map(({ last }) => {
      let at = last + 1;
      while (values[at] === null) at--;
      return values[at].slice();
    });
  }

  // Returns the gradient of the logit of a class with respect to the input (C, H, W), since the last `forward`.
  gradient(label) {
    const dy = new Float32Array(this.classes.length);
    dy[label] = this.model.negated ? -1 : 1;
    return Float32Array.from(runBackward(this.layers, dy));
  }
}
