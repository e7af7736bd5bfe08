"""Occlusion maps: decrease of a logit when a patch of the image is covered."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from lenet5c.nn.layer import positive
from lenet5c.training.explanation.pixels import Label, find_ground, find_label, take_image
from lenet5c.training.model_file import TrainedModel

#: Maximum bytes of a batch of covered images.
BLOCK = 1 << 24


def occlusion(
    trained: TrainedModel,
    image: ArrayLike,
    label: Label = None,
    *,
    patch: int = 5,
    fill: int | None = None,
) -> NDArray[np.float32]:
    """Decrease of the logit of a class when a patch around each pixel is covered.

    Parameters
    ----------
    trained : TrainedModel
        Of any `Sequential`. After an `RBF` layer the logits are the penalties negated.
    image : array_like (h, w) or (C, h, w)
        As `TrainedModel.logits` takes it.
    label : int or str, optional
        The class, by position or name. Default: the predicted one.
    patch : int
        Side of the square in pixels, clipped at the image border. If it is even, the larger half is
        above and to the left of the pixel.
    fill : int, optional
        Gray level of the patch. Default: the background of the training images, or the mean color
        of the image if they are not ink on paper.

    Returns
    -------
    ndarray of float32 (h, w)
        Logit of the image minus logit of the covered image: positive where the covered patch
        supports the class, negative where it opposes it.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    References
    ----------
    Zeiler and Fergus (2014), Visualizing and understanding convolutional networks.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recognition.why import occlusion
    >>> from lenet5c.training import open_model
    >>> image = mnist()[1].images[0]
    >>> occlusion(open_model(), image).shape
    (28, 28)
    """
    pixels = take_image(trained, image)
    channels, height, width = pixels.shape
    patch = positive("patch", patch)
    if fill is None:
        ground = np.rint(find_ground(trained, pixels)).astype(np.uint8)
    elif isinstance(fill, (int, np.integer)) and 0 <= fill <= 255:
        ground = np.full(channels, fill, np.uint8)
    else:
        raise ValueError(f"fill must be a gray level from 0 to 255, got {fill!r}")
    # Covering the background has no effect.
    differs = (pixels != ground[:, np.newaxis, np.newaxis]).any(axis=0)
    before, after = patch // 2, patch - 1 - patch // 2
    padded = np.pad(differs, (before, after))
    rows, columns = np.nonzero(sliding_window_view(padded, (patch, patch)).any(axis=(2, 3)))
    logits = trained.logits(pixels[np.newaxis])[0]
    number = find_label(trained, label, logits)
    fall = np.zeros((height, width), np.float32)
    step = max(1, BLOCK // pixels.size)
    for start in range(0, len(rows), step):
        y, x = rows[start : start + step], columns[start : start + step]
        covered = np.repeat(pixels[np.newaxis], len(y), axis=0)
        bordered = np.pad(covered, ((0, 0), (0, 0), (before, after), (before, after)))
        # In the padded image, the window of a patch starts at its pixel.
        windows = sliding_window_view(bordered, (patch, patch), axis=(2, 3), writeable=True)
        windows[np.arange(len(y)), :, y, x] = ground[:, np.newaxis, np.newaxis]
        inside = bordered[:, :, before : before + height, before : before + width]
        fall[y, x] = logits[number] - trained.logits(inside)[:, number]
    return fall
