// Layers of a net for one sample, (C, H, W) in memory: `forward(x)` saves the values for `backward(dy)`, which
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
      let sum = bias[o], i = 0;
      // Four independent sums, to hide latency.
      for (; i + 3 < count; i += 4, w += 4) {
        sum += weight[w] * x[i] + weight[w + 1] * x[i + 1] + weight[w + 2] * x[i + 2] + weight[w + 3] * x[i + 3];
      }
      for (; i < count; i++) sum += weight[w++] * x[i];
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
    for (let c = 0, i = 0; c < this.scale.length; c++) {
      const scale = this.scale[c], shift = this.shift[c];
      for (let n = 0; n < this.plane; n++, i++) this.y[i] = x[i] * scale + shift;
    }
    return this.y;
  }

  backward(dy) {
    for (let c = 0, i = 0; c < this.scale.length; c++) {
      for (let n = 0; n < this.plane; n++, i++) this.dx[i] = dy[i] * this.scale[c];
    }
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
    // 64-bit numbers like the sums, to avoid conversions.
    this.columns = new Float64Array(this.C * this.KH * this.KW * this.OH * this.OW);
    this.sums = new Float64Array(2 * this.OH * this.OW);
    this.taps = (this.C / step.groups) * this.KH * this.KW;
  }

  // Returns the first row of the column matrix that an output reads.
  #firstRow(o) {
    return Math.floor((o * this.groups) / this.O) * this.taps;
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
    const { y, bias, weight, columns, sums, taps, SW, O } = this, plane = this.OH * this.OW;
    this.#each((from, to, count) => {
      for (let n = 0; n < count; n++) columns[to + n] = x[from + n * SW];
    });
    for (let o = 0; o < O; o++) {
      // Two outputs and four taps at a time, so that a value is read once for both.
      const row = this.#firstRow(o), both = o + 1 < O && this.#firstRow(o + 1) === row;
      const w = o * taps, v = both ? w + taps : w;
      sums.fill(bias[o], 0, plane).fill(both ? bias[o + 1] : 0, plane);
      let at = row * plane, k = 0;
      for (; k + 3 < taps; k += 4, at += 4 * plane) {
        addRows(columns, at, plane, sums, weight[w + k], weight[w + k + 1], weight[w + k + 2], weight[w + k + 3],
          weight[v + k], weight[v + k + 1], weight[v + k + 2], weight[v + k + 3]);
      }
      for (; k < taps; k++, at += plane) {
        const a = weight[w + k], b = weight[v + k];
        for (let n = 0; n < plane; n++) {
          sums[n] += a * columns[at + n];
          sums[plane + n] += b * columns[at + n];
        }
      }
      y.set(both ? sums : sums.subarray(0, plane), o * plane);
      if (both) o++;
    }
    return y;
  }

  backward(dy) {
    const { dx, weight, columns, taps, groups, SW } = this, plane = this.OH * this.OW, outputs = this.O / groups;
    const slopes = (this.slopes ??= new Float64Array(columns.length)).fill(0);
    for (let row = 0; row < groups * taps; row++) {
      const first = Math.floor(row / taps) * outputs, last = first + outputs, at = row * plane;
      let o = first, w = first * taps + (row % taps);
      for (; o + 3 < last; o += 4, w += 4 * taps) {
        addOutputs(slopes, at, plane, dy, o * plane, weight[w], weight[w + taps], weight[w + 2 * taps], weight[w + 3 * taps]);
      }
      for (; o < last; o++, w += taps) {
        for (let n = 0; n < plane; n++) slopes[at + n] += weight[w] * dy[o * plane + n];
      }
    }
    dx.fill(0);
    this.#each((from, to, count) => {
      for (let n = 0; n < count; n++) dx[from + n * SW] += slopes[to + n];
    });
    return dx;
  }
}

// Adds four rows of a column matrix, each times a factor, to the sums of an output, and times another to those of a second one.
function addRows(columns, at, plane, sums, a, b, c, d, e, f, g, h) {
  const second = at + plane, third = second + plane, fourth = third + plane;
  for (let n = 0; n < plane; n++) {
    const p = columns[at + n], q = columns[second + n], r = columns[third + n], s = columns[fourth + n];
    sums[n] += a * p + b * q + c * r + d * s;
    sums[plane + n] += e * p + f * q + g * r + h * s;
  }
}

// Adds the slopes of four outputs, each times a factor, to those of a row.
function addOutputs(slopes, at, plane, dy, first, a, b, c, d) {
  const second = first + plane, third = second + plane, fourth = third + plane;
  for (let n = 0; n < plane; n++) {
    slopes[at + n] += a * dy[first + n] + b * dy[second + n] + c * dy[third + n] + d * dy[fourth + n];
  }
}

// The taps of all windows that lie in the map, one window after another: their places, and where those of each window end.
class Pool extends Windows {
  constructor(step) {
    super(step);
    const { KH, KW, SH, SW, DH, DW, H, W, OH, OW, top, bottom, left, right } = this, taps = [];
    this.ends = new Int32Array(this.y.length);
    this.padded = new Int32Array(this.y.length); // how many there would be with the padding
    for (let c = 0, o = 0; c < this.O; c++) {
      for (let oy = 0; oy < OH; oy++) {
        for (let ox = 0; ox < OW; ox++, o++) {
          for (let ky = 0; ky < KH; ky++) {
            const y = oy * SH + ky * DH - top;
            if (y >= H + bottom) break;
            for (let kx = 0; kx < KW; kx++) {
              const x = ox * SW + kx * DW - left;
              if (x >= W + right) break;
              this.padded[o]++;
              if (y >= 0 && y < H && x >= 0 && x < W) taps.push((c * H + y) * W + x);
            }
          }
          this.ends[o] = taps.length;
        }
      }
    }
    this.taps = Int32Array.from(taps);
  }
}

class MaxPool2d extends Pool {
  #largest = new Int32Array(this.y.length); // the place of each window's first maximum

  forward(x) {
    const { taps, ends } = this;
    for (let o = 0, t = 0; o < ends.length; o++) {
      let best = taps[t];
      for (; t < ends[o]; t++) if (x[taps[t]] > x[best]) best = taps[t];
      this.#largest[o] = best;
      this.y[o] = x[best];
    }
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
  constructor(step) {
    super(step);
    const plane = this.OH * this.OW;
    this.factors = Float64Array.from(this.ends, (end, o) => (
      this.factor(Math.floor(o / plane), end - (o ? this.ends[o - 1] : 0), this.padded[o])));
    this.summands = Float64Array.from(this.ends, (_, o) => this.summand(Math.floor(o / plane)));
  }

  forward(x) {
    const { taps, ends, y, factors, summands } = this;
    for (let o = 0, t = 0; o < ends.length; o++) {
      let sum = 0;
      for (; t < ends[o]; t++) sum += x[taps[t]];
      y[o] = sum * factors[o] + summands[o];
    }
    return y;
  }

  backward(dy) {
    const { taps, ends, dx, factors } = this;
    dx.fill(0);
    for (let o = 0, t = 0; o < ends.length; o++) {
      const share = dy[o] * factors[o];
      for (; t < ends[o]; t++) dx[taps[t]] += share;
    }
    return dx;
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

// layers(x) + shortcut(x); without shortcut layers, x itself.
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
