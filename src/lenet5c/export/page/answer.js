// From a drawing to a prediction: image, net input, probabilities, and the values of every layer.

import { GRID, render, SIDE, USUAL_WIDTH } from "./drawing.js";
import { color, frame, MNIST } from "./ink.js";
import { measure, rejectAnswer, rejectInk } from "./judge.js";
import { Net } from "./net.js";
import { resize, roundEven } from "./resampling.js";
import { applyTransform, thicken } from "./transform.js";

const DOT = 1.5; // a drawing no longer than so many widths of the pen is a dot, and no digit

export class Reader {
  constructor(net) {
    const { signs } = net.model;
    this.net = net;
    this.signs = signs && new Net(signs); // knows what is no digit
    // True if the images of both models have the same framing.
    this.usual = signs && ["framing", "image"].every((key) => JSON.stringify(net.model[key]) === JSON.stringify(signs[key]));
    this.inverted = false; // dark ink on light paper, where the data does not say which
  }

  // The framing of the images, with the levels of paper and ink.
  get form() {
    const form = this.net.model.framing ?? MNIST;
    return this.inverted ? { ...form, paper: form.ink, ink: form.paper } : form;
  }

  // Levels of the paper, one for each channel.
  get paper() {
    const { paper } = this.form, [channels] = this.net.model.image;
    return Array.from({ length: channels }, (_, c) => paper[paper.length === channels ? c : 0]);
  }

  // Background levels of an image, one for each channel: the paper, or the mean if there is none.
  groundOf(image) {
    const { framing, reading, image: [channels, h, w] } = this.net.model;
    if (framing && reading === "ink") return this.paper;
    return Array.from({ length: channels }, (_, c) => {
      const part = image.subarray(c * h * w, (c + 1) * h * w);
      return roundEven(part.reduce((sum, value) => sum + value, 0) / part.length);
    });
  }

  // Returns strokes as an image (C, h, w) for the model, its position on the drawing, and the reason for a rejection, if any:
  // {image, scale, corner, rejected, seen}; null if there is no ink.
  prepare(strokes, width = USUAL_WIDTH) {
    const ink = render(strokes, width), [channels, ...size] = this.net.model.image;
    if (!ink.values.some((value) => value > 0)) return null;
    if (this.net.model.reading === "whole") {
      const scale = size.map((length) => SIDE / length);
      return { image: color(resize(ink, ...size), this.form, channels), scale, corner: [0, 0], rejected: null, seen: null };
    }
    // A selected width is not changed.
    const framed = frame(ink, this.form, size, { normal: width === USUAL_WIDTH, least: ((DOT * width) / GRID) * SIDE });
    if (!framed) return null;
    const usual = this.usual && width === USUAL_WIDTH ? framed : null;
    return { ...framed, image: color(framed.image, this.form, channels), rejected: rejectInk(measure(ink)), seen: this.#seeSigns(ink, usual) };
  }

  // Returns the names and probabilities of digits and signs for ink, null for models of other classes; `framed` is the ink in
  // MNIST's format, if known.
  #seeSigns(ink, framed) {
    const net = this.signs, known = net && (framed ?? frame(ink, MNIST, net.model.image.slice(1)));
    return known && { names: net.classes, probabilities: net.probabilities(net.logits(known.image.values)) };
  }

  // Returns an image as if written with another pen, if applicable.
  rewrite(image, width) {
    if (this.net.model.reading === "whole") return image;
    const invert = (values) => values.map((value) => 255 - value), dark = this.form.ink[0] < this.form.paper[0];
    const written = thicken(dark ? invert(image) : image, this.net.model.image, width);
    return dark ? invert(written) : written;
  }

  // Returns the reason to reject the prediction for a result of `prepare`, or null.
  reject({ rejected, seen }, { probabilities }) {
    return rejected ?? rejectAnswer({ names: this.net.classes, probabilities }, seen);
  }

  // Returns the prediction for a transformed image.
  answer(image, transform) {
    const { net } = this, seen = applyTransform(image, net.model.image, transform, this.paper), fitted = net.fit(seen);
    const probabilities = net.probabilities(net.forward(fitted));
    const best = probabilities.indexOf(Math.max(...probabilities));
    return { seen, fitted, probabilities, best, maps: net.maps() };
  }
}
