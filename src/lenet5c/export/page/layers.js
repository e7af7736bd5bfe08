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

class Conv2d extends Windows {
  // Calls `run(w, x, y, count)` for each row of taps: `count` products of a weight at `w` with
  // values that lie a stride apart from `x` on, for the outputs from `y` on.
  #each(run) {
    const { KH, KW, SH, SW, DH, DW, H, W, OH, OW, top, left, C, O, groups } = this;
    const inputs = C / groups, outputs = O / groups;
    const rows = [...Array(KH).keys()].map((k) => Windows.span(k, OH, SH, DH, top, H));
    const columns = [...Array(KW).keys()].map((k) => Windows.span(k, OW, SW, DW, left, W));
    for (let o = 0, w = 0; o < O; o++) {
      const first = Math.floor(o / outputs) * inputs;
      for (let i = first; i < first + inputs; i++) {
        for (let ky = 0; ky < KH; ky++) {
          for (let kx = 0; kx < KW; kx++, w++) {
            if (this.weight[w] === 0) continue;
            const [from, to] = columns[kx], [start, end] = rows[ky];
            for (let oy = start; oy < end; oy++) {
              const line = (i * H + oy * SH + ky * DH - top) * W;
              run(this.weight[w], line + from * SW + kx * DW - left, (o * OH + oy) * OW + from, to - from);
            }
          }
        }
      }
    }
  }

  forward(x) {
    const { y, bias, SW } = this, plane = this.OH * this.OW;
    for (let o = 0; o < this.O; o++) y.fill(bias[o], o * plane, (o + 1) * plane);
    this.#each((w, from, to, count) => {
      for (let n = 0; n < count; n++) y[to + n] += w * x[from + n * SW];
    });
    return y;
  }

  backward(dy) {
    const { dx, SW } = this;
    dx.fill(0);
    this.#each((w, from, to, count) => {
      for (let n = 0; n < count; n++) dx[from + n * SW] += w * dy[to + n];
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
