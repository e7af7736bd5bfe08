// Why the net answers so: for each pixel of the input, how much it speaks for the class or against it.

// Returns the gradient of a class's logit with respect to the input, summed over the channels: (H, W).
export function saliency(net, label) {
  const [channels, height, width] = net.model.input, gradient = net.gradient(label), map = new Float32Array(height * width);
  for (let c = 0, i = 0; c < channels; c++) {
    for (let at = 0; at < map.length; at++, i++) map[at] += gradient[i];
  }
  return map;
}

export const PATCH = 5; // pixels of a side

// Returns how much the logit of a class falls when a patch of paper hides what is around each pixel of a fitted image: (H, W).
// It yields whenever `pause()` says that others have waited long enough, and looks only where there is ink.
export function* occlusion(net, fitted, label, paper, pause) {
  const [channels, height, width] = net.model.input, plane = height * width, reach = Math.floor(PATCH / 2);
  const map = new Float32Array(plane), full = net.forward(fitted)[label], hidden = Uint8Array.from(fitted);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const changed = [];
      for (let i = Math.max(0, y - reach); i <= Math.min(height - 1, y + reach); i++) {
        for (let j = Math.max(0, x - reach); j <= Math.min(width - 1, x + reach); j++) {
          for (let c = 0; c < channels; c++) {
            const at = c * plane + i * width + j;
            if (fitted[at] === paper[c]) continue;
            hidden[at] = paper[c];
            changed.push(at);
          }
        }
      }
      if (changed.length === 0) continue;
      map[y * width + x] = full - net.forward(hidden)[label];
      for (const at of changed) hidden[at] = fitted[at];
      if (pause()) yield;
    }
  }
  return map;
}
