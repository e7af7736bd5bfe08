// Activations: `value` of each, and `slope`, its derivative, by the settings of the layer.

export const ACTIVATIONS = {
  ReLU: () => ({ value: (v) => (v > 0 ? v : 0), slope: (v) => (v > 0 ? 1 : 0) }),
  LeakyReLU: ({ negative_slope: low }) => ({ value: (v) => (v > 0 ? v : low * v), slope: (v) => (v > 0 ? 1 : low) }),
  Sigmoid: () => ({ value: sigmoid, slope: (v) => sigmoid(v) * (1 - sigmoid(v)) }),
  Tanh: () => ({ value: Math.tanh, slope: (v) => 1 - Math.tanh(v) ** 2 }),
  ScaledTanh: ({ amplitude, slope }) => ({
    value: (v) => amplitude * Math.tanh(slope * v),
    slope: (v) => amplitude * slope * (1 - Math.tanh(slope * v) ** 2),
  }),
  GELU: ({ approximate }) => (approximate === "tanh" ? geluTanh : gelu),
};

function sigmoid(v) {
  return 1 / (1 + Math.exp(-v));
}

const gelu = {
  value: (v) => 0.5 * v * (1 + erf(v * Math.SQRT1_2)),
  slope: (v) => 0.5 * (1 + erf(v * Math.SQRT1_2)) + (v * Math.exp((-v * v) / 2)) / Math.sqrt(2 * Math.PI),
};

const CUBIC = 0.044715, STEEP = Math.sqrt(2 / Math.PI);

const geluTanh = {
  value: (v) => 0.5 * v * (1 + Math.tanh(STEEP * (v + CUBIC * v ** 3))),
  slope: (v) => {
    const t = Math.tanh(STEEP * (v + CUBIC * v ** 3));
    return 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * STEEP * (1 + 3 * CUBIC * v * v);
  },
};

// The error function, by a series whose terms are all of one sign.
export function erf(v) {
  if (Math.abs(v) > 6) return Math.sign(v);
  let term = v, sum = v;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * v * v) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-v * v) * sum;
}
