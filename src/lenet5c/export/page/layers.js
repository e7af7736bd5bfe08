// Layers of a net for one sample, (C, H, W) as they lie in memory: `forward(x)` saves what `backward(dy)` needs, which
// returns the gradient with respect to x. The arrays of a layer are Float32Array, and so are the values between layers.

import { ACTIVATIONS } from "./activations.js";

export const sizeOf = (shape) => shape.reduce((product, length) => product * length, 1);

class Layer {
  constructor(step) {
    Object.assign(this, step);
    this.y = new Float32Array(sizeOf(step.result));
    this.dx = new Float32Array(sizeOf(step.shape));
  }
}

class Flatten extends Layer {
  forward(x) {
    return x;
  }

  backward(dy) {
    return dy;
  }
}

class Activation extends Layer {
  constructor(step) {
    super(step);
    Object.assign(this, ACTIVATIONS[step.kind](step.settings));
  }

  forward(x) {
    this.x = x;
    for (let i = 0; i < x.length; i++) this.y[i] = this.value(x[i]);
    return this.y;
  }

  backward(dy) {
    for (let i = 0; i < dy.length; i++) this.dx[i] = dy[i] * this.slope(this.x[i]);
    return this.dx;
  }
}

// y[o] = bias[o] + sum over i of weight[o, i] * x[i]
class Linear extends Layer {
  forward(x) {
    this.x = x;
    const { weight, bias, y } = this, count = x.length;
    for (let o = 0, w = 0; o < y.length; o++) {
      let sum = bias[o];
      for (let i = 0; i < count; i++) sum += weight[w++] * x[i];
      y[o] = sum;
    }
    return y;
  }

  backward(dy) {
    const { weight, dx } = this, count = dx.length;
    dx.fill(0);
    for (let o = 0, w = 0; o < dy.length; o++, w += count) {
      for (let i = 0; i < count; i++) dx[i] += weight[w + i] * dy[o];
    }
    return dx;
  }
}

// y[k] = sum over i of (x[i] - codes[k, i]) ** 2
class RBF extends Layer {
  forward(x) {
    this.x = x;
    const { codes, y } = this, count = x.length;
    for (let k = 0; k < y.length; k++) {
      let sum = 0;
      for (let i = 0; i < count; i++) sum += (x[i] - codes[k * count + i]) ** 2;
      y[k] = sum;
    }
    return y;
  }

  backward(dy) {
    const { codes, dx, x } = this, count = x.length;
    for (let i = 0; i < count; i++) {
      let sum = 0;
      for (let k = 0; k < dy.length; k++) sum += 2 * (x[i] - codes[k * count + i]) * dy[k];
      dx[i] = sum;
    }
    return dx;
  }
}

class BatchNorm extends Layer {
  constructor(step) {
    super(step);
    const { weight, bias, running_mean: mean, running_var: variance } = step;
    this.scale = Float64Array.from(weight, (value, c) => value / Math.sqrt(variance[c] + step.settings.eps));
    this.shift = Float64Array.from(bias, (value, c) => value - mean[c] * this.scale[c]);
    this.plane = this.y.length / weight.length;
  }

  forward(x) {
    for (let i = 0; i < x.length; i++) {
      const c = Math.floor(i / this.plane);
      this.y[i] = x[i] * this.scale[c] + this.shift[c];
    }
    return this.y;
  }

  backward(dy) {
    for (let i = 0; i < dy.length; i++) this.dx[i] = dy[i] * this.scale[Math.floor(i / this.plane)];
    return this.dx;
  }
}

// Windows over maps: tap k of window o is at place o * stride + k * dilation - before.
class Windows extends Layer {
  constructor(step) {
    super(step);
    const { kernel, stride, pads, dilation } = step;
    [this.KH, this.KW] = kernel;
    [this.SH, this.SW] = stride;
    [this.DH, this.DW] = dilation;
    [[this.top, this.bottom], [this.left, this.right]] = pads;
    [this.C, this.H, this.W] = step.shape;
    [this.O, this.OH, this.OW] = step.result;
  }

  // Returns the first window whose tap `k` lies in a side of `length`, and the one past the last.
  static span(k, count, stride, dilation, before, length) {
    const first = Math.max(0, Math.ceil((before - k * dilation) / stride));
    return [first, Math.max(first, Math.min(count, Math.ceil((length + before - k * dilation) / stride)))];
  }
}

// A product of the filters and a column matrix, whose row (i, ky, kx) has the values under that tap for all outputs.
class Conv2d extends Windows {
  constructor(step) {
    super(step);
    this.columns = new Float32Array((this.C * this.KH * this.KW) * this.OH * this.OW);
  }

