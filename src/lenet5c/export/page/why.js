// Explanations of predictions, as in lenet5c.recognition.why.

import { resizeBack } from "./resampling.js";

// Returns the gradient of a class's logit with respect to each pixel of the image, since the last `forward`, summed over the channels: (h, w),
// the change of the logit per gray level.
export function saliency(net, label) {
  const { image: [channels, h, w], input: [, height, width], margins, scale } = net.model;
  const gradient = net.gradient(label), sums = new Float64Array(height * width), map = new Float32Array(h * w);
  for (let i = 0; i < gradient.length; i++) sums[i % sums.length] += gradient[i] * scale;
  if (!margins) return Float32Array.from(resizeBack(sums, [height, width], [h, w]));
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) map[y * w + x] = sums[(y + margins[0]) * width + x + margins[1]];
  }
  return map;
}

export const PATCH = 5; // pixels of a side

// Returns the decrease of the logit of a class when a patch of the background, one level for each channel, covers the
// neighborhood of each pixel of an image: (h, w). Yields if `pause()` returns true, and skips the background.
export function* occlusion(net, image, label, ground, pause) {
  const [channels, h, w] = net.model.image, plane = h * w, reach = Math.floor(PATCH / 2);
  const map = new Float32Array(plane), full = net.logits(image)[label], covered = Uint8Array.from(image);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const changed = [];
      for (let i = Math.max(0, y - reach); i <= Math.min(h - 1, y + reach); i++) {
        for (let j = Math.max(0, x - reach); j <= Math.min(w - 1, x + reach); j++) {
          for (let c = 0; c < channels; c++) {
            const at = c * plane + i * w + j;
            if (image[at] === ground[c]) continue;
            covered[at] = ground[c];
            changed.push(at);
          }
        }
      }
      if (changed.length === 0) continue;
      map[y * w + x] = full - net.logits(covered)[label];
      for (const at of changed) covered[at] = image[at];
      if (pause()) yield;
    }
  }
  return map;
}
