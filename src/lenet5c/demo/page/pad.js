// The drawing area: strokes as vectors, by pointer or by keys.

const STEP = 1 / 28, SMALL_STEP = 1 / 112, LEAST = 1 / 250;
const KEYS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  Home: [-1, -1], PageUp: [1, -1], End: [-1, 1], PageDown: [1, 1],
};

export class Pad {
  // `changed(time)` is called with the time of the event whenever the drawing is another; `told(text)` for the eyes
  // and ears of those who draw by keys.
  constructor(canvas, changed, told) {
    Object.assign(this, { canvas, changed, told, strokes: [], picture: null, fresh: false, width: 2.4, pointer: null });
    this.cursor = { x: 0.5, y: 0.25, down: false, shown: false, held: new Set() };
    this.context = canvas.getContext("2d");
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    // Raw updates come at once, moves with the next frame; where there are both, moves repeat what is known.
    const moves = "onpointerrawupdate" in window ? "pointerrawupdate" : "pointermove";
    canvas.addEventListener(moves, (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => this.#up(event));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("keyup", (event) => this.cursor.held.delete(event.key));
    canvas.addEventListener("focus", () => this.#showCursor(canvas.matches(":focus-visible")));
    canvas.addEventListener("blur", () => this.#showCursor(false));
    new ResizeObserver(() => this.#fit()).observe(canvas);
  }

  get empty() {
    return this.strokes.length === 0;
  }

  // A list for each stroke: x, y and thickness, again and again.
  get vectors() {
    return this.strokes;
  }

  clear(time = performance.now()) {
    this.#wipe();
    this.paint();
    this.changed(time);
  }

  #wipe() {
    Object.assign(this, { strokes: [], picture: null, fresh: false, pointer: null });
    this.cursor.down = false;
  }

  undo(time = performance.now()) {
    if (this.picture) {
      this.clear(time);
      return;
    }
    this.strokes.pop();
    Object.assign(this, { fresh: false, pointer: null });
    this.cursor.down = false;
    this.paint();
    this.changed(time);
  }

  // Show an image of the data instead of strokes: {bytes, channels, height, width}.
  show(picture) {
    this.#wipe();
    this.picture = picture;
    this.paint();
  }

  setWidth(width) {
    this.width = width;
    this.paint();
  }

  #fit() {
    const side = Math.round(this.canvas.clientWidth * Math.min(window.devicePixelRatio || 1, 3));
    if (side > 0 && side !== this.canvas.width) this.canvas.width = this.canvas.height = side;
    this.paint();
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    const digits = (value) => Math.round(value * 1e4) / 1e4;
    // Of a pen alone pressure means something; a mouse has 0.5 throughout, fingers what they like.
    const thickness = event.pointerType === "pen" && event.pressure > 0 ? 0.5 + event.pressure : 1;
    return [
      digits((event.clientX - box.left) / box.width), digits((event.clientY - box.top) / box.height), digits(thickness),
    ];
  }

  #down(event) {
    // One pointer at a time: the palm beside the pen does not draw.
    if (this.pointer !== null || event.button !== 0) return;
    this.#showCursor(false);
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.#begin(this.#place(event));
    this.changed(event.timeStamp);
  }

  #move(event) {
    if (event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.#extend(this.#place(each));
    this.changed(event.timeStamp);
  }

  #up(event) {
    if (event.pointerId === this.pointer) this.pointer = null;
  }

  #begin(point) {
    if (this.picture || this.fresh) {
      this.strokes = this.fresh ? [] : this.strokes;
      this.picture = null;
      this.fresh = false;
      this.paint();
    }
    this.cursor.down = false;
    this.strokes.push([...point]);
    this.#segment(this.strokes.at(-1), 0);
  }

