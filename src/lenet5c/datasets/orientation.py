"""Images stored transposed, such as those of EMNIST."""

from dataclasses import replace

import numpy as np

from lenet5c.datasets.mapped import AnyImages, apply, blocks
from lenet5c.datasets.records import Found

EMNIST = "emnist"


def set_upright(found: Found, transpose: bool | None, sideways: bool) -> Found:
    """Transpose the images of data if `transpose`, or if it is None and `sideways`.

    `sideways` means that the file names are those of EMNIST.
    """
    if not (sideways if transpose is None else transpose):
        return found
    parts = {
        part: replace(records, images=exchange_axes(records.images))
        for part, records in found.parts.items()
    }
    notes = found.notes
    if transpose is None:
        notes += (
            "the file names are those of EMNIST, whose images are stored transposed: they are "
            "transposed back (use --no-transpose to read them unchanged)",
        )
    return replace(found, parts=parts, notes=notes)


def exchange_axes(images: AnyImages) -> AnyImages:
    """Transpose images; square images in memory are transposed in place."""
    in_place = isinstance(images, np.ndarray) and images.flags.writeable
    if not in_place or images.shape[2] != images.shape[3]:
        return apply(images, lambda batch: batch.swapaxes(2, 3))
    for block in blocks(images):
        block[:] = block.swapaxes(2, 3).copy()
    return images
