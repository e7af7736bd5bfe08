"""Data sets of pictures, brought to the form in which a model reads digits."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import count
from lenet5c.datasets import Dataset, DatasetError, Source
from lenet5c.datasets.pictures import read_picture
from lenet5c.recognition.digit import BlankImageError
from lenet5c.recognition.reading import find_digit, get_framing
from lenet5c.training import TrainedModel


def frame_source(source: Source, trained: TrainedModel) -> tuple[Source, list[str]]:
    """Return data with the ink of each picture in the form that the model's digits have.

    That is the form in which `predict` gives pictures to the model. Pictures without ink are left
    out.

    Parameters
    ----------
    source : lenet5c.datasets.Source
        Whole pictures, dark on light or light on dark.
    trained : lenet5c.training.TrainedModel
        One that reads ink.

    Returns
    -------
    source : lenet5c.datasets.Source
    notes : list of str

    Raises
    ------
    DatasetError
        A part has no picture with ink.
    """
    notes = [f"its pictures are read as predict reads them, ink on black, {trained.image_shape}"]
    parts: dict[str, Any] = {}
    for part in ("train", "test", "validation"):
        dataset = getattr(source, part)
        if dataset is not None:
            parts[part], blank = _frame(dataset, trained)
            if blank:
                pictures = count(len(blank), f"{part} picture")
                first = dataset.describe(blank[0])
                notes.append(f"{pictures} without ink, such as {first}, are left out")
    return replace(source, **parts, reading=trained.reading), notes


def _frame(dataset: Dataset, trained: TrainedModel) -> tuple[Dataset, list[int]]:
    """Return a data set with framed images, and the places of pictures without ink."""
    framing, (channels, height, width) = get_framing(trained), trained.image_shape
    images = np.empty((len(dataset), *trained.image_shape), np.uint8)
    blank = []
    for i in range(len(dataset)):
        try:
            digit = find_digit(_picture(dataset, i), framing, (height, width))
            images[i] = framing.color(digit.image, channels)
        except BlankImageError:
            blank.append(i)
    kept = np.delete(np.arange(len(dataset)), blank)
    if len(kept) == 0:
        raise DatasetError(
            f"{dataset.name or 'the data'} must have pictures with ink for a model that reads it, "
            "got none; take the pictures as they are: --reading whole"
        )
    return replace(dataset.take(kept), images=images[kept]), blank


def _picture(dataset: Dataset, index: int) -> NDArray[np.uint8]:
    """Return a picture as its file has it, or as the data set does."""
    if dataset.root is not None and dataset.ids is not None:
        return read_picture(dataset.root / dataset.ids[index])
    image = dataset.images[index].transpose(1, 2, 0)
    return np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image)
