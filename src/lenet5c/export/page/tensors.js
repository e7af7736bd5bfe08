// A file of the format safetensors: the length of a header, the header as JSON, and the arrays.

export function writeTensors(arrays) {
  let at = 0;
  const header = Object.fromEntries(arrays.map(({ name, shape, values }) => {
    const start = at;
    return [name, { dtype: "F32", shape, data_offsets: [start, (at += 4 * values.length)] }];
  }));
  const text = new TextEncoder().encode(JSON.stringify(header)), padding = -text.length & 7;
  const length = text.length + padding, content = new Uint8Array(8 + length + at).fill(32, 8, 8 + length);
  const view = new DataView(content.buffer);
  view.setBigUint64(0, BigInt(length), true);
  content.set(text, 8);
  let place = 8 + length;
  for (const { values } of arrays) {
    for (const value of values) {
      view.setFloat32(place, value, true);
      place += 4;
    }
  }
  return content;
}
