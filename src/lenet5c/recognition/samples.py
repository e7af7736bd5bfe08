"""Conversion of data sets of pictures to the input format of a model of digits."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets import Dataset, DatasetError, Source
from lenet5c.datasets.framing import measure_framing
from lenet5c.datasets.pictures import read_picture
from lenet5c.recognition.digit import BlankImageError
from lenet5c.recognition.reading import find_digit, get_framing
from lenet5c.training import TrainedModel


def frame_source(source: Source, trained: TrainedModel) -> tuple[Source, list[str]]:
    """Convert the pictures of a source to the format of the model's digits.

    The ink of each picture is prepared as `predict` does it. Pictures without ink are dropped.

    Parameters
    ----------
    source : lenet5c.datasets.Source
        Whole pictures, dark on light or light on dark.
    trained : lenet5c.training.TrainedModel
        A model that reads ink.

    Returns
    -------
    source : lenet5c.datasets.Source
    notes : list of str
        Remarks for the user.

    Raises
    ------
    DatasetError
        If a part has no picture with ink.
    """
    parts: dict[str, Any] = {}
    notes: dict[str, None] = {}  # ordered, without duplicates
    for part in ("train", "test", "validation"):
        dataset = getattr(source, part)
        if dataset is not None:
            parts[part], remarks = frame_dataset(dataset, trained)
            notes |= dict.fromkeys(remarks)
    return replace(source, **parts, reading=trained.reading), list(notes)


def frame_dataset(dataset: Dataset, trained: TrainedModel) -> tuple[Dataset, list[str]]:
    """Convert one data set as `frame_source` does; images in the model's format are unchanged."""
    framing, (channels, height, width) = get_framing(trained), trained.image_shape
    alike = dataset.images.shape[1:] == trained.image_shape
    if alike and measure_framing(dataset.images, framing) == framing:
        return dataset, []
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
            "got none; read whole pictures with --reading whole"
        )
    notes = ["its pictures are read as predict reads them: the ink, cropped and centered"]
    if blank:
        first = dataset.describe(blank[0])
        notes.append(
            f"pictures without ink are left out: {len(blank)} of {len(dataset)}, such as {first}"
        )
    return replace(dataset.take(kept), images=images[kept]), notes


def _picture(dataset: Dataset, index: int) -> NDArray[np.uint8]:
    """Return a picture from its file if there is one, else from the data set."""
    if dataset.root is not None and dataset.ids is not None:
        return read_picture(dataset.root / dataset.ids[index])
    image = dataset.images[index].transpose(1, 2, 0)
    return np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image)
