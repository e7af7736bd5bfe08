"""Data sets from arrays in memory."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.datasets.dataset import Dataset, DatasetError
from lenet5c.datasets.pixels import convert_images, convert_labels
from lenet5c.datasets.records import ALL, Found, Records, label_parts
from lenet5c.kernels.arrays import unmasked


def make_dataset(
    images: ArrayLike, labels: ArrayLike, sample_weight: ArrayLike | None = None, name: str = "data"
) -> Dataset:
    """Create a data set from arrays of images and labels.

    Parameters
    ----------
    images : array_like, shape (N, H, W), (N, C, H, W), (N, H, W, C) or (N, F)
        Pixels as integers or floats: 0 to 1, 0 to 16, 0 to 255 or more bits, -1 to 1, or
        standardized. Rows of F values are square images of one or three channels.
    labels : array_like, shape (N,), (N, 1) or one-hot (N, K)
        Integers or text. Labels other than 0, 1, 2, ... are sorted and become the `class_names`.
    sample_weight : array_like of float, shape (N,), optional
    name : str, optional

    Raises
    ------
    DatasetError
        If the arrays are invalid or do not match each other.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import make_dataset
    >>> make_dataset(np.random.rand(4, 28, 28), ["cat", "dog", "dog", "cat"])
    <Dataset 'data': 4 images of shape (1, 28, 28), 2 classes>
    """
    pixels, targets = unmasked("images", images), unmasked("labels", labels)
    converted, *_ = convert_images({"images": pixels})
    found = convert_labels(targets, "labels")
    if len(found) != len(pixels):
        raise DatasetError(
            f"labels must have length {len(pixels):,}, one for each image, got {len(found):,}"
        )
    parts, _ = label_parts(Found({ALL: Records(converted["images"], found)}, name))
    if sample_weight is None:
        return parts[ALL]
    made: dict[str, Any] = {**vars(parts[ALL]), "sample_weight": np.asarray(sample_weight)}
    try:
        return Dataset(**made)
    except ValueError as error:
        raise DatasetError(error) from None
