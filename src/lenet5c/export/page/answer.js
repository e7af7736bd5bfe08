// From a drawing to an answer: the image of the data, the net's input, probabilities, and the values of every layer.

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
    // Whether the images of both have the same form.
    this.usual = signs && ["framing", "image"].every((key) => JSON.stringify(net.model[key]) === JSON.stringify(signs[key]));
    this.inverted = false; // dark ink on light paper, where the data does not say which
  }

  // The form of the images, with the levels of paper and ink.
  get form() {
    const form = this.net.model.framing ?? MNIST;
    return this.inverted ? { ...form, paper: form.ink, ink: form.paper } : form;
  }

  // Levels of the paper, one for each channel.
  get paper() {
    const { paper } = this.form, [channels] = this.net.model.image;
    return Array.from({ length: channels }, (_, c) => paper[paper.length === channels ? c : 0]);
  }

  // Levels of what is no ink in an image, one for each channel: the paper, or the mean where there is none.
  groundOf(image) {
    const { framing, reading, image: [channels, h, w] } = this.net.model;
    if (framing && reading === "ink") return this.paper;
    return Array.from({ length: channels }, (_, c) => {
      const part = image.subarray(c * h * w, (c + 1) * h * w);
      return roundEven(part.reduce((sum, value) => sum + value, 0) / part.length);
    });
  }

  // Returns strokes as an image (C, h, w) of the model's data, where it lies on the drawing, and why it is rejected as a
  // digit, if it is: {image, scale, corner, rejected, seen}; null for no digit.
  prepare(strokes, width = USUAL_WIDTH) {
    const ink = render(strokes, width), [channels, ...size] = this.net.model.image;
    if (!ink.values.some((value) => value > 0)) return null;
    if (this.net.model.reading === "whole") {
      const scale = size.map((length) => SIDE / length);
      return { image: color(resize(ink, ...size), this.form, channels), scale, corner: [0, 0], rejected: null, seen: null };
    }
    // A width that was chosen is left as it is.
    const framed = frame(ink, this.form, size, { normal: width === USUAL_WIDTH, least: ((DOT * width) / GRID) * SIDE });
    if (!framed) return null;
    const usual = this.usual && width === USUAL_WIDTH ? framed : null;
    return { ...framed, image: color(framed.image, this.form, channels), rejected: rejectInk(measure(ink)), seen: this.#seeSigns(ink, usual) };
  }

  // Returns the names and the probabilities of digits and signs for ink, null where these are no digits; `framed` is the ink as
  // MNIST has it, if it is known.
  #seeSigns(ink, framed) {
    const net = this.signs, known = net && (framed ?? frame(ink, MNIST, net.model.image.slice(1)));
    return known && { names: net.classes, probabilities: net.probabilities(net.logits(known.image.values)) };
  }

  // Returns an image of the data as if written with another pen, where that has a meaning.
  rewrite(image, width) {
    if (this.net.model.reading === "whole") return image;
    const invert = (values) => values.map((value) => 255 - value), dark = this.form.ink[0] < this.form.paper[0];
    const written = thicken(dark ? invert(image) : image, this.net.model.image, width);
    return dark ? invert(written) : written;
  }

  // Returns why an answer to what `prepare` returned is rejected, or null.
  reject({ rejected, seen }, { probabilities }) {
    return rejected ?? rejectAnswer({ names: this.net.classes, probabilities }, seen);
  }

  // Returns the answer to an image of the data that is seen through a transform.
  answer(image, transform) {
    const { net } = this, seen = applyTransform(image, net.model.image, transform, this.paper), fitted = net.fit(seen);
    const probabilities = net.probabilities(net.forward(fitted));
    const best = probabilities.indexOf(Math.max(...probabilities));
    return { seen, fitted, probabilities, best, maps: net.maps() };
  }
}
