"""Conversion of arrays of any numeric type to 8-bit images, and of arrays of labels.

Files contain pixels as bytes, as floats from 0 to 1 or 0 to 255, as 12 bits in 16, or standardized.
All parts of a data set are scaled with the same values of black and white.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import isqrt, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import listing, printable
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.mapped import Images, MappedImages

#: Maximum side of an image, and minimum side of an image detected in rows of values.
MAX_SIDE, MIN_SIDE = 1024, 4
#: Levels of white if no value is negative: the smallest that no value exceeds. 16 is that of the
#: 8 by 8 digits of scikit-learn; the others are bit depths.
WHITES = (1, 16, 255, 1023, 4095, 16383, 65535)
_AT_ONCE = 1 << 20  # values
_UNSURE = 0.01  # tolerance of the sum of probabilities, which may be rounded
_FRACTION = re.compile(r"-?[0-9]*\.[0-9]*[1-9][0-9]*(e[-+]?[0-9]+)?", re.IGNORECASE)


def convert_images(
    arrays: Mapping[str, NDArray[Any] | MappedImages],
    image_shape: tuple[int, ...] | None = None,
    known: Mapping[str, float] = {},
) -> tuple[dict[str, Images], list[str], dict[str, float]]:
    """Convert the arrays of all parts of a data set to 8-bit images.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays by their names in error messages. Dtypes are bool, integers or floats; shapes are (N,
        F), (N, H, W) or (N, C, H, W), channels first or last. `MappedImages` stay in their file.
    image_shape : tuple of int, optional
        See `find_image_shape`.
    known : dict of str to float, optional
        The levels returned for the training images of a model. They are used if the values are of
        the same kind: integers or floats, with or without negative values, and not greater than
        white.

    Returns
    -------
    images : dict of str to ndarray of uint8 or MappedImages, shape (N, C, H, W)
    notes : list of str
    levels : dict of str to float
        The value of white, as 'int' or 'float', and of 'black' if it is not 0; empty if white is 1
        or 255.

    Raises
    ------
    DatasetError
        If values are not finite, or a shape is not that of images.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets.pixels import convert_images
    >>> images, notes, levels = convert_images({"x_train": np.array([[[0, 0.2], [0.6, 1]]])})
    >>> images["x_train"]
    array([[[[  0,  51],
             [153, 255]]]], dtype=uint8)
    """
    notes: list[str] = []
    shapes: dict[str, tuple[int, int, int]] = {}
    for name, array in arrays.items():
        # The first part determines the order of the values in a row.
        row = array.shape[1:] if array.ndim == 2 else ()
        same = next((shape for shape in shapes.values() if (prod(shape),) == row), None)
        shapes[name] = find_image_shape(array, name, image_shape or same, notes)
    with_alpha = [name for name, shape in shapes.items() if _count_channels(shape) == 4]
    if with_alpha:
        notes.append(
            f"{listing(with_alpha)}: all 4 channels are used; if the fourth is opacity "
            "(RGBA), remove it with images[..., :3]"
        )
    kind = "float" if any(array.dtype.kind == "f" for array in arrays.values()) else "int"
    least, most = find_extremes(arrays)
    black, white = find_range(least, most)
    levels: dict[str, float] = {}
    in_training = ""
    if kind in known and _may_have_kind(known, kind, arrays, least, most):
        black, white = known.get("black", 0.0), known[kind]
        in_training = ", as in training"
    if (black, white) not in ((0, 1), (0, 255)):
        notes.append(
            f"pixel values from {black:g} to {white:g} are scaled to black and white{in_training}"
        )
        levels = {kind: white} | ({"black": black} if black else {})
    images: dict[str, Images] = {}
    for name, array in arrays.items():
        to_images = partial(arrange, shape=shapes[name])
        whole = array.dtype == np.uint8 and (black, white) == (0, 255)
        if isinstance(array, MappedImages):
            placed = array.apply(to_images)
            to_bytes = partial(scale, black=black, white=white)
            images[name] = placed if whole else placed.apply(to_bytes)
            continue
        if whole:
            images[name] = np.ascontiguousarray(to_images(array))
            continue
        images[name] = converted = np.empty((len(array), *to_images(array[:0]).shape[1:]), np.uint8)
        for rows, part in _walk(array):
            converted[rows] = scale(to_images(part), black, white)
    return images, notes, levels


def _may_have_kind(
    known: Mapping[str, float],
    kind: str,
    arrays: Mapping[str, NDArray[Any] | MappedImages],
    least: float,
    most: float,
) -> bool:
    """Return True if values seem to be of the kind of the known levels."""
    if "black" in known:
        return least < 0
    if known[kind] > 255 and all(array.dtype == np.uint8 for array in arrays.values()):
        return False
    return least >= 0 and most <= known[kind]


def find_extremes(arrays: Mapping[str, NDArray[Any] | MappedImages]) -> tuple[float, float]:
    """Return the minimum and maximum of all arrays; 0 and 255 for bytes of many levels.

    Raises a DatasetError with the index of an image if a value is not finite.
    """
    least, most = np.inf, -np.inf
    for name, array in arrays.items():
        for rows, part in _walk(array):
            low, high = float(part.min()), float(part.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                bad = ~np.isfinite(part).reshape(len(part), -1).all(axis=1)
                raise DatasetError(
                    f"{name} must contain finite numbers, got {part[bad][0].sum():g} in image "
                    f"{rows.start + int(bad.argmax())}, counted from 0; repair or remove it"
                )
            least, most = min(least, low), max(most, high)
            if array.dtype == np.uint8 and most > WHITES[1]:
                least, most = min(least, 0.0), max(most, 255.0)
                break  # the range of bytes is known
    return least, most


def find_range(least: float, most: float) -> tuple[float, float]:
    """Return the values of black and white for a range of values.

    Without negative values, these are 0 and one of `WHITES`; for values from -1 to 1, -1 and 1;
    otherwise, as for standardized images, the minimum and maximum.
    """
    if least >= 0 and most <= WHITES[-1]:
        return 0.0, float(next(white for white in WHITES if most <= white))
    if least >= -1 and most <= 1:
        return -1.0, 1.0
    return least, (most if most > least else least + 1)


def scale(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    """Convert values linearly to bytes, `black` to 0 and `white` to 255, rounded."""
    if (black, white) == (0, 255):
        return np.rint(values).astype(np.uint8) if values.dtype.kind == "f" else values.astype("u1")
    # Halved first, because the difference of the largest floats would overflow.
    scaled = values.astype(np.float64) / 2 - black / 2
    scaled *= 255 / (white / 2 - black / 2)
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def find_image_shape(
    array: NDArray[Any] | MappedImages,
    name: str,
    image_shape: tuple[int, ...] | None = None,
    notes: list[str] | None = None,
) -> tuple[int, int, int]:
    """Return the stored shape of each image in an array, channels first or last.

    Parameters
    ----------
    array : ndarray, shape (N, F), (N, H, W), (N, C, H, W) or (N, H, W, C)
        Rows of F values are square images of one or three channels.
    name : str
        Name in error messages.
    image_shape : tuple of int, optional
        Shape (H, W), (C, H, W) or (H, W, C) of rows that are not square images, or whose order is
        detected wrongly.
    notes : list of str, optional
        Receives a remark if the order of the values in a row was estimated.

    Raises
    ------
    DatasetError
        If the shape is not that of images.
    """
    shape = tuple(array.shape[1:])
    if (kind := array[:0].dtype).kind not in "buif":
        raise DatasetError(
            f"{name} must be an array of numbers, got an array of {kind}; store pixels as uint8"
        )
    if not shape or 0 in array.shape:
        raise DatasetError(
            f"{name} must have shape (N, F), (N, H, W) or (N, C, H, W), got "
            f"{array.shape}; pass an array of images"
        )
    features = prod(shape)
    if image_shape is not None:
        if prod(image_shape) != features:
            raise DatasetError(
                f"image_shape must match the {features} values of an image in {name}, "
                f"got {_by(image_shape)}, which has {prod(image_shape)} values"
            )
        shape = image_shape
    elif max(shape) == features:  # a row, possibly with axes of size 1
        if not is_square(features):
            raise DatasetError(
                f"{name} must have a square number of values for each image, or three times one, "
                f"got {features}; set image_shape (--image-shape 28x20)"
            )
        shape = _measure_shape(array, features, notes)
    shape = (1, *shape) if len(shape) == 2 else shape
    if len(shape) != 3:
        raise DatasetError(
            f"{name} must have shape (N, F), (N, H, W) or (N, C, H, W), "
            f"got {array.shape}; reshape it"
        )
    if max(shape) > MAX_SIDE:
        raise DatasetError(
            f"{name} must have images of at most {MAX_SIDE} pixels per side, got {_by(shape)}; "
            "resize them first"
        )
    return shape


def arrange(batch: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """Return a view of images as (N, C, H, W), given their shape from `find_image_shape`."""
    images = batch.reshape(len(batch), *shape)
    return np.moveaxis(images, 3, 1) if _has_channels_last(shape) else images


def _has_channels_last(shape: tuple[int, int, int]) -> bool:
    return shape[2] in (1, 3, 4) and shape[0] not in (1, 3)


def _count_channels(shape: tuple[int, int, int]) -> int:
    return shape[2] if _has_channels_last(shape) else shape[0]


def convert_labels(
    values: NDArray[Any] | Sequence[str], name: str
) -> NDArray[np.int64] | list[str]:
    """Convert an array of labels to integers, or to names if they are text.

    Parameters
    ----------
    values : ndarray, shape (N,), (N, 1) or (1, N), or one-hot (N, K); or sequence of str
        Integers, bool, floats with integer values, or text. Text of integers is converted to
        integers.
    name : str
        Name in error messages.

    Raises
    ------
    DatasetError
        If the array does not contain labels.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets.pixels import convert_labels
    >>> convert_labels(np.array([[0.0, 1.0], [1.0, 0.0]]), "y_train")
    array([1, 0])
    >>> convert_labels(np.array(["cat", "dog"]), "y_train")
    ['cat', 'dog']
    """
    if not isinstance(values, np.ndarray):
        return _read_texts(values, name)
    if values.ndim == 2 and 1 in values.shape:
        values = values.ravel()
    if values.ndim == 2 and values.dtype.kind in "buif" and values.size:
        binary = ((values == 0) | (values == 1)).all()
        if not binary or (np.count_nonzero(values, axis=1) != 1).any():
            raise DatasetError(
                f"{name} must be labels, one for each image, or one-hot rows, got rows of "
                f"{values.shape[1]} values that are not one-hot; pass their argmax, or "
                "probabilities as floats"
            )
        return values.argmax(axis=1).astype(np.int64)
    if values.ndim != 1 or values.dtype.kind not in "buifUS":
        raise DatasetError(
            f"{name} must be labels, one for each image, got {values.dtype} of shape "
            f"{values.shape}; use integers or text"
        )
    if values.dtype.kind in "US":
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8", "replace")
        codes = np.ascontiguousarray(values).view(values.dtype.byteorder + "u4")
        if values.itemsize and codes.max(initial=0) > sys.maxunicode:
            raise DatasetError(f"{name} must be text, got invalid characters")
        return _read_texts(values.tolist(), name)
    if values.dtype.kind == "f" and (bad := ~(np.isfinite(values) & (values % 1 == 0))).any():
        raise DatasetError(
            f"{name} must be integers, got {values[bad][0]:g} for image {int(bad.argmax())}, "
            "counted from 0; use integers or text"
        )
    if len(values) and not -(2**53) <= float(values.min()) <= float(values.max()) <= 2**53:
        raise DatasetError(
            f"{name} must be integers of at most 2**53, got {values.min()} to {values.max()}; use "
            "other labels"
        )
    return values.astype(np.int64)


def convert_targets(values: NDArray[Any], name: str) -> NDArray[np.float32] | None:
    """Convert soft targets: a row of class probabilities for each image.

    Parameters
    ----------
    values : ndarray, shape (N, K)
    name : str
        Name in error messages.

    Returns
    -------
    ndarray of float32 (N, K), or None
        None if the array contains labels or one-hot rows.

    Raises
    ------
    DatasetError
        If rows of floats are not probabilities that add up to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets.pixels import convert_targets
    >>> convert_targets(np.array([[0.75, 0.25], [0.5, 0.5]]), "targets")
    array([[0.75, 0.25],
           [0.5 , 0.5 ]], dtype=float32)
    """
    if values.ndim != 2 or 1 in values.shape or values.dtype.kind != "f" or not values.size:
        return None
    if ((values == 0) | (values == 1)).all():
        return None
    with np.errstate(all="ignore"):
        sums = values.sum(axis=1, dtype=np.float64)
        bad = ~((values >= 0).all(axis=1) & (np.abs(sums - 1) < _UNSURE))
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(
            f"{name} must be labels, or probabilities that add up to 1 for each image, got "
            f"{values[row].min():.4g} to {values[row].max():.4g} with a sum of {sums[row]:.4g} for "
            f"image {row}, counted from 0; divide each row by its sum"
        )
    return np.ascontiguousarray(values, np.float32)


def guess_reading(parts: Iterable[Images]) -> str:
    """Return the `reading` of a `Source`, based on the images of one part.

    It is 'ink' for gray images with much background, such as digits on black or white, and 'whole'
    for photographs.
    """
    images = next(iter(parts))
    sample = images[:: max(1, len(images) // 500)]
    if sample.shape[1] != 1:
        return "whole"
    return "ink" if max((sample < 16).mean(), (sample >= 240).mean()) > 0.4 else "whole"


def is_square(features: int) -> bool:
    """Return True if `features` is the size of a square image of one or three channels."""
    return any(
        features >= channels * MIN_SIDE**2
        and features == channels * isqrt(features // channels) ** 2
        for channels in (1, 3)
    )


def _read_texts(values: Sequence[str], name: str) -> NDArray[np.int64] | list[str]:
    texts = {value: printable(value.strip()) for value in dict.fromkeys(values)}
    if all(re.fullmatch(r"(0|-?[1-9][0-9]{0,14})(\.0*)?", text) for text in texts.values()):
        numbers = {value: int(text.partition(".")[0]) for value, text in texts.items()}
        return np.array([numbers[value] for value in values], np.int64)
    if broken := next(filter(_FRACTION.fullmatch, texts.values()), None):
        raise DatasetError(
            f"{name} must have integers or names as labels, got {broken:.40}; name the column of "
            "labels with label_column (--label-column)"
        )
    return [texts[value] for value in values]


def _measure_shape(
    array: NDArray[Any] | MappedImages, features: int, notes: list[str] | None
) -> tuple[int, ...]:
    """Return the shape of rows that are square images, with channels first or last.

    The order with the smaller differences between adjacent pixels is chosen.
    """
    if (side := isqrt(features)) ** 2 == features:
        return side, side
    side = isqrt(features // 3)
    rows = array[:100].reshape(-1, features).astype(np.float64)

    def roughness(images: NDArray[np.float64]) -> float:
        with np.errstate(all="ignore"):  # non-finite values are rejected later
            return float(sum(np.abs(np.diff(images, axis=axis)).sum() for axis in (2, 3)))

    first, last = (3, side, side), (side, side, 3)
    shape = min((first, last), key=lambda shape: roughness(arrange(rows, shape)))
    if notes is not None:
        order = "channels first" if shape == first else "channels last"
        notes.append(f"{features:,} values are read as {_by(shape)}, {order}")
    return shape


def _walk(array: NDArray[Any] | MappedImages) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield blocks of images with their positions."""
    step = max(1, _AT_ONCE // max(1, prod(array.shape[1:])))
    for start in range(0, len(array), step):
        rows = slice(start, min(start + step, len(array)))
        yield rows, np.asarray(array[rows])


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
