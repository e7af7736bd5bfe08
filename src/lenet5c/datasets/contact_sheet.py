"""One picture that shows what the images of each class look like."""

from bisect import bisect
from io import BytesIO

import numpy as np

from lenet5c import _files
from lenet5c._optional import require
from lenet5c.datasets.inspection import EXAMPLE, spread
from lenet5c.datasets.whole import with_channels

#: Examples of each class, by part.
COLUMNS = {"train": 12, "test": 5}
MOST_CLASSES = 200
CELL = EXAMPLE
GAP, MARGIN, WIDEST, LONGEST = 4, 16, 220, 60
PAPER, INK, FAINT = (255, 255, 255), (34, 34, 34), (120, 120, 120)


def write_contact_sheet(path, inspection):
    """Draw a row of examples for each class into a PNG file.

    Parameters
    ----------
    path : Path
    inspection : lenet5c.datasets.inspection.Inspection
        With examples.

    Raises
    ------
    MissingExtraError
        Pillow is not installed.
    """
    Image = require("PIL.Image", "images", "contact sheets")
    ImageDraw = require("PIL.ImageDraw", "images", "contact sheets")
    ImageFont = require("PIL.ImageFont", "images", "contact sheets")
    font, small = (_font(ImageFont, size) for size in (15, 12))
    parts = [part for part in COLUMNS if any(inspection.counts.get(part, ()))]
    classes = range(min(len(inspection.class_names), MOST_CLASSES))
    labels = [_fitted(_drawable(inspection.class_names[i], font), font) for i in classes]
    counts = [" + ".join(f"{inspection.counts[part][i]:,}" for part in parts) for i in classes]
    column = max(
        [font.getlength(text) for text in labels] + [small.getlength(text) for text in counts]
    )
    left = MARGIN + int(column) + 14
    starts, x = {}, left
    for part in parts:
        starts[part] = x
        shown = max(len(_examples(inspection, part, i)) for i in classes)
        x += max(shown, 1) * (CELL + GAP) + 3 * GAP
    top = MARGIN + 24
    hidden = len(inspection.class_names) - len(classes)
    height = top + len(classes) * (CELL + GAP) + MARGIN + (20 if hidden else 0)
    sheet = Image.new("RGB", (x - 3 * GAP + MARGIN, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for part in parts:
        draw.text((starts[part], MARGIN), part, INK, small)
    for i in classes:
        y = top + i * (CELL + GAP)
        draw.text((left - 14, y + CELL // 2 - 9), labels[i], INK, font, anchor="rm")
        draw.text((left - 14, y + CELL // 2 + 10), counts[i], FAINT, small, anchor="rm")
        for part in parts:
            for j, picture in enumerate(_examples(inspection, part, i)):
                cell = Image.fromarray(_cell(picture))
                corner = (starts[part] + j * (CELL + GAP), y)
                sheet.paste(
                    cell,
                    (corner[0] + (CELL - cell.width) // 2, corner[1] + (CELL - cell.height) // 2),
                )
                # Else white images would have no edge on white paper.
                draw.rectangle(
                    (*corner, corner[0] + CELL - 1, corner[1] + CELL - 1), outline=(210, 210, 210)
                )
    if hidden:
        draw.text((MARGIN, height - MARGIN - 14), f"and {hidden:,} more classes", FAINT, small)
    content = BytesIO()
    sheet.save(content, "PNG")
    _files.write_bytes(path, content.getvalue())


def _examples(inspection, part, label):
    pictures = inspection.examples.get((part, label), [])
    return spread(pictures, COLUMNS[part])


def _cell(picture):
    """An example as uint8 (h, w, 3); a small one is enlarged in whole steps."""
    scale = CELL // max(picture.shape[:2])
    planes = with_channels(picture, 3).repeat(scale, axis=1).repeat(scale, axis=2)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _font(ImageFont, size):
    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError):  # a Pillow before 10.1, or without FreeType
        return ImageFont.load_default()


def _drawable(text, font):
    """The beginning of the text, with a question mark for what the font has no sign for."""
    text = text[:LONGEST]
    try:
        missing = bytes(font.getmask("\U0010ffff"))
        return "".join(
            char if char.isascii() or bytes(font.getmask(char)) != missing else "?" for char in text
        )
    except (UnicodeError, OSError):
        return text.encode("ascii", "replace").decode()


def _fitted(text, font):
    if font.getlength(text) <= WIDEST:
        return text
    fits = bisect(range(len(text)), WIDEST, key=lambda count: font.getlength(text[:count] + "..."))
    return text[: max(fits - 1, 0)] + "..."
