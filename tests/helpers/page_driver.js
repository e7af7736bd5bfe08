// Has the modules of a page compute without a browser: a job as JSON on the standard input, results on the output.

import { Reader } from "./answer.js";
import { unpackExamples } from "./examples.js";
import { measure, rejectInk } from "./judge.js";
import { canTune, features, tuneLastLayer } from "./last_layer.js";
import { sizeOf } from "./layers.js";
import { Net } from "./net.js";
import { render } from "./drawing.js";
import { frame, MNIST } from "./ink.js";
import { Plane } from "./resampling.js";
import { applyTransform, thicken } from "./transform.js";
import { occlusion, saliency } from "./why.js";

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const textOf = (values) => Buffer.from(values.buffer ? new Uint8Array(values.buffer, values.byteOffset, values.byteLength) : values).toString("base64");

const decodeFloats32 = (text, single) => new single(bytesOf(text).buffer);

const WORK = {
  // Logits of prepared float32 inputs or of images, one after another.
  logits({ model, images, inputs }) {
    const net = new Net(model), found = [];
    if (inputs) {
      const values = new Float32Array(bytesOf(inputs).buffer), size = net.inputSize;
      for (let at = 0; at < values.length; at += size) {
        net.offset = values.subarray(at, at + size);
        found.push(...net.forward(new Uint8Array(size)));
      }
    } else {
      const values = bytesOf(images), size = sizeOf(model.image);
      for (let at = 0; at < values.length; at += size) found.push(...net.logits(values.subarray(at, at + size)));
    }
    return { logits: textOf(Float32Array.from(found)) };
  },
  ink: ({ strokes, width }) => ({ ink: textOf(render(strokes, width).values) }),
  prepare({ model, strokes, width }) {
    const placed = new Reader(new Net(model)).prepare(strokes, width);
    return placed && { ...placed, image: textOf(placed.image) };
  },
  reject({ model, drawings }) {
    const reader = new Reader(new Net(model));
    return drawings.map((strokes) => {
      const placed = reader.prepare(strokes);
      return placed && reader.reject(placed, reader.answer(placed.image, { shift_x: 0, shift_y: 0, rotation: 0, scale: 1, noise: 0 }));
    });
  },
  frame({ planes, form, size, normal }) {
    return planes.map(({ shape, values }) => {
      const ink = new Plane(...shape, bytesOf(values)), placed = frame(ink, form ?? MNIST, size, { normal });
      return placed && { image: textOf(placed.image.values), measures: measure(ink), rejected: rejectInk(measure(ink)) };
    });
  },
  transform: ({ image, shape, transform, paper, width }) => ({
    image: textOf(width ? thicken(bytesOf(image), shape, width) : applyTransform(bytesOf(image), shape, transform, paper)),
  }),
  why({ model, image, label }) {
    const reader = new Reader(new Net(model)), { net } = reader, own = bytesOf(image);
    net.logits(own);
    const gradient = saliency(net, label), steps = occlusion(net, own, label, reader.groundOf(own), () => false);
    return { gradient: [...gradient], occlusion: [...steps.next().value] };
  },
  // The slope of a logit along a direction, by the gradient and by differences: in float64, for which the arrays of the layers
  // are made anew.
  slope({ model, inputs, label }) {
    const single = globalThis.Float32Array, x = Float64Array.from(new single(bytesOf(inputs).buffer)), zero = new Uint8Array(x.length);
    globalThis.Float32Array = Float64Array;
    const direction = x.map((_, i) => Math.sin(1 + 7 * i)), step = 1e-6;
    try {
      const net = new Net({ ...model, weights: "" }, Float64Array.from(decodeFloats32(model.weights, single)));
      const at = (distance) => {
        net.offset = x.map((value, i) => value + distance * direction[i]);
        return net.forward(zero)[label];
      };
      const difference = (at(step) - at(-step)) / (2 * step);
      at(0);
      return { difference, gradient: net.gradient(label).reduce((sum, value, i) => sum + value * direction[i], 0) };
    } finally {
      globalThis.Float32Array = single;
    }
  },
  tune({ model, images, labels }) {
    const net = new Net(model), size = sizeOf(model.image), layer = net.layers.at(-1);
    if (!canTune(net)) return null;
    const start = { weight: layer.weight.slice(), bias: layer.bias.slice() }, own = bytesOf(images);
    const samples = labels.map((label, n) => ({ features: features(net, own.subarray(n * size, (n + 1) * size)), label }));
    const rehearsed = unpackExamples(model.examples, size).map(({ image }) => features(net, image));
    tuneLastLayer(net, start, samples, rehearsed);
    return { weight: textOf(layer.weight), bias: textOf(layer.bias) };
  },
  examples: ({ model }) => unpackExamples(model.examples, sizeOf(model.image)).map(({ image, label }) => ({ image: textOf(image), label })),
};

let text = "";
process.stdin.setEncoding("utf8");
for await (const part of process.stdin) text += part;
const results = JSON.parse(text).map(({ work, ...job }) => WORK[work](job));
process.stdout.write(JSON.stringify(results));
