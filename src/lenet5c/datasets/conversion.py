"""Conversion of pictures to images: channels, gray levels and size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.resampling import letterbox, resize
from lenet5c.kernels.arrays import unmasked

_AT_ONCE = 1 << 18  # pixels


def to_image(picture: NDArray[np.uint8], image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Convert a picture to a number of channels, a height and a width.

    The picture is not cropped or stretched: if the aspect ratio differs, `letterbox` adds bars in
    the color of its edge. The pixels do not change if the picture already has the right size.

    The picture has shape (h, w), (h, w, 1) or (h, w, 3), gray or RGB. Colors are converted to gray
    with the weights of ITU-R 601, gray to three equal channels. Raises a DatasetError if
    `image_shape`, (C, H, W), has neither 1 nor 3 channels.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets.conversion import to_image
    >>> to_image(np.array([[0, 80]], np.uint8), (1, 2, 4))
    array([[[ 0, 20, 60, 80],
            [ 0, 20, 60, 80]]], dtype=uint8)
    >>> to_image(np.array([[[255, 0, 0]]], np.uint8), (1, 1, 1))
    array([[[76]]], dtype=uint8)
    """
    channels, height, width = image_shape
    return letterbox(to_channels(picture, channels), (height, width))


def to_channels(picture: Any, channels: int) -> NDArray[np.uint8]:
    """Convert a picture (see `to_image`) to uint8 (C, h, w)."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        found = picture.dtype if isinstance(picture, np.ndarray) else type(picture).__name__
        raise TypeError(f"picture must be a NumPy array with dtype uint8, got {found}")
    if picture.ndim == 2:
        picture = picture[..., np.newaxis]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3) or picture.size == 0:
        raise ValueError(
            f"picture must have a nonempty shape (h, w) or (h, w, 3), got {picture.shape}"
        )
    if channels not in (1, 3):
        raise DatasetError(f"channels of images made from pictures must be 1 or 3, got {channels}")
    if channels == picture.shape[2]:
        return picture.transpose(2, 0, 1)
    if channels == 3:
        return np.repeat(picture.transpose(2, 0, 1), 3, axis=0)
    return to_gray(picture)[np.newaxis]


def to_pixels(images: Any) -> NDArray[np.uint8]:
    """Convert an array of gray levels or colors, of any shape, to uint8.

    Integers from 0 to 255 keep their values; bool, and floats from 0 (black) to 1 (white), are
    scaled to 0 to 255. Raises a TypeError or ValueError for other arrays.

    Examples
    --------
    >>> from lenet5c.datasets.conversion import to_pixels
    >>> to_pixels([0.0, 0.5, 1.0])
    array([  0, 128, 255], dtype=uint8)
    """
    if getattr(images, "dtype", None) == np.uint8 and not isinstance(images, np.ma.MaskedArray):
        return images  # possibly mapped
    array = unmasked("images", np.asanyarray(images))
    if array.dtype.kind not in "fiub":
        found = array.dtype if array.ndim else type(images).__name__
        raise TypeError(f"images must be an array of uint8, or of floats from 0 to 1, got {found}")
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    most = 1 if array.dtype.kind == "f" else 255
    if not (low >= 0 and high <= most):  # also true for NaN
        finite = "finite, " if array.dtype.kind == "f" and not np.isfinite(low + high) else ""
        remedy = "; divide them by 255" if most == 1 and 1 < high <= 255 else ""
        raise ValueError(
            f"{array.dtype} images must be {finite}from 0 to {most}, got {low:g} to "
            f"{high:g}{remedy}"
        )
    return (array * 255 + 0.5).astype(np.uint8) if most == 1 else array.astype(np.uint8)


def make_thumbnail(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Shrink a picture (see `to_image`) to sides of at most `side`: uint8 (h, w, C)."""
    planes = to_channels(picture, 1 if picture.ndim == 2 else picture.shape[2])
    height, width = planes.shape[1:]
    longest = max(height, width)
    if longest > side:
        size = (max(1, round(height * side / longest)), max(1, round(width * side / longest)))
        planes = resize(planes, size)
    return np.array(planes.transpose(1, 2, 0))


def to_gray(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert uint8 (h, w, 3) to (h, w): 0.299 red, 0.587 green and 0.114 blue, rounded."""
    gray = np.empty(picture.shape[:2], np.uint8)
    strip = max(1, _AT_ONCE // max(1, picture.shape[1]))
    for y in range(0, len(picture), strip):
        # The weights in units of 2**-16; their sum is exactly 1.
        red, green, blue = (picture[y : y + strip, :, i].astype(np.uint32) for i in range(3))
        gray[y : y + strip] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return gray


def is_gray(picture: NDArray[np.uint8]) -> bool:
    """Return True if a picture (see `to_image`) has no color."""
    if picture.ndim == 2 or picture.shape[2] == 1:
        return True
    first, *others = (picture[..., i] for i in range(picture.shape[2]))
    return all(np.array_equal(first, other) for other in others)
