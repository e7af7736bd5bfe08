// Images of the training data that the page has with it.

import { decodeBytes } from "./net.js";

// Returns {image, label} of each. They are packed as base64: first the level of most pixels, of which runs are written as that
// level and how many follow it, 255 at most; other levels stand as they are.
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

// Returns {image, label} of images that lie one after another.
export function imagesOf(bytes, labels) {
  const size = bytes.length / (labels.length || 1);
  return labels.map((label, n) => ({ image: bytes.subarray(n * size, (n + 1) * size), label }));
}
