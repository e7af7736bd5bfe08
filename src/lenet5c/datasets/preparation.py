"""Conversion of uint8 images to the float32 input of a net: size, offset and scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets._checks import check_choice, check_images, check_number, check_size
from lenet5c.datasets.mapped import AnyImages, Images, MappedImages, apply, blocks
from lenet5c.datasets.resampling import resize
from lenet5c.kernels.engine.samples import Samples

if TYPE_CHECKING:
    from lenet5c.datasets.dataset import Dataset

_NAMED: dict[str, dict[str, Any]] = {
    "default": {"size": (32, 32), "fit": "pad", "mean": 0.1307, "std": 0.3081},
    # Subtracts the mean training image in pixel units: 1/255 cancels the division by 255.
    "mean-image": {"size": (32, 32), "fit": "pad", "mean": 0.0, "std": 1 / 255},
    "resized": {"size": (32, 32), "fit": "resize", "mean": 0.1307, "std": 0.3081},
    "resized-centered": {"size": (32, 32), "fit": "resize", "mean": 0.5, "std": 1.0},
    "unit-range": {"size": (28, 28), "fit": "pad", "mean": 0.0, "std": 1.0},
    "double-range": {"size": (28, 28), "fit": "pad", "mean": 0.05, "std": 0.5},
    # Black becomes -0.1, white 1.175.
    "paper1998": {"size": (32, 32), "fit": "pad", "mean": 0.1 / 1.275, "std": 1 / 1.275},
}
NAMES = tuple(_NAMED)
FITS = ("pad", "resize")
#: Maximum side of a net input; a size from a file must not exhaust memory.
MAX_SIDE = 1024


@dataclass(frozen=True, eq=False)
class Preparation:
    """Fit images to the input of a net, then scale and shift their pixels.

    A pixel ``p`` (0 to 255, after fitting) becomes ``(p / 255 - mean) / std``; the mean image, if
    any, is subtracted first. The result is computed in float32 as ``p * scale + offset``, rounded
    after the product and after the sum.

    Parameters
    ----------
    size : tuple of int
        Height and width of the net's input, 1 to 1024.
    fit : {'pad', 'resize'}, optional
        Center the image on zeros, or resample it with `resize`.
    mean, std : float, optional
        Mean and standard deviation in units of 255 gray levels: 0 is black, 1 is white. `std` is
        positive.
    mean_image : ndarray of float32, shape (C, H, W), optional
        Mean image in gray levels, at the size of the net's input.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message names it.

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
    mean_image: NDArray[np.float32] | None = None

    NAMES: ClassVar[tuple[str, ...]] = NAMES

    def __post_init__(self) -> None:
        # A frozen dataclass sets its fields this way.
        put = object.__setattr__
        put(self, "size", check_size(self.size, MAX_SIDE))
        check_choice("fit", self.fit, FITS)
        put(self, "mean", check_number("mean", self.mean))
        put(self, "std", check_number("std", self.std))
        # Overflow is checked below instead of warned about.
        with np.errstate(over="ignore", invalid="ignore"):
            if not (self.std > 0 and 0 < self.scale < np.inf):
                raise ValueError(f"std must be positive and within float32, got {self.std!r}")
            put(self, "mean_image", _check_mean_image(self.mean_image, self.size))
            black = self.offset(1 if self.mean_image is None else len(self.mean_image))
            white = np.float32(255) * self.scale + black
        if not (np.isfinite(black).all() and np.isfinite(white).all()):
            raise ValueError(
                "mean, std and mean_image must produce finite float32 values, got mean "
                f"{self.mean!r} and std {self.std!r}"
            )

    @classmethod
    def named(cls, name: str, train_images: Images | None = None) -> Preparation:
        """Return the preparation with a name from `NAMES`.

        Parameters
        ----------
        name : str
            ``'default'``: padded to 32 by 32, ``(p / 255 - 0.1307) / 0.3081``.
            ``'mean-image'``: padded to 32 by 32, minus the mean of `train_images`, not scaled.
            ``'resized'``: resized to 32 by 32, ``(p / 255 - 0.1307) / 0.3081``.
            ``'resized-centered'``: resized to 32 by 32, ``p / 255 - 0.5``.
            ``'unit-range'``: 28 by 28, ``p / 255``.
            ``'double-range'``: 28 by 28, ``(p / 255 - 0.05) / 0.5``, from -0.1 to 1.9.
            ``'paper1998'``: padded to 32 by 32, from -0.1 (black) to 1.175 (LeCun et al., 1998).
        train_images : ndarray of uint8, shape (N, C, h, w), optional
            Training images without held-out ones; only needed for ``'mean-image'``.

        Raises
        ------
        ValueError
            If there is no such name, or ``'mean-image'`` has no images.

        Examples
        --------
        >>> from lenet5c.datasets import Preparation
        >>> Preparation.named("resized-centered").to_dict()
        {'size': [32, 32], 'fit': 'resize', 'mean': 0.5, 'std': 1.0, 'mean_image': False}
        """
        if name not in NAMES:
            raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
        preparation = cls(**_NAMED[name])
        if name != "mean-image":
            return preparation
        if train_images is None or len(train_images) == 0:
            raise ValueError("train_images must be passed for 'mean-image', got None")
        return cls(**_NAMED[name], mean_image=_compute_mean(preparation, train_images))

    @property
    def scale(self) -> np.float32:
        """float32 : The factor of a pixel, ``1 / (255 * std)``."""
        return np.float32(1.0 / (255.0 * self.std))

    def offset(self, channels: int) -> NDArray[np.float32]:
        """Return the offset of each scaled pixel.

        Parameters
        ----------
        channels : int
            Number of channels of the images.

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
                    f"images must have the {len(self.mean_image)} channels of the mean image, got "
                    f"{channels}"
                )
            plane -= self.mean_image.astype(np.float64) * np.float64(self.scale)
        return plane.astype(np.float32)

    def fit_images(self, images: AnyImages) -> AnyImages:
        """Pad or resize images to the size of the net's input; `MappedImages` when they are read.

        Padding is centered, with an odd row or column at the bottom or on the right.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, C, h, w)

        Returns
        -------
        ndarray of uint8, shape (N, C, H, W)
            `images` itself if it already has this size.

        Raises
        ------
        TypeError, ValueError
            If `images` is invalid, or too large for padding.
        """
        check_images(images)
        if images.shape[2:] == self.size:
            return images
        fit = _pad if self.fit == "pad" else resize
        return apply(images, lambda batch: fit(batch, self.size))

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the net's input for `images`: fitted, multiplied by `scale`, plus `offset`.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, C, h, w)

        Returns
        -------
        ndarray of float32, shape (N, C, H, W)

        Raises
        ------
        TypeError, ValueError
            If `images` is invalid or does not have the channels of the mean image.
        """
        return self.samples(images).values()

    def fit_dataset(self, dataset: Dataset) -> Dataset:
        """Return a data set with its images padded or resized to the size of the net's input."""
        return replace(dataset, images=self.fit_images(dataset.images))

    def samples(
        self,
        images: Images,
        index: NDArray[np.int64] | None = None,
        distortion: Any = None,
        own: NDArray[np.bool_] | None = None,
    ) -> Samples:
        """Return fitted images as samples, which are scaled and shifted by the net.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, C, h, w), or MappedImages
            Images from which the batch is read.
        index : ndarray of int, optional
            Indices of the batch; by default all, in order.
        distortion : EpochDistortion, optional
            Applied to the fitted images.
        own : ndarray of bool, optional
            Mask of the samples of the batch that are used, all by default. Other images in a file
            are not read and have arbitrary values.

        Returns
        -------
        lenet5c.nn.Samples

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument is invalid, or the mean image has another number of channels.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet5c.datasets import Preparation
        >>> prepare, images = Preparation.named("default"), np.zeros((3, 1, 28, 28), np.uint8)
        >>> batch = prepare.samples(images, [2, 0])
        >>> len(batch), batch.shape
        (2, (1, 32, 32))
        """
        fitted = self.fit_images(images)
        offset, numbers = self.offset(fitted.shape[1]), None
        if isinstance(fitted, MappedImages):
            numbers = np.arange(len(fitted)) if index is None else np.asarray(index)
            if own is None:
                fitted, index = fitted[numbers], None
            else:
                read = numbers[own] if own.any() else numbers[:1]
                index = np.where(own, np.cumsum(own) - 1, 0)
                fitted, numbers = fitted[read], read
        return Samples(fitted, index, float(self.scale), offset, distortion, numbers)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields for JSON, with a bool instead of the mean image.

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
    def from_dict(
        cls, values: Mapping[str, Any], mean_image: NDArray[np.float32] | None = None
    ) -> Preparation:
        """Create a preparation from the dict returned by `to_dict`.

        Parameters
        ----------
        values : dict
            Values as returned by `to_dict`. Everything is checked, as they may come from a file.
        mean_image : ndarray of float32, shape (C, H, W), optional
            Must be passed if and only if ``values['mean_image']`` is true.

        Raises
        ------
        TypeError, ValueError
            If a value is missing, unknown or invalid.

        Examples
        --------
        >>> from lenet5c.datasets import Preparation
        >>> Preparation.from_dict(Preparation.named("double-range").to_dict()).std
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
                f"values['mean_image'] must be {mean_image is not None} "
                f"{'without' if mean_image is None else 'with'} a mean_image, got "
                f"{values['mean_image']!r}"
            )
        return cls(**{**values, "mean_image": mean_image})


def _compute_mean(preparation: Preparation, images: Images) -> NDArray[np.float32]:
    """Return the mean of the fitted images, (C, H, W)."""
    check_images(images)
    total = np.zeros((images.shape[1], *preparation.size), np.int64)
    for block in blocks(images):
        fitted = preparation.fit_images(block)
        # Integer sums are exact, so the mean does not depend on their order.
        total += fitted.sum(axis=0, dtype=np.int64)
    return (total / len(images)).astype(np.float32)


def _pad(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    n, c, h, w = images.shape
    if h > size[0] or w > size[1]:
        raise ValueError(
            f"images must be at most {size[0]} by {size[1]} pixels to be padded, got {h} by {w}; "
            "use fit='resize'"
        )
    top, left = (size[0] - h) // 2, (size[1] - w) // 2
    padded = np.zeros((n, c, *size), dtype=np.uint8)
    padded[:, :, top : top + h, left : left + w] = images
    return padded


def _check_mean_image(image: Any, size: tuple[int, int]) -> NDArray[np.float32] | None:
    if image is None:
        return None
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "fiu":
        found = getattr(image, "dtype", type(image).__name__)
        raise TypeError(f"mean_image must be a float32 array, got {found}")
    if image.ndim != 3 or len(image) == 0 or image.shape[1:] != size:
        raise ValueError(f"mean_image must have shape (C, {size[0]}, {size[1]}), got {image.shape}")
    return np.ascontiguousarray(image, dtype=np.float32)
