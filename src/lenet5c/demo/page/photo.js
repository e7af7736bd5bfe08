// Photographs and other images, read by the server in the same way as `lenet5c predict`.

import { sendFile } from "./api.js";
import { find, make, recall, remember, showError } from "./dom.js";

const LONGEST = 1600; // pixels of the longer side that is shown
const MAX_FILE = 32; // MB that the server accepts
const TALL = 0.5; // largest height of a picture, as a fraction of the window

export class Photo {
  #latest = 0;

  constructor(kinds) {
    this.canvas = find("#photo");
    find("#photo-kind").replaceChildren(...Object.entries(kinds).map(([value, text]) => new Option(text, value)));
    const kind = recall("photo-kind");
    if (Object.hasOwn(kinds, kind)) find("#photo-kind").value = kind;
    find("#photo-kind").addEventListener("change", () => {
      remember("photo-kind", find("#photo-kind").value);
      if (this.file) this.read(this.file);
    });
    for (const id of ["#photo-file", "#photo-camera"]) {
      find(id).addEventListener("change", ({ target }) => {
        if (target.files.length) this.read(target.files[0]);
        target.value = ""; // the same file can be chosen again
      });
    }
    // Anywhere on the page: otherwise, the browser would leave the page and open the file.
    addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
    addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      if (event.dataTransfer.files.length) this.read(event.dataTransfer.files[0]);
    });
    addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
      if (file) this.read(file);
    });
  }

  // Reads a file, and shows the predictions on the image.
  async read(file) {
    const number = ++this.#latest;
    this.file = file;
    find("#photos").scrollIntoView({ block: "nearest" });
    find("#photo-state").textContent = `Reading ${file.name}…`;
    showError("#photo-error");
    try {
      if (file.size > MAX_FILE << 20) throw new Error(`The file must have at most ${MAX_FILE} MB.`);
      const kind = find("#photo-kind").value;
      const [image, reading] = await Promise.all([
        createImageBitmap(file).catch(() => null), // some formats can only be read by the server
        sendFile(`/read_picture?digits=${kind}`, file),
      ]);
      if (number === this.#latest) this.#show(image, reading);
    } catch (error) {
      if (number !== this.#latest) return;
      find("#photo-state").textContent = "";
      this.canvas.hidden = true;
      showError("#photo-error", error);
    }
  }

  #show(image, { size: [height, width], lines, boxes }) {
    const { canvas } = this, scale = Math.min(1, LONGEST / Math.max(height, width));
    Object.assign(canvas, { hidden: false, width: Math.round(width * scale), height: Math.round(height * scale) });
    canvas.style.maxHeight = `${100 * TALL}vh`;
    canvas.ariaLabel = `The picture, with ${boxes.length} marked`;
    const context = canvas.getContext("2d"), style = getComputedStyle(canvas);
    context.fillStyle = "#888";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (image) context.drawImage(image, 0, 0, canvas.width, canvas.height);
    const line = Math.max(2, canvas.height / 250), letter = Math.max(14, canvas.height / 28);
    context.font = `600 ${letter}px system-ui, sans-serif`;
    Object.assign(context, { textAlign: "center", lineJoin: "round", textBaseline: "alphabetic" });
    for (const { label, box: [top, left, bottom, right] } of boxes) {
      const color = label === null ? style.getPropertyValue("--mark-bad") : style.getPropertyValue("--mark");
      const [x, y, w, h] = [left, top, right - left, bottom - top].map((value) => value * scale);
      Object.assign(context, { strokeStyle: color, lineWidth: line });
      context.strokeRect(x - line, y - line, w + 2 * line, h + 2 * line);
      const above = y - 2 * line > letter, at = above ? y - 2.5 * line : Math.min(y + h + letter + line, canvas.height - line);
      Object.assign(context, { strokeStyle: "#fff", lineWidth: letter / 4, fillStyle: color });
      context.strokeText(label ?? "?", x + w / 2, at);
      context.fillText(label ?? "?", x + w / 2, at);
    }
    find("#photo-state").replaceChildren(...lines.flatMap(({ text, verdict, correct }) => [
      ...(text === null ? [] : [make("span", { className: "line" }, text)]),
      make("span", { className: correct === null ? "quiet" : correct ? "right" : "wrong" }, verdict),
    ]));
  }
}
