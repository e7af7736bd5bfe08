// Images of the training data in the page.

import { decodeBytes } from "./net.js";

// Returns {image, label} of each. They are packed as base64: first the level of most pixels, runs of
// which are stored as that level and their length, at most 255; other levels are stored unchanged.
export function unpackExamples({ packed, labels }, size) {
  const bytes = decodeBytes(packed), pixels = new Uint8Array(labels.length * size);
  for (let i = 1, at = 0; i < bytes.length; i++) {
    if (bytes[i] !== bytes[0]) {
      pixels[at++] = bytes[i];
    } else {
      const end = at + 1 + bytes[++i];
      pixels.fill(bytes[0], at, end);
      at = end;
    }
  }
  return imagesOf(pixels, labels);
}

// Returns {image, label} of consecutive images.
export function imagesOf(bytes, labels) {
  const size = bytes.length / (labels.length || 1);
  return labels.map((label, n) => ({ image: bytes.subarray(n * size, (n + 1) * size), label }));
}
