"""A whole picture as an image for a net: what folders of images, and models trained on them, read."""

import numpy as np

from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.preparation import Preparation


def to_image(picture, image_shape):
    """Bring a picture to channels, height and width.

    Nothing is cropped or framed: a picture of other proportions is stretched. The filter is that of
    ``Preparation(fit="resize")``, so the result is the same on every machine. A picture that has the size already
    keeps its pixels.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w), (h, w, 1) or (h, w, 3)
        Grey, or red, green and blue.
    image_shape : tuple of int
        (C, H, W) with a C of 1 or 3. Colours become grey as ITU-R 601 weighs them; grey becomes three equal channels.

    Returns
    -------
    ndarray of uint8, shape (C, H, W)

    Raises
    ------
    TypeError, ValueError
        If `picture` is not as above.
    DatasetError
        If a picture cannot have C channels.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets.whole import to_image
    >>> to_image(np.array([[0, 80]], np.uint8), (1, 1, 4))
    array([[[ 0, 20, 60, 80]]], dtype=uint8)
    >>> to_image(np.array([[[255, 0, 0]]], np.uint8), (1, 1, 1))
    array([[[76]]], dtype=uint8)
    """
    channels, height, width = image_shape
    planes = with_channels(picture, channels)
    return Preparation(size=(height, width), fit="resize").fit_images(planes[np.newaxis])[0]


def with_channels(picture, channels):
    """A picture, as `to_image` takes it, as uint8 (C, h, w)."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        found = picture.dtype if isinstance(picture, np.ndarray) else type(picture).__name__
        raise TypeError(f"picture must be a NumPy array of uint8, got {found}")
    if picture.ndim == 2:
        picture = picture[..., np.newaxis]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3) or picture.size == 0:
        raise ValueError(
            f"picture must have a shape (h, w) or (h, w, 3) without a zero, got {picture.shape}"
        )
    if channels not in (1, 3):
        raise DatasetError(
            f"images of {channels} channels cannot be made from a picture, which has 1 or 3"
        )
    if channels == picture.shape[2]:
        return picture.transpose(2, 0, 1)
    if channels == 3:
        return np.repeat(picture.transpose(2, 0, 1), 3, axis=0)
    return grey(picture)[np.newaxis]


def thumbnail(picture, side):
    """A picture, as `to_image` takes it, of the same proportions and no side longer than this: uint8 (h, w, C)."""
    planes = with_channels(picture, 1 if picture.ndim == 2 else picture.shape[2])
    height, width = planes.shape[1:]
    longest = max(height, width)
    if longest > side:
        size = (max(1, round(height * side / longest)), max(1, round(width * side / longest)))
        planes = Preparation(size=size, fit="resize").fit_images(planes[np.newaxis])[0]
    return np.array(planes.transpose(1, 2, 0))


def grey(picture):
    """uint8 (h, w) of uint8 (h, w, 3): 0.299 red, 0.587 green and 0.114 blue, rounded; grey stays as it is."""
    # The weights in units of 2**-16; their sum is exactly 1.
    red, green, blue = (picture[..., i].astype(np.uint32) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)


def is_grey(picture):
    """Whether a picture, as `to_image` takes it, has no colour."""
    if picture.ndim == 2 or picture.shape[2] == 1:
        return True
    return bool(
        (picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all()
    )
