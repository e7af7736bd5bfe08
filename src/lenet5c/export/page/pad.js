// The drawing area: strokes as vectors, by pointer or by keys.

import { make } from "./dom.js";
import { USUAL_WIDTH } from "./drawing.js";

const STEP = 1 / 28, SMALL_STEP = 1 / 112, MINIMUM = 1 / 250;
const ARROWS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  Home: [-1, -1], PageUp: [1, -1], End: [-1, 1], PageDown: [1, 1],
};

const rounded = (...values) => values.map((value) => Math.round(value * 1e4) / 1e4);

export class Pad {
  strokes = []; // a list for each: x, y and thickness, again and again
  fresh = false; // the next stroke begins a new drawing
  #picture = null;
  #width = USUAL_WIDTH;
  #pointer = null;
  #box = null; // of the canvas in the window, as long as it stays there
  #cursor = { x: 0.5, y: 0.25, down: false, shown: false, held: new Set() };

  // `changed(time)` is called with the time of the event when the drawing changes; `tell(text)`
  // announces the state of the pen when drawing by keys.
  constructor(canvas, changed, tell) {
    Object.assign(this, { canvas, changed, tell, context: canvas.getContext("2d") });
    const on = (name, action) => canvas.addEventListener(name, action);
    on("pointerdown", (event) => this.#down(event));
    // Raw updates arrive immediately, moves with the next frame; if there are both, moves are redundant.
    on("onpointerrawupdate" in window ? "pointerrawupdate" : "pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      on(name, (event) => { if (event.pointerId === this.#pointer) this.#pointer = null; });
    }
    on("contextmenu", (event) => event.preventDefault());
    on("keydown", (event) => this.#key(event));
    on("keyup", (event) => this.#cursor.held.delete(event.key));
    on("focus", () => this.#showCursor(canvas.matches(":focus-visible")));
    on("blur", () => this.#showCursor(false));
    new ResizeObserver(() => this.#fit()).observe(canvas);
    for (const name of ["scroll", "resize"]) window.addEventListener(name, () => { this.#box = null; }, { capture: true, passive: true });
  }

  get empty() {
    return this.strokes.length === 0;
  }

  clear(time) {
    this.#replace([]);
    this.changed(time);
  }

  undo(time) {
    this.#replace(this.#picture ? [] : this.strokes.slice(0, -1));
    this.changed(time);
  }

  // Shows an image of the data instead of strokes: {image, shape, form}.
  show(picture) {
    this.#replace([], picture);
  }

  #replace(strokes, picture = null) {
    Object.assign(this, { strokes, fresh: false });
    this.#picture = picture;
    this.#pointer = null;
    this.#cursor.down = false;
    this.paint();
  }

  setWidth(width) {
    this.#width = width;
    this.paint();
  }

  #fit() {
    const side = Math.round(this.canvas.clientWidth * Math.min(window.devicePixelRatio || 1, 3));
    if (side > 0 && side !== this.canvas.width) this.canvas.width = this.canvas.height = side;
    this.paint();
  }

  #place(event) {
    const box = (this.#box ??= this.canvas.getBoundingClientRect());
    // Only the pressure of a pen is meaningful; it is always 0.5 for a mouse, and varies between devices for fingers.
    const thickness = event.pointerType === "pen" && event.pressure > 0 ? 0.5 + event.pressure : 1;
    return rounded((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, thickness);
  }

  #down(event) {
    // One pointer at a time, so that the palm of the hand does not draw.
    if (this.#pointer !== null || event.button !== 0) return;
    this.#showCursor(false);
    this.#box = null;
    this.#begin(this.#place(event));
    this.#pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.changed(event.timeStamp);
  }

  #move(event) {
    if (event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.#extend(this.#place(each));
    this.changed(event.timeStamp);
  }

  #begin(point) {
    if (this.#picture || this.fresh) this.#replace([]);
    this.#cursor.down = false;
    this.strokes.push(point);
    this.#paintTo(point, 0);
  }

  #extend(point) {
    const stroke = this.strokes.at(-1), [x, y] = stroke.slice(-3);
    if (Math.hypot(point[0] - x, point[1] - y) < MINIMUM) return;
    stroke.push(...point);
    this.#paintTo(stroke, stroke.length - 3);
  }

  // Paints the segment up to point `i` of a stroke.
  #paintTo(stroke, i) {
    const { context } = this, side = this.canvas.width, from = Math.max(i - 3, 0);
    context.strokeStyle = this.ink;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = (this.#width / 28) * side * ((stroke[from + 2] + stroke[i + 2]) / 2);
    context.beginPath();
    context.moveTo(stroke[from] * side, stroke[from + 1] * side);
    context.lineTo(stroke[i] * side + (i === from ? 0.01 : 0), stroke[i + 1] * side);
    context.stroke();
  }

  paint() {
    this.ink = getComputedStyle(this.canvas).color;
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.#picture) this.#paintPicture();
    for (const stroke of this.strokes) {
      for (let i = stroke.length > 3 ? 3 : 0; i < stroke.length; i += 3) this.#paintTo(stroke, i);
    }
    if (this.#cursor.shown) this.#paintCursor();
  }

  #paintPicture() {
    const { image, shape: [channels, height, width], form } = this.#picture, plane = height * width;
    const pixels = new ImageData(width, height), ink = this.ink.match(/[\d.]+/g).slice(0, 3);
    const [paper, full] = [form.paper[0], form.ink[0]];
    for (let i = 0; i < plane; i++) {
      // Gray is ink on paper; colors are unchanged.
      const color = channels === 3 ? [image[i], image[plane + i], image[2 * plane + i], 255]
        : [...ink, (255 * (image[i] - paper)) / (full - paper)];
      pixels.data.set(color, 4 * i);
    }
    const small = make("canvas", { width, height });
    small.getContext("2d").putImageData(pixels, 0, 0);
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(small, 0, 0, this.canvas.width, this.canvas.height);
  }

  #paintCursor() {
    const { context } = this, side = this.canvas.width, radius = side / 40;
    const x = this.#cursor.x * side, y = this.#cursor.y * side;
    context.strokeStyle = getComputedStyle(this.canvas).accentColor;
    context.lineWidth = Math.max(2, side / 200);
    context.beginPath();
    if (this.#cursor.down) context.arc(x, y, radius, 0, 2 * Math.PI);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * radius, y + dy * radius);
      context.lineTo(x + dx * radius * 2, y + dy * radius * 2);
    }
    context.stroke();
  }

  #showCursor(shown) {
    if (this.#cursor.shown === shown) return;
    Object.assign(this.#cursor, { shown, down: false });
    this.#cursor.held.clear();
    this.paint();
  }

  #key(event) {
    const command = event.ctrlKey || event.metaKey, key = event.key;
    if (event.altKey) return;
    if (command && key.toLowerCase() === "z") this.undo(event.timeStamp);
    else if (command) return;
    else if (key in ARROWS) this.#step(key, event);
    else if (key === " " || key === "Enter") this.#setPen(!this.#cursor.down, event.timeStamp);
    else if (key === "Escape") this.#setPen(false, event.timeStamp);
    else if (key === "Delete" || key === "Backspace") this.clear(event.timeStamp);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #setPen(down, time) {
    this.#showCursor(true);
    const cursor = this.#cursor;
    if (cursor.down === down) return;
    if (down) this.#begin([cursor.x, cursor.y, 1]);
    cursor.down = down;
    this.tell(down ? "The pen is down" : "The pen is up");
    this.paint();
    if (down) this.changed(time);
  }

  // Moves the pen by all pressed arrow keys.
  #step(key, event) {
    this.#showCursor(true);
    const cursor = this.#cursor, length = event.shiftKey ? SMALL_STEP : STEP;
    cursor.held.add(key);
    ["x", "y"].forEach((axis, i) => {
      const sum = [...cursor.held].reduce((total, name) => total + ARROWS[name][i], 0);
      cursor[axis] = Math.min(Math.max(cursor[axis] + Math.sign(sum) * length, 0.02), 0.98);
    });
    if (cursor.down) this.#extend(rounded(cursor.x, cursor.y, 1));
    this.paint();
    if (cursor.down) this.changed(event.timeStamp);
    else this.tell(`Pen at ${Math.round(100 * cursor.x)} % across, ${Math.round(100 * cursor.y)} % down`);
  }
}
