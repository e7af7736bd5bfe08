// Colors of a value, positive or negative, in the colors of the page.

// Colors of a value: of 128, zero, and on to 255, the peak, red; down to 1, its negative, blue. On light paper they are
// those of the pictures of a run, matplotlib's RdBu_r; on dark paper zero is dark, and larger is lighter.
const LIGHT = {
  zero: [247, 247, 247],
  above: [[253, 219, 199], [244, 165, 130], [214, 96, 77], [178, 24, 43], [103, 0, 31]],
  below: [[209, 229, 240], [146, 197, 222], [67, 147, 195], [33, 102, 172], [5, 48, 97]],
};
const DARK = {
  zero: [13, 16, 21],
  above: [[84, 16, 30], [152, 30, 43], [214, 75, 62], [246, 146, 112], [255, 219, 199]],
  below: [[13, 42, 82], [25, 80, 142], [52, 131, 194], [122, 188, 226], [209, 229, 240]],
};

function mixColors({ zero, above, below }) {
  return new Uint32Array(256).map((_, value) => {
    const stops = [zero, ...(value >= 128 ? above : below)], last = stops.length - 1;
    const at = Math.min(Math.abs(value - 128) / 127, 1) * last, from = Math.min(Math.floor(at), last - 1);
    const mixed = stops[from].map((low, i) => low + (at - from) * (stops[from + 1][i] - low));
    return new Uint32Array(new Uint8ClampedArray([...mixed, 255]).buffer)[0];
  });
}

const PALETTES = { light: mixColors(LIGHT), dark: mixColors(DARK) };

export function chooseColors() {
  const { theme } = document.documentElement.dataset;
  const dark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  return PALETTES[dark ? "dark" : "light"];
}