  // Calls `run(from, to, count)` for each row of outputs under a tap that lies in the map: values from `from` on, a stride apart,
  // are at `to` in the column matrix.
  #each(run) {
    const { KH, KW, SH, SW, DH, DW, H, W, OH, OW, top, left, C } = this;
    const rows = [...Array(KH).keys()].map((k) => Windows.span(k, OH, SH, DH, top, H));
    const columns = [...Array(KW).keys()].map((k) => Windows.span(k, OW, SW, DW, left, W));
    for (let i = 0, row = 0; i < C; i++) {
      for (let ky = 0; ky < KH; ky++) {
        for (let kx = 0; kx < KW; kx++, row++) {
          const [from, to] = columns[kx], [start, end] = rows[ky];
          for (let oy = start; oy < end; oy++) {
            run((i * H + oy * SH + ky * DH - top) * W + from * SW + kx * DW - left, (row * OH + oy) * OW + from, to - from);
          }
        }
      }
    }
  }

  forward(x) {
    const { y, bias, weight, columns, SW, O, C, groups } = this, plane = this.OH * this.OW;
    this.#each((from, to, count) => {
      for (let n = 0; n < count; n++) columns[to + n] = x[from + n * SW];
    });
    const taps = (C / groups) * this.KH * this.KW;
    for (let o = 0, w = 0; o < O; o++) {
      const first = o * plane, last = first + plane;
      let at = Math.floor((o * groups) / O) * taps * plane - first, k = 0;
      y.fill(bias[o], first, last);
      // Four taps at a time, which is faster than one.
      for (; k + 3 < taps; k += 4, w += 4, at += 4 * plane) {
        const a = weight[w], b = weight[w + 1], c = weight[w + 2], d = weight[w + 3];
        const second = at + plane, third = second + plane, fourth = third + plane;
        for (let n = first; n < last; n++) {
          y[n] += a * columns[at + n] + b * columns[second + n] + c * columns[third + n] + d * columns[fourth + n];
        }
      }
      for (; k < taps; k++, w++, at += plane) {
        for (let n = first; n < last; n++) y[n] += weight[w] * columns[at + n];
      }
    }
    return y;
  }

  backward(dy) {
    const { dx, weight, SW, O, C, groups } = this, plane = this.OH * this.OW;
    const taps = (C / groups) * this.KH * this.KW, slopes = new Float32Array(this.columns.length);
    for (let o = 0, w = 0; o < O; o++) {
      let at = Math.floor((o * groups) / O) * taps * plane;
      for (let k = 0; k < taps; k++, w++) {
        const factor = weight[w];
        for (let n = o * plane; n < (o + 1) * plane; n++) slopes[at++] += factor * dy[n];
      }
    }
    dx.fill(0);
    this.#each((from, to, count) => {
      for (let n = 0; n < count; n++) dx[from + n * SW] += slopes[to + n];
    });
    return dx;
  }
}

class Pool extends Windows {
  // Calls `run(o, map, taps)` for each window with the places of its taps within the map, and how
  // many there would be with the padding.
  each(run) {
    const { KH, KW, SH, SW, DH, DW, H, W, OH, OW, top, bottom, left, right } = this, taps = [];
    for (let c = 0, o = 0; c < this.O; c++) {
      for (let oy = 0; oy < OH; oy++) {
        for (let ox = 0; ox < OW; ox++, o++) {
          let padded = 0;
          taps.length = 0;
          for (let ky = 0; ky < KH; ky++) {
            const y = oy * SH + ky * DH - top;
            if (y >= H + bottom) break;
            for (let kx = 0; kx < KW; kx++) {
              const x = ox * SW + kx * DW - left;
              if (x >= W + right) break;
              padded++;
              if (y >= 0 && y < H && x >= 0 && x < W) taps.push((c * H + y) * W + x);
            }
          }
          run(o, c, taps, padded);
        }
      }
    }
  }
}

class MaxPool2d extends Pool {
  #largest = new Int32Array(this.y.length); // the place of each window's first maximum

  forward(x) {
    this.each((o, _, taps) => {
      let best = taps[0];
      for (const i of taps) if (x[i] > x[best]) best = i;
      this.#largest[o] = best;
      this.y[o] = x[best];
    });
    return this.y;
  }

  backward(dy) {
    this.dx.fill(0);
    for (let o = 0; o < dy.length; o++) this.dx[this.#largest[o]] += dy[o];
    return this.dx;
  }
}

// The sum of each window times a factor, plus a summand.
class SumPool extends Pool {
  forward(x) {
    this.each((o, c, taps, padded) => {
      let sum = 0;
      for (const i of taps) sum += x[i];
      this.y[o] = sum * this.factor(c, taps.length, padded) + this.summand(c);
    });
    return this.y;
  }

  backward(dy) {
    this.dx.fill(0);
    this.each((o, c, taps, padded) => {
      const share = dy[o] * this.factor(c, taps.length, padded);
      for (const i of taps) this.dx[i] += share;
    });
    return this.dx;
  }
}

class AvgPool2d extends SumPool {
  factor(_, inside, padded) {
    return 1 / (this.settings.count_include_pad ? padded : inside);
  }

  summand() {
    return 0;
  }
}

class Subsample2d extends SumPool {
  factor(c) {
    return this.weight[c];
  }

  summand(c) {
    return this.bias[c];
  }
}

// layers(x) + shortcut(x); without a shortcut of its own, x itself.
class Residual extends Layer {
  constructor(step) {
    super(step);
    this.branches = step.branches.map((steps) => steps.map(makeLayer));
  }

  forward(x) {
    const [a, b] = this.branches.map((layers) => runForward(layers, x));
    for (let i = 0; i < a.length; i++) this.y[i] = a[i] + b[i];
    return this.y;
  }

  backward(dy) {
    const [a, b] = this.branches.map((layers) => runBackward(layers, dy));
    for (let i = 0; i < a.length; i++) this.dx[i] = a[i] + b[i];
    return this.dx;
  }
}

const LAYERS = { Flatten, Linear, RBF, BatchNorm, Conv2d, MaxPool2d, AvgPool2d, Subsample2d, Residual };

export function makeLayer(step) {
  return new (LAYERS[step.kind] ?? Activation)(step);
}

export function runForward(layers, x) {
  return layers.reduce((values, layer) => layer.forward(values), x);
}

export function runBackward(layers, dy) {
  return layers.reduceRight((gradient, layer) => layer.backward(gradient), dy);
}
