"""Drawing of the steps from a file to the net's input, with Pillow."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c import _files
from lenet5c._optional import require
from lenet5c.recognition.reading import Prediction

#: Sizes in pixels: side of a step's picture, space around it, height of its caption.
SIDE, SPACE, CAPTION = 196, 14, 40
PAPER, TEXT, QUIET, PALE = (250, 250, 248), (25, 25, 25), (110, 110, 110), (180, 180, 180)
FRAME, MARK, BAD = (200, 200, 198), (0, 110, 200), (190, 60, 0)
CAPTIONS = {
    "picture": "picture",
    "gray": "gray",
    "flat": "even paper",
    "ink": "ink",
    "stroke": "cropped",
    "centered": "input of the net",
    "placed": "placed",
    "image": "input of the net",
}
#: Longer side, in pixels, of the drawing of a sheet with marked digits.
SHEET = 1400


def draw_prediction(prediction: Prediction) -> Any:
    """Draw the steps of a `Prediction` in a row, or a sheet with marked digits, as a PIL image."""
    return _draw_sheet(prediction) if prediction.digits else _draw_steps(prediction)


def save_picture(path: Path, image: Any) -> None:
    """Write a PNG file atomically, creating its folder if needed."""
    content = io.BytesIO()
    image.save(content, "png")
    path.parent.mkdir(parents=True, exist_ok=True)
    _files.write_bytes(path, content.getvalue())


def _import_pillow(*names: str) -> list[Any]:
    return [require(f"PIL.{name}", "images", "pictures of the steps") for name in names]


def _load_font(size: int) -> Any:
    return _import_pillow("ImageFont")[0].load_default(size)


def _draw_steps(prediction: Prediction) -> Any:
    Image, ImageDraw = _import_pillow("Image", "ImageDraw")
    steps = {name: array for name, array in prediction.steps.items() if name in CAPTIONS}
    if prediction.steps["picture"].ndim == 2:
        steps.pop("gray", None)
    chart = 210 if prediction.probabilities else 0
    width = SPACE + len(steps) * (SIDE + SPACE) + (chart + SPACE if chart else 0)
    height = SPACE + SIDE + CAPTION + 26
    canvas = Image.new("RGB", (max(width, 640), height), PAPER)
    draw = ImageDraw.Draw(canvas)
    below = SPACE + SIDE
    for k, (name, array) in enumerate(steps.items()):
        left = SPACE + k * (SIDE + SPACE)
        rows, columns = array.shape[:2]
        scale = SIDE / max(rows, columns)
        across, down = max(1, round(columns * scale)), max(1, round(rows * scale))
        # Nearest-neighbor interpolation keeps enlarged pixels visible.
        enlarged = across >= columns
        method = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
        step = Image.fromarray(array).convert("RGB").resize((across, down), method)
        x, y = left + (SIDE - across) // 2, SPACE + (SIDE - down) // 2
        canvas.paste(step, (x, y))
        draw.rectangle([left - 1, SPACE - 1, left + SIDE, below], outline=FRAME)
        if name == "picture" and prediction.box:
            top, start, bottom, end = prediction.box
            wide, high = across / columns, down / rows
            draw.rectangle(
                [x + start * wide - 1, y + top * high - 1, x + end * wide, y + bottom * high],
                outline=MARK,
            )
        size = f"{columns} x {rows}"
        draw.text((left, below + 6), f"{k + 1}  {CAPTIONS[name]}", fill=TEXT, font=_load_font(15))
        draw.text((left, below + 25), size, fill=QUIET, font=_load_font(12))
    if chart:
        _draw_bars(draw, prediction, SPACE + len(steps) * (SIDE + SPACE), chart)
    if prediction.rejected:
        verdict, color = f"rejected: {prediction.rejected}", BAD
    else:
        verdict, color = f"{prediction.label}: {prediction.probability:.2%}", MARK
    draw.text((SPACE, height - 24), verdict, fill=color, font=_load_font(16))
    return canvas


def _draw_bars(draw: Any, prediction: Prediction, left: int, width: int) -> None:
    """Draw a bar chart of the class probabilities, at most ten of them."""
    names = list(prediction.probabilities)
    if len(names) > 10:
        names = [name for name, _ in prediction.top(10)]
    row = SIDE / 10
    best = prediction.top(1)[0][0]
    room = 12 if max(map(len, names)) == 1 else 66
    start, full = left + room + 4, width - room - 54
    for k, name in enumerate(names):
        top, p = SPACE + k * row, prediction.probabilities[name]
        label = name if len(name) <= 9 else name[:8] + "."
        draw.text((left, top + 1), label, fill=TEXT, font=_load_font(14))
        draw.rectangle(
            [start, top + 4, start + max(1, full * p), top + row - 4],
            fill=MARK if name == best else PALE,
        )
        draw.text((start + 6 + full * p, top + 2), f"{p:.1%}", fill=QUIET, font=_load_font(12))
    draw.text((left, SPACE + SIDE + 6), "probabilities", fill=TEXT, font=_load_font(15))


def _draw_sheet(prediction: Prediction) -> Any:
    Image, ImageDraw = _import_pillow("Image", "ImageDraw")
    array: NDArray[np.uint8] = prediction.steps["picture"]
    height, width = array.shape[:2]
    scale = SHEET / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.fromarray(array).convert("RGB").resize(size)
    # Lightened so that the marks are visible on any paper.
    canvas = Image.blend(canvas, Image.new("RGB", size, "white"), 0.35)
    draw = ImageDraw.Draw(canvas)
    for line in prediction.digits:
        boxes = [[n * scale for n in digit.box or ()] for digit in line]
        letter = int(np.clip(np.median([box[2] - box[0] for box in boxes]) * 0.4, 12, 30))
        for digit, (top, left, bottom, right) in zip(line, boxes, strict=True):
            color = MARK if digit.label else BAD
            draw.rectangle([left - 2, top - 2, right + 1, bottom + 1], outline=color, width=2)
            above = top - 4 >= letter
            draw.text(
                ((left + right) / 2, top - 4 if above else bottom + 3),
                digit.label or "?",
                fill=color,
                font=_load_font(letter),
                anchor="ms" if above else "mt",
                stroke_width=2,
                stroke_fill="white",
            )
    return canvas
