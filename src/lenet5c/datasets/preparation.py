"""How uint8 images become the float32 input of a net."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar

import numpy as np

from lenet5c.datasets.resampling import resize_matrix

_NAMED = {
    "default": dict(size=(32, 32), fit="pad", mean=0.1307, std=0.3081),
    # Minus the mean training image, in pixel units: 1/255 undoes the division by 255.
    "mean-image": dict(size=(32, 32), fit="pad", mean=0.0, std=1 / 255),
    "pynet": dict(size=(32, 32), fit="resize", mean=0.5, std=1.0),
    "conv3x3": dict(size=(28, 28), fit="pad", mean=0.0, std=1.0),
    "average-pool": dict(size=(28, 28), fit="pad", mean=0.05, std=0.5),
    "mirrored": dict(size=(32, 32), fit="resize", mean=0.1307, std=0.3081),
    # Black is -0.1, white is 1.175.
    "paper1998": dict(size=(32, 32), fit="pad", mean=0.1 / 1.275, std=1 / 1.275),
}
NAMES = tuple(_NAMED)
FITS = ("pad", "resize")
#: The largest height or width of a net input; a size from a file must not exhaust the memory.
MAX_SIDE = 1024
_RESIZED_AT_ONCE = 1 << 21  # bytes


@dataclass(frozen=True, eq=False)
class Preparation:
    """Fit images to the input of a net, then shift and scale their pixels.

    A pixel ``p`` (0 to 255, after fitting) becomes ``(p / 255 - mean) / std``; with a mean image,
    ``p`` is first reduced by its value there. It is computed in float32 as
    ``p * scale + offset``, rounded after the product and after the sum.

    Parameters
    ----------
    size : tuple of int
        Height and width of the net's input, 1 to 1024.
    fit : {'pad', 'resize'}, optional
        Centre the image on zeros, or interpolate it.
    mean, std : float, optional
        In units of 255 grey levels: 0 is black, 1 is white. `std` is positive.
    mean_image : ndarray of float32, shape (C, H, W), optional
        In grey levels, at the size of the net's input.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import Preparation
    >>> prepare = Preparation(size=(4, 4), mean=0.5, std=0.5)
    >>> prepare(np.full((1, 1, 2, 2), 255, np.uint8))[0, 0]
    array([[-1., -1., -1., -1.],
           [-1.,  1.,  1., -1.],
           [-1.,  1.,  1., -1.],
           [-1., -1., -1., -1.]], dtype=float32)
    """

    size: tuple[int, int]
    fit: str = "pad"
    mean: float = 0.0
    std: float = 1.0
    mean_image: np.ndarray | None = None

    NAMES: ClassVar[tuple[str, ...]] = NAMES

    def __post_init__(self):
        # A frozen dataclass sets its fields this way.
        put = object.__setattr__
        put(self, "size", _checked_size(self.size))
        if self.fit not in FITS:
            raise ValueError(f"fit must be 'pad' or 'resize', got {self.fit!r}")
        put(self, "mean", _checked_number("mean", self.mean))
        put(self, "std", _checked_number("std", self.std))
        # What is too large for float32 is found by looking, not by a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            if not (self.std > 0 and 0 < self.scale < np.inf):
                raise ValueError(f"std must be positive and within float32, got {self.std!r}")
            put(self, "mean_image", _checked_mean_image(self.mean_image, self.size))
            black = self.offset(1 if self.mean_image is None else len(self.mean_image))
            white = np.float32(255) * self.scale + black
        if not (np.isfinite(black).all() and np.isfinite(white).all()):
            raise ValueError(
                "mean, std and mean_image must give finite float32 values, "
                f"got mean {self.mean!r} and std {self.std!r}"
            )

    @classmethod
    def named(cls, name, train_images=None):
        """Return one of the preparations in `NAMES`.

        Parameters
        ----------
        name : str
            ``'default'``: padded to 32 by 32, ``(p / 255 - 0.1307) / 0.3081``.
            ``'mean-image'``: padded to 32 by 32, minus the mean image of `train_images`, not scaled.
            ``'pynet'``: resized to 32 by 32, ``p / 255 - 0.5``.
            ``'conv3x3'``: 28 by 28, ``p / 255``.
            ``'average-pool'``: 28 by 28, ``(p / 255 - 0.05) / 0.5``.
            ``'mirrored'``: resized to 32 by 32, ``(p / 255 - 0.1307) / 0.3081``.
            ``'paper1998'``: padded to 32 by 32, from -0.1 (black) to 1.175 (LeCun et al., 1998).
        train_images : ndarray of uint8, shape (N, C, h, w), optional
            Needed by ``'mean-image'`` only: the images trained on, without those held out.

        Returns
        -------
        Preparation

        Raises
        ------
        ValueError
            If there is no such name, or ``'mean-image'`` is not given images.

        Examples
        --------
        >>> from lenet5c.datasets import Preparation
        >>> Preparation.named("pynet").to_dict()
        {'size': [32, 32], 'fit': 'resize', 'mean': 0.5, 'std': 1.0, 'mean_image': False}
        """
        if name not in NAMES:
            raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
        preparation = cls(**_NAMED[name])
        if name != "mean-image":
            return preparation
        if train_images is None or len(train_images) == 0:
            raise ValueError("train_images must be given for 'mean-image': it subtracts their mean")
        return cls(**_NAMED[name], mean_image=_mean_image(preparation, train_images))

    @property
    def scale(self):
        """float32 : The factor of a pixel, ``1 / (255 * std)``."""
        return np.float32(1.0 / (255.0 * self.std))

    def offset(self, channels):
        """Return what is added to each scaled pixel.

        Parameters
        ----------
        channels : int
            Channels of the images.

        Returns
        -------
        ndarray of float32, shape (channels, H, W)
            ``-mean / std - mean_image * scale``, computed in float64 from the float32 `scale` and
            rounded once.

        Raises
        ------
        ValueError
            If the mean image has another number of channels.

        Examples
        --------
        >>> from lenet5c.datasets import Preparation
        >>> Preparation(size=(1, 2), mean=0.5, std=0.25).offset(1)
        array([[[-2., -2.]]], dtype=float32)
        """
        plane = np.full((channels, *self.size), 0.0 - self.mean / self.std)
        if self.mean_image is not None:
            if len(self.mean_image) != channels:
                raise ValueError(
                    f"images must have {len(self.mean_image)} channels, as the mean image has, "
                    f"got {channels}"
                )
            plane -= self.mean_image.astype(np.float64) * np.float64(self.scale)
        return plane.astype(np.float32)

    def fit_images(self, images):
        """Pad or resize images to the size of the net's input.

        Padding is centred, its odd row or column at the bottom or on the right. Resizing is
        bilinear about pixel centres, as OpenCV's ``INTER_LINEAR`` is; to shrink, the filter widens
        with the ratio so that no pixel is passed over. The result is rounded half up, and is the
        same on every machine.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, C, h, w)

        Returns
        -------
        ndarray of uint8, shape (N, C, H, W)
            `images` itself if they have the size already.

        Raises
        ------
        TypeError, ValueError
            If `images` is not as above, or is larger than the size and to be padded.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet5c.datasets import Preparation
        >>> image = np.array([[0, 80]], np.uint8).reshape(1, 1, 1, 2)
        >>> Preparation(size=(1, 4), fit="resize").fit_images(image)
        array([[[[ 0, 20, 60, 80]]]], dtype=uint8)
        """
        _check_images(images)
        if images.shape[2:] == self.size:
            return images
        return _pad(images, self.size) if self.fit == "pad" else _resize(images, self.size)

    def __call__(self, images):
        """Return the net's input for `images`.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, C, h, w)

        Returns
        -------
        ndarray of float32, shape (N, C, H, W)

        Raises
        ------
        TypeError, ValueError
            As `fit_images` and `offset` do.
        """
        fitted = self.fit_images(images)
        # Two separate operations: each rounds to float32, as the compiled code does.
        values = np.multiply(fitted, self.scale, dtype=np.float32)
        values += self.offset(fitted.shape[1])
        return values

    def to_dict(self):
        """Return everything but the mean image's array, for JSON.

        Returns
        -------
        dict
            ``size``, ``fit``, ``mean``, ``std``, and whether there is a ``mean_image``.

        Examples
        --------
        >>> from lenet5c.datasets import Preparation
        >>> Preparation.named("default").to_dict()
        {'size': [32, 32], 'fit': 'pad', 'mean': 0.1307, 'std': 0.3081, 'mean_image': False}
        """
        return {
            "size": list(self.size),
            "fit": self.fit,
            "mean": self.mean,
            "std": self.std,
            "mean_image": self.mean_image is not None,
        }

    @classmethod
    def from_dict(cls, values, mean_image=None):
        """Rebuild what `to_dict` described.

        Parameters
        ----------
        values : dict
            As `to_dict` returns it. It may come from a file: everything is checked.
        mean_image : ndarray of float32, shape (C, H, W), optional
            Given if, and only if, ``values['mean_image']`` is true.

        Returns
        -------
        Preparation

        Raises
        ------
        TypeError, ValueError
            If a value is missing, unknown or not as the constructor needs it.

        Examples
        --------
        >>> from lenet5c.datasets import Preparation
        >>> Preparation.from_dict(Preparation.named("average-pool").to_dict()).std
        0.5
        """
        keys = {"size", "fit", "mean", "std", "mean_image"}
        if not isinstance(values, dict):
            raise TypeError(f"values must be a dict, got {type(values).__name__}")
        if set(values) != keys:
            missing, unknown = keys - set(values), sorted(map(repr, set(values) - keys))
            raise ValueError(
                f"values must have the keys {', '.join(sorted(keys))}; "
                f"missing: {', '.join(sorted(missing)) or 'none'}, "
                f"unknown: {', '.join(unknown) or 'none'}"
            )
        if values["mean_image"] is not (mean_image is not None):
            raise ValueError(
                f"values['mean_image'] is {values['mean_image']!r}, but a mean image is "
                f"{'not ' if mean_image is None else ''}given; true goes with one, false without"
            )
        return cls(**{**values, "mean_image": mean_image})


def _mean_image(preparation, images):
    """Return the mean of the fitted images, float32 (C, H, W)."""
    _check_images(images)
    total = 0
    for start in range(0, len(images), 4096):
        fitted = preparation.fit_images(images[start : start + 4096])
        # Integer sums are exact, so the mean does not depend on how they are ordered.
        total = total + fitted.sum(axis=0, dtype=np.int64)
    return (total / len(images)).astype(np.float32)


def _pad(images, size):
    n, c, h, w = images.shape
    if h > size[0] or w > size[1]:
        raise ValueError(
            f"images must be at most {size[0]} by {size[1]} to be padded, got {h} by {w}; "
            "use fit='resize'"
        )
    top, left = (size[0] - h) // 2, (size[1] - w) // 2
    padded = np.zeros((n, c, *size), dtype=np.uint8)
    padded[:, :, top : top + h, left : left + w] = images
    return padded


def _resize(images, size):
    n, c, h, w = images.shape
    rows, columns = resize_matrix(size[0], h), resize_matrix(size[1], w).T
    resized = np.empty((n, c, *size), dtype=np.uint8)
    # Some small images at a time, or some rows of a large one, so that little is ever in float64.
    chunk = max(1, _RESIZED_AT_ONCE // (8 * c * max(h, size[0]) * max(w, size[1])))
    strip = max(1, _RESIZED_AT_ONCE // (8 * c * max(w, size[1])))
    for start in range(0, n, chunk):
        part = images[start : start + chunk]
        narrow = [
            part[:, :, y : y + strip].astype(np.float64) @ columns for y in range(0, h, strip)
        ]
        part = rows @ (narrow[0] if len(narrow) == 1 else np.concatenate(narrow, axis=2))
        part += 0.5
        # Truncation is the floor here: nothing is negative.
        resized[start : start + chunk] = part.astype(np.uint8)
    return resized


def _check_images(images):
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images must be a NumPy array, got {type(images).__name__}")
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(
            "images must be uint8 of shape (N, C, H, W), "
            f"got {images.dtype} of shape {images.shape}"
        )


def _checked_size(size):
    if isinstance(size, str) or not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"size must be a pair (height, width), got {size!r}")
    for side in size:
        if isinstance(side, bool) or not isinstance(side, Integral) or not 1 <= side <= MAX_SIDE:
            raise ValueError(f"size must hold two ints from 1 to {MAX_SIDE}, got {size!r}")
    return int(size[0]), int(size[1])


def _checked_number(name, value):
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a float, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r:.40}")
    return number


def _checked_mean_image(image, size):
    if image is None:
        return None
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "fiu":
        raise TypeError(
            "mean_image must be a float32 array, "
            f"got {getattr(image, 'dtype', type(image).__name__)}"
        )
    if image.ndim != 3 or len(image) == 0 or image.shape[1:] != size:
        raise ValueError(f"mean_image must have shape (C, {size[0]}, {size[1]}), got {image.shape}")
    return np.ascontiguousarray(image, dtype=np.float32)
