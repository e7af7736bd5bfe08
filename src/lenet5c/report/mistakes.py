"""Files of misclassified images: links, and copies in a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from lenet5c import _files
from lenet5c._optional import require
from lenet5c.datasets.decoding import MAX_FILE
from lenet5c.errors import UserError

if TYPE_CHECKING:
    from lenet5c.datasets import Dataset
    from lenet5c.training import Evaluation

CLASS, STEM, SUFFIX = 60, 90, 12  # maximum bytes of parts of the name of a copy
KEPT = "-_+ "  # allowed characters in names other than letters and digits


def find_file(dataset: Dataset, index: int) -> Path | None:
    """Return the file of an image, None if it has no file of its own.

    Raises a UserError if its id leads outside the folder of the data.
    """
    if dataset.root is None or dataset.ids is None:
        return None
    path = PurePosixPath(dataset.ids[index])
    if path.is_absolute() or ".." in path.parts or os.path.isabs(path):
        raise UserError(f"ids must be files in {dataset.root}, got {dataset.ids[index]!r}")
    return dataset.root / path


def link(path: Path, folder: Path) -> str:
    """Return the URL of a file for a page in a folder, relative if the file is inside it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lenet5c.report.mistakes import link
    >>> link(Path("/data/a b.png"), Path("/data")), link(Path("/data/x.png"), Path("/runs"))
    ('a%20b.png', 'file:///data/x.png')
    """
    path, folder = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    if path.is_relative_to(folder):
        return quote(os.fsencode(path.relative_to(folder).as_posix()))
    return path.as_uri()


def check_folder(folder: Path, argument: str) -> None:
    """Raise a UserError unless `folder`, the value of `argument`, is empty or does not exist."""
    try:
        if not os.path.lexists(folder) or not any(folder.iterdir()):
            return
    except NotADirectoryError:
        raise UserError(f"{argument} must be a folder, got {folder}, which is a file") from None
    raise UserError(f"{argument} must be a new or empty folder, got {folder}, which contains files")


def copy_mistakes(
    folder: Path, dataset: Dataset, result: Evaluation, class_names: Sequence[str]
) -> int:
    """Copy all misclassified images into a folder; return their number.

    The copies are named TRUE-as-PREDICTED-NAME. Files are copied unchanged; images without a file
    are saved as PNG files, which requires Pillow.

    Raises
    ------
    UserError
        If the id of an image leads outside the folder of the data, or Pillow is not installed.
    OSError
        If a file cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    wrong = np.flatnonzero(~result.right).tolist()
    for i in wrong:
        true, predicted = (
            _shorten(class_names[each[i]], CLASS) for each in (result.labels, result.predictions)
        )
        file = find_file(dataset, i)
        origin = PurePosixPath(str(i) if dataset.ids is None else dataset.ids[i])
        suffix = ".png" if file is None else file.suffix[:SUFFIX]
        stem = f"{true}-as-{predicted}-{_shorten(origin.stem, STEM)}"
        name, number = f"{stem}{suffix}", 1
        while name.casefold() in taken:  # from another folder of the data
            number += 1
            name = f"{stem}-{number}{suffix}"
        taken.add(name.casefold())
        content = _encode(dataset.images[i]) if file is None else _files.read_bytes(file, MAX_FILE)
        _files.write_bytes(folder / name, content, durable=False)
    return len(wrong)


def _shorten(text: str, most: int) -> str:
    """Return text as a part of a portable file name, of at most `most` bytes."""
    safe = "".join(c if c.isalnum() or c in KEPT else "_" for c in text)
    return safe.encode()[:most].decode(errors="ignore").strip() or "_"


def _encode(image: NDArray[np.uint8]) -> bytes:
    """Return an image (C, H, W) as a PNG file; only the first channel unless there are 1 or 3."""
    pillow = require("PIL.Image", "images", "copies of misclassified images")
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    content = BytesIO()
    pillow.fromarray(np.ascontiguousarray(pixels)).save(content, "png")
    return content.getvalue()