  #extend(point) {
    const stroke = this.strokes.at(-1);
    const [x, y] = stroke.slice(-3);
    if (Math.hypot(point[0] - x, point[1] - y) < LEAST) return;
    stroke.push(...point);
    this.#segment(stroke, stroke.length - 3);
  }

  // Paint what leads to the point at `i` of a stroke.
  #segment(stroke, i) {
    const { context, canvas } = this;
    const side = canvas.width, from = Math.max(i - 3, 0);
    context.strokeStyle = this.ink;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = (this.width / 28) * side * ((stroke[from + 2] + stroke[i + 2]) / 2);
    context.beginPath();
    context.moveTo(stroke[from] * side, stroke[from + 1] * side);
    context.lineTo(stroke[i] * side + (i === from ? 0.01 : 0), stroke[i + 1] * side);
    context.stroke();
  }

  paint() {
    const { context, canvas, cursor } = this;
    this.ink = getComputedStyle(canvas).color;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.picture) this.#paintPicture();
    for (const stroke of this.strokes) {
      for (let i = stroke.length > 3 ? 3 : 0; i < stroke.length; i += 3) this.#segment(stroke, i);
    }
    if (cursor.shown) this.#paintCursor();
  }

  #paintPicture() {
    const { bytes, channels, height, width } = this.picture;
    const small = new OffscreenCanvas(width, height);
    const image = new ImageData(width, height), plane = height * width;
    const [red, green, blue] = this.ink.match(/[\d.]+/g).map(Number);
    for (let i = 0; i < plane; i++) {
      // Grey is ink on the paper; colours are as they are.
      const colours = channels === 3 ? [bytes[i], bytes[plane + i], bytes[2 * plane + i], 255] : [red, green, blue, bytes[i]];
      image.data.set(colours, 4 * i);
    }
    small.getContext("2d").putImageData(image, 0, 0);
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(small, 0, 0, this.canvas.width, this.canvas.height);
  }

  #paintCursor() {
    const { context, canvas, cursor } = this;
    const side = canvas.width, x = cursor.x * side, y = cursor.y * side, radius = side / 40;
    context.strokeStyle = getComputedStyle(canvas).accentColor;
    context.lineWidth = Math.max(2, side / 200);
    context.beginPath();
    if (cursor.down) context.arc(x, y, radius, 0, 2 * Math.PI);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * radius, y + dy * radius);
      context.lineTo(x + dx * radius * 2, y + dy * radius * 2);
    }
    context.stroke();
  }

  #showCursor(shown) {
    if (this.cursor.shown === shown) return;
    Object.assign(this.cursor, { shown, down: false });
    this.cursor.held.clear();
    this.paint();
  }

  #key(event) {
    if (event.altKey || ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() !== "z")) return;
    const { cursor } = this;
    if (event.key in KEYS) {
      cursor.held.add(event.key);
      this.#step(event.shiftKey ? SMALL_STEP : STEP, event.timeStamp);
    } else if (event.key === " " || event.key === "Enter") {
      this.#setPen(!cursor.down, event.timeStamp);
    } else if (event.key === "Escape") {
      this.#setPen(false, event.timeStamp);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear(event.timeStamp);
    } else if (event.key.toLowerCase() === "z") {
      if (!event.ctrlKey && !event.metaKey) return;
      this.undo(event.timeStamp);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #setPen(down, time) {
    this.#showCursor(true);
    const { cursor } = this;
    if (cursor.down === down) return;
    if (down) this.#begin([cursor.x, cursor.y, 1]);
    cursor.down = down;
    this.told(down ? "The pen is down" : "The pen is up");
    this.paint();
    if (down) this.changed(time);
  }

  #step(length, time) {
    this.#showCursor(true);
    const { cursor } = this;
    let dx = 0, dy = 0;
    for (const key of cursor.held) {
      dx += KEYS[key][0];
      dy += KEYS[key][1];
    }
    const kept = (value) => Math.min(Math.max(value, 0.02), 0.98);
    cursor.x = kept(cursor.x + Math.sign(dx) * length);
    cursor.y = kept(cursor.y + Math.sign(dy) * length);
    if (cursor.down) this.#extend([cursor.x, cursor.y, 1].map((value) => Math.round(value * 1e4) / 1e4));
    this.paint();
    if (cursor.down) this.changed(time);
    else this.told(`Pen at ${Math.round(100 * cursor.x)} % across, ${Math.round(100 * cursor.y)} % down`);
  }
}
