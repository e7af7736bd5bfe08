"""Contact sheet with example images of each class."""

from bisect import bisect
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c import _files
from lenet5c._optional import require
from lenet5c.datasets.conversion import to_channels
from lenet5c.datasets.inspection import EXAMPLE, Inspection, spread
from lenet5c.datasets.records import ALL

#: Number of examples of each class, by part.
COLUMNS = {"train": 12, "test": 5, ALL: 17}
MAX_CLASSES = 200
CELL = EXAMPLE
GAP, MARGIN, WIDEST, LONGEST = 4, 16, 220, 60
STEP = CELL + GAP
PAPER, INK, FAINT, FRAME = (255, 255, 255), (34, 34, 34), (120, 120, 120), (210, 210, 210)


def write_contact_sheet(path: Path, inspection: Inspection) -> None:
    """Draw a row of examples of each class into a PNG file, with Pillow."""
    Image, ImageDraw, ImageFont = (
        require(f"PIL.{name}", "images", "contact sheets")
        for name in ("Image", "ImageDraw", "ImageFont")
    )
    font, small = (load_font(ImageFont, size) for size in (15, 12))
    names = inspection.class_names or ("no labels",)
    parts = [part for part in COLUMNS if any(inspection.counts.get(part, ()))]
    classes = range(min(len(names), MAX_CLASSES))
    examples = {
        (part, i): spread(inspection.examples.get((part, i), []), COLUMNS[part])
        for part in parts
        for i in classes
    }
    labels = [truncate(replace_missing(names[i], font), font) for i in classes]
    counts = [" + ".join(f"{inspection.counts[part][i]:,}" for part in parts) for i in classes]
    column = max([*map(font.getlength, labels), *map(small.getlength, counts)])
    left = MARGIN + int(column) + 14
    starts, x = {}, left
    for part in parts:
        starts[part] = x
        x += max(1, *(len(examples[part, i]) for i in classes)) * STEP + 3 * GAP
    top = MARGIN + 24
    hidden = len(names) - len(classes)
    height = top + len(classes) * STEP + MARGIN + (20 if hidden else 0)
    sheet = Image.new("RGB", (x - 3 * GAP + MARGIN, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for part in parts:
        draw.text((starts[part], MARGIN), part, INK, small)
    for i in classes:
        y = top + i * STEP
        draw.text((left - 14, y + CELL // 2 - 9), labels[i], INK, font, anchor="rm")
        draw.text((left - 14, y + CELL // 2 + 10), counts[i], FAINT, small, anchor="rm")
        for part in parts:
            for j, picture in enumerate(examples[part, i]):
                cell = Image.fromarray(_enlarge(picture))
                x = starts[part] + j * STEP
                sheet.paste(cell, (x + (CELL - cell.width) // 2, y + (CELL - cell.height) // 2))
                # Otherwise white images would have no visible edge on white.
                draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), outline=FRAME)
    if hidden:
        draw.text((MARGIN, height - MARGIN - 14), f"and {hidden:,} more classes", FAINT, small)
    content = BytesIO()
    sheet.save(content, "PNG")
    _files.write_bytes(path, content.getvalue())


def _enlarge(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an example as (h, w, 3), enlarged by the largest integer factor that fits a cell."""
    scale = CELL // max(picture.shape[:2])
    planes = to_channels(picture, 3).repeat(scale, axis=1).repeat(scale, axis=2)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def load_font(ImageFont: Any, size: int) -> Any:
    """Return Pillow's default font in a size."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError):  # Pillow before 10.1, or without FreeType
        return ImageFont.load_default()


def replace_missing(text: str, font: Any) -> str:
    """Return the beginning of `text`, with a question mark for characters missing in the font."""
    text = text[:LONGEST]
    try:
        missing = bytes(font.getmask("\U0010ffff"))
        return "".join(
            char if char.isascii() or bytes(font.getmask(char)) != missing else "?" for char in text
        )
    except (UnicodeError, OSError):
        return text.encode("ascii", "replace").decode()


def truncate(text: str, font: Any) -> str:
    """Return the beginning of `text` that fits into a column."""
    if font.getlength(text) <= WIDEST:
        return text
    fits = bisect(range(len(text)), WIDEST, key=lambda size: font.getlength(text[:size] + "..."))
    return text[: max(fits - 1, 0)] + "..."
