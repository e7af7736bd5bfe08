"""A picture of the way from a file to what the net sees, drawn with Pillow."""

import io

import numpy as np

from lenet5c import _files
from lenet5c._optional import require

#: Pixels: the side of a step's picture, the space around, the height of its caption.
SIDE, SPACE, CAPTION = 196, 14, 40
PAPER, TEXT, QUIET, MARK, BAD = (
    (250, 250, 248),
    (25, 25, 25),
    (110, 110, 110),
    (0, 110, 200),
    (190, 60, 0),
)
CAPTIONS = {
    "picture": "picture",
    "grey": "grey",
    "flat": "even paper",
    "ink": "ink",
    "stroke": "cropped",
    "centred": "what the net sees",
    "image": "what the net sees",
}
#: Pixels on the longer side of a sheet with its digits marked.
SHEET = 1400


def picture_of(reading):
    """The steps of a `Reading` in a row, or the sheet with its digits marked: a PIL image."""
    return _sheet(reading) if reading.digits else _strip(reading)


def save_picture(path, image):
    """Write a PNG, whole or not at all; its folder is made if it is missing."""
    content = io.BytesIO()
    image.save(content, "png")
    path.parent.mkdir(parents=True, exist_ok=True)
    _files.write_bytes(path, content.getvalue())


def _strip(reading):
    Image, ImageDraw = (
        require(f"PIL.{name}", "images", "pictures of the steps") for name in ("Image", "ImageDraw")
    )
    steps = [(name, array) for name, array in reading.steps.items() if name in CAPTIONS]
    if any(name == "grey" for name, _ in steps) and reading.steps["picture"].ndim == 2:
        steps = [(name, array) for name, array in steps if name != "grey"]
    chart = 210 if reading.probabilities else 0
    width = SPACE + len(steps) * (SIDE + SPACE) + (chart + SPACE if chart else 0)
    height = SPACE + SIDE + CAPTION + 26
    canvas = Image.new("RGB", (max(width, 640), height), PAPER)
    draw = ImageDraw.Draw(canvas)
    for k, (name, array) in enumerate(steps):
        left = SPACE + k * (SIDE + SPACE)
        shape, place = _placed(array)
        step = Image.fromarray(array).convert("RGB").resize(shape, _filter(Image, array, shape))
        canvas.paste(step, (left + place[0], SPACE + place[1]))
        draw.rectangle([left - 1, SPACE - 1, left + SIDE, SPACE + SIDE], outline=(200, 200, 198))
        if name == "picture" and reading.box:
            _frame(draw, reading.box, array, (left + place[0], SPACE + place[1]), shape)
        draw.text((left, SPACE + SIDE + 6), f"{k + 1}  {CAPTIONS[name]}", fill=TEXT, font=_font(15))
        draw.text(
            (left, SPACE + SIDE + 25),
            f"{array.shape[1]} x {array.shape[0]}",
            fill=QUIET,
            font=_font(12),
        )
    if chart:
        _bars(draw, reading, SPACE + len(steps) * (SIDE + SPACE), chart)
    verdict = (
        f"rejected: {reading.rejected}"
        if reading.rejected
        else f"{reading.label}: {reading.probability:.2%}"
    )
    draw.text((SPACE, height - 24), verdict, fill=BAD if reading.rejected else MARK, font=_font(16))
    return canvas


def _bars(draw, reading, left, width):
    """The probabilities of the classes, at most ten of them."""
    names = list(reading.probabilities)
    if len(names) > 10:
        names = [name for name, _ in reading.top(10)]
    row = SIDE / 10
    best = reading.top(1)[0][0]
    for k, name in enumerate(names):
        top, p = SPACE + k * row, reading.probabilities[name]
        label = name if len(name) <= 9 else name[:8] + "."
        room = 12 if max(map(len, names)) == 1 else 66
        draw.text((left, top + 1), label, fill=TEXT, font=_font(14))
        full = width - room - 54
        draw.rectangle(
            [left + room + 4, top + 4, left + room + 4 + max(1, full * p), top + row - 4],
            fill=MARK if name == best else (180, 180, 180),
        )
        draw.text((left + room + 10 + full * p, top + 2), f"{p:.1%}", fill=QUIET, font=_font(12))
    draw.text((left, SPACE + SIDE + 6), "probabilities", fill=TEXT, font=_font(15))


def _sheet(reading):
    Image, ImageDraw = (
        require(f"PIL.{name}", "images", "pictures of the steps") for name in ("Image", "ImageDraw")
    )
    array = reading.steps["picture"]
    height, width = array.shape[:2]
    scale = SHEET / max(height, width)
    canvas = (
        Image.fromarray(array)
        .convert("RGB")
        .resize((max(1, round(width * scale)), max(1, round(height * scale))))
    )
    # Paled, so that marks show on any paper.
    canvas = Image.blend(canvas, Image.new("RGB", canvas.size, "white"), 0.35)
    draw = ImageDraw.Draw(canvas)
    for line in reading.digits:
        size = int(np.clip(np.median([(d.box[2] - d.box[0]) * scale for d in line]) * 0.4, 12, 30))
        for digit in line:
            top, left, bottom, right = (n * scale for n in digit.box)
            colour = MARK if digit.label else BAD
            draw.rectangle([left - 2, top - 2, right + 1, bottom + 1], outline=colour, width=2)
            above = top - 4 >= size
            draw.text(
                ((left + right) / 2, top - 4 if above else bottom + 3),
                digit.label or "?",
                fill=colour,
                font=_font(size),
                anchor="ms" if above else "mt",
                stroke_width=2,
                stroke_fill="white",
            )
    return canvas


def _placed(array):
    """Width and height at which a step is drawn, and where in its square."""
    height, width = array.shape[:2]
    scale = SIDE / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    return shape, ((SIDE - shape[0]) // 2, (SIDE - shape[1]) // 2)


def _filter(Image, array, shape):
    """Single pixels are shown where they are made larger."""
    return Image.Resampling.NEAREST if shape[0] >= array.shape[1] else Image.Resampling.BOX


def _frame(draw, box, array, origin, shape):
    across, down = shape[0] / array.shape[1], shape[1] / array.shape[0]
    top, left, bottom, right = box
    draw.rectangle(
        [
            origin[0] + left * across - 1,
            origin[1] + top * down - 1,
            origin[0] + right * across,
            origin[1] + bottom * down,
        ],
        outline=MARK,
    )


def _font(size):
    return require("PIL.ImageFont", "images", "pictures of the steps").load_default(size)
