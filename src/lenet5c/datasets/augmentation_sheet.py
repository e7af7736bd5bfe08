"""Sheet of training images before and after augmentation."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet5c import _files
from lenet5c._optional import require
from lenet5c.datasets.contact_sheet import (
    FAINT,
    FRAME,
    GAP,
    INK,
    MARGIN,
    PAPER,
    load_font,
    replace_missing,
    truncate,
)
from lenet5c.datasets.dataset import Dataset
from lenet5c.datasets.distortion import Distortion
from lenet5c.datasets.resampling import resize

ROWS, EPOCHS = 10, 9
CELL = 96
STEP = CELL + GAP


def choose_examples(labels: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    """Return the indices of the images to show: the first ones of each class, equally many.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets.augmentation_sheet import choose_examples
    >>> choose_examples(np.array([5, 5, 5, 2, 2, 9]), 5)
    array([3, 4, 0, 1, 5])
    """
    classes = np.unique(labels)[:count]
    each = max(1, -(-count // max(len(classes), 1)))
    chosen = [np.flatnonzero(labels == label)[:each] for label in classes]
    while sum(map(len, chosen)) > count:
        longest = max(range(len(chosen)), key=lambda i: (len(chosen[i]), i))
        chosen[longest] = chosen[longest][:-1]
    return np.concatenate([np.zeros(0, np.int64), *chosen])


def write_augmentation_sheet(
    path: Path, dataset: Dataset, distortion: Distortion, seed: int, title: str
) -> None:
    """Draw a row for each selected image into a PNG file, with Pillow.

    Parameters
    ----------
    dataset : Dataset
        Training images, at the size of the net's input. The images shown form one batch, for mixup.
    title : str
        Name of the augmentation.
    """
    Image, ImageDraw, ImageFont = (
        require(f"PIL.{name}", "images", "sheets of augmented images")
        for name in ("Image", "ImageDraw", "ImageFont")
    )
    font, small = (load_font(ImageFont, size) for size in (15, 12))
    chosen = choose_examples(dataset.labels, ROWS)
    images = np.ascontiguousarray(dataset.images[chosen])
    columns = [images]
    for epoch in range(EPOCHS):
        seen = distortion.for_epoch(seed, epoch)(images, numbers=chosen)
        columns.append(np.rint(seen).astype(np.uint8))
    names = [dataset.class_names[label] for label in dataset.labels[chosen]]
    labels = [truncate(replace_missing(name, font), font) for name in names]
    left = MARGIN + int(max(map(font.getlength, labels))) + 14
    starts = [left + i * STEP + (3 * GAP if i else 0) for i in range(len(columns))]
    top = MARGIN + 46
    size = (starts[-1] + CELL + MARGIN, top + len(chosen) * STEP - GAP + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((left, MARGIN - 2), truncate(title, font), INK, font)
    for i, x in enumerate(starts):
        text = f"epoch {i}" if i else "original"
        draw.text((x, MARGIN + 26), text, FAINT if i else INK, small)
    for j, label in enumerate(labels):
        y = top + j * STEP
        draw.text((left - 14, y + CELL // 2), label, INK, font, anchor="rm")
        for x, column in zip(starts, columns, strict=True):
            cell = Image.fromarray(_to_cell(column[j]))
            sheet.paste(cell, (x + (CELL - cell.width) // 2, y + (CELL - cell.height) // 2))
            draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), outline=FRAME)
    content = BytesIO()
    sheet.save(content, "PNG")
    _files.write_bytes(path, content.getvalue())


def _to_cell(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image as (h, w, 3), enlarged by an integer factor or shrunk to fit a cell.

    Only the first channel is shown unless there are three.
    """
    planes = image if len(image) == 3 else np.repeat(image[:1], 3, axis=0)
    longest = max(planes.shape[1:])
    if longest > CELL:
        height, width = (max(1, round(side * CELL / longest)) for side in planes.shape[1:])
        planes = resize(planes, (height, width))
    scale = CELL // max(planes.shape[1:])
    planes = planes.repeat(scale, axis=1).repeat(scale, axis=2)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))
