"""Labels of tables in one-hot columns or in separate files, and columns of parts."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import count, printable
from lenet5c.datasets.columns import find_id, find_label, is_number
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.parts import PART_WORDS
from lenet5c.datasets.pixels import convert_labels
from lenet5c.datasets.text_lines import open_text, read_blocks

#: Lowercase names of a column with the part of each row.
PART_NAMES = ("usage", "split", "set", "subset", "part", "partition", "fold")
#: Names of parts in it; the last two are those of FER2013.
_PARTS = PART_WORDS | {"publictest": "validation", "privatetest": "test"}


def read_label_table(path: Path, images: int) -> NDArray[np.int64] | list[str]:
    """Return the labels in a table with a row for each of `images` images.

    The table has a label column and optionally an id column, or one-hot columns. If it has one more
    line than there are images, the first one has the column names.

    Raises
    ------
    DatasetError
        If it is not such a table.
    """
    with open_text(path) as stream:
        content = b"".join(read_blocks(stream, path, path.stat().st_size))
    lines = content.decode("utf-8", "replace").split("\n")
    text = [line for line in lines if line.strip()]
    separator = next((each for each in "\t;|," if text and each in text[0]), " ")
    rows = [[field.strip() for field in row] for row in csv.reader(text, delimiter=separator)]
    names = rows.pop(0) if len(rows) == images + 1 else []
    width = len(rows[0]) if rows else 0
    if len(rows) != images or any(len(row) != width for row in rows):
        raise DatasetError(
            f"{path} must have a row for each of the {count(images, 'image')}, got "
            f"{count(len(rows), 'row')}; use files of the same data set"
        )
    place: int | None = 0
    if width > 1:
        place = find_label(str(path), names, None)
        number = find_id(names)
        left = [i for i in range(width) if i != number]
        place = left[0] if place is None and len(left) == 1 else place
    if place is not None:
        return convert_labels([row[place] for row in rows], str(path))
    values = rows if all(map(is_number, rows[0])) else []
    if not values:
        raise DatasetError(
            f"{path} must have one column of labels, got {count(width, 'column')}; name the column "
            "label"
        )
    try:
        return convert_labels(np.array(values, np.float64), str(path))
    except ValueError:
        raise DatasetError(f"{path} must have numbers in one-hot rows, got other values") from None


def find_part_column(names: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> int | None:
    """Return the column with the part of each row, None if there is none."""
    for place, name in enumerate(names or ()):
        if name.strip().casefold() in PART_NAMES and all(_find_part(row[place]) for row in rows):
            return place
    return None


def read_parts(words: Sequence[str], path: Path) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each part."""
    parts = {word: _find_part(word) for word in dict.fromkeys(words)}
    if strange := [word for word, part in parts.items() if part is None]:
        raise DatasetError(
            f"{path} must have train, validation or test in each row, got "
            f"{printable(strange[0])[:40]!r}"
        )
    of_rows = np.array([parts[word] for word in words])
    found = {part: np.flatnonzero(of_rows == part) for part in ("train", "validation", "test")}
    return {part: rows for part, rows in found.items() if len(rows)}


def _find_part(word: str) -> str | None:
    return _PARTS.get(re.sub(r"[\W_]", "", word.casefold()))


def find_pixel_text(rows: Sequence[Sequence[str]], least: int) -> int | None:
    """Return the column whose fields have all pixels of an image, None if there is none."""
    for place in range(len(rows[0])):
        counts = {len(tidy_pixels(row[place]).split(" ")) for row in rows}
        if len(counts) == 1 and counts.pop() >= least:
            first = tidy_pixels(rows[0][place]).split(" ")
            if all(map(is_number, first)):
                return place
    return None


def tidy_pixels(field: str) -> str:
    """Return the numbers in a field, separated by single spaces."""
    if "," in field or "[" in field:
        field = re.sub(r"[\[\](),]", " ", field)
    return " ".join(field.split()) if "  " in field or field != field.strip() else field
