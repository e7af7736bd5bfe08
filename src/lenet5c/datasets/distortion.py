"""Augmentation: random distortions of training images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import radians
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets._checks import check_choice, check_images, check_number
from lenet5c.datasets._distributions import beta_quantiles, gaussian_weights
from lenet5c.datasets.preparation import MAX_SIDE
from lenet5c.kernels import threads
from lenet5c.kernels.arrays import contiguous
from lenet5c.kernels.ops._distort import Warp
from lenet5c.kernels.simd import dispatch

PICTURES: dict[str, Any] = {
    "crop_padding": 2,
    "crop": 0.3,
    "scaling": 0.1,
    "rotation": 5.0,
    "outside": "reflect",
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.2,
    "hue": 5.0,
    "erasing": 0.25,
    "erasing_area": 0.15,
}
NAMED: dict[str, dict[str, Any]] = {
    "paper1998": {
        "translation": 1.0,
        "scaling": 0.06,
        "squeeze": 0.05,
        "shear": 0.1,
        "probability": 0.9,
    },
    "modern": {
        "translation": 1.0,
        "scaling": 0.1,
        "squeeze": 0.05,
        "shear": 0.1,
        "rotation": 10.0,
        "elastic": 15.0,
    },
    "pictures": PICTURES | {"flip": 0.5},
    "pictures-noflip": PICTURES,
    "pictures-mixup": PICTURES | {"flip": 0.5, "mixup": 0.2},
}
NAMES = tuple(NAMED)
OUTSIDE = ("black", "edge", "reflect")
MIN_ALPHA = 0.001
# Valid range of each number; factors must not reach zero.
_LIMITS: dict[str, tuple[float, float]] = {
    "translation": (0, MAX_SIDE),
    "scaling": (0, 0.9),
    "squeeze": (0, 0.9),
    "shear": (0, 10),
    "rotation": (0, 180),
    "elastic": (0, 1e6),
    "elastic_sigma": (0.1, 64),
    "crop_padding": (0, MAX_SIDE),
    "crop": (0, 0.99),
    "flip": (0, 1),
    "flip_vertical": (0, 1),
    "brightness": (0, 1),
    "contrast": (0, 1),
    "saturation": (0, 1),
    "hue": (0, 180),
    "grayscale": (0, 1),
    "erasing": (0, 1),
    "erasing_area": (0, 1),
    "mixup": (0, 10),
    "probability": (0, 1),
}


@dataclass(frozen=True)
class Distortion:
    """Augment training images at random, differently in each epoch.

    The steps are, in this order: the image is warped (all channels alike), its colors are changed,
    a rectangle is erased, and it is mixed with another image.

    The distortion of an image depends only on the seed, the epoch and the index of the image in its
    data set, not on its batch or the number of threads. It is computed by the compiled core while a
    batch is packed.

    Output pixels are interpolated bilinearly at the inverse of the warp. Unless noted otherwise,
    numbers are drawn uniformly from symmetric ranges.

    Parameters
    ----------
    translation : float
        Maximum shift in pixels, drawn separately for both axes.
    scaling : float
        Scale both axes by a factor from ``1 - scaling`` to ``1 + scaling``; at most 0.9.
    squeeze : float
        Scale the width by a factor f from ``1 - squeeze`` to ``1 + squeeze`` and the height by 1 /
        f; at most 0.9.
    shear : float
        Horizontal shear, as a tangent: a pixel is shifted by this fraction of its height above the
        center.
    rotation : float
        Maximum angle in degrees.
    elastic : float
        The factor alpha of the elastic fields of Simard, Steinkraus and Platt (2003): each pixel is
        displaced by two smoothed random numbers, uniform in -1..1, times alpha. With
        `elastic_sigma` 4, the displacement has a standard deviation of 0.041 alpha pixels.
    elastic_sigma : float
        Standard deviation in pixels of the Gaussian smoothing, truncated at three standard
        deviations; the fields are zero outside the image.
    crop_padding : int
        Pixels of padding on each side before a window of the original size is cropped at a random
        position, which is a shift by whole pixels.
    crop : float
        Maximum fraction of the area to crop: a window with the aspect ratio of the image is
        enlarged to its size; at most 0.99. Area and position are uniform.
    flip, flip_vertical : float
        Probability of mirroring left to right and top to bottom. Do not use where a mirror image
        has another meaning, as for digits.
    outside : {'black', 'edge', 'reflect'}
        Pixels outside the image: 0, the edge pixels, or the mirror image without repeating the
        outermost pixels (edge pixels beyond its size).
    brightness : float
        Multiply all pixels by a factor from ``1 - brightness`` to ``1 + brightness``.
    contrast : float
        Multiply the distance of all pixels from the mean gray level by a factor from ``1 -
        contrast`` to ``1 + contrast``.
    saturation : float
        Multiply the distance of a color from its gray level, 0.299 red + 0.587 green + 0.114 blue,
        by a factor from ``1 - saturation`` to ``1 + saturation``. Only for images of three
        channels, like `hue` and `grayscale`.
    hue : float
        Maximum rotation of colors about the gray axis in degrees; 120 turns red into green. The
        gray level of a color does not change.
    grayscale : float
        Probability of conversion to gray.
    erasing : float
        Probability of replacing a rectangle with random bytes (Zhong et al., 2020).
    erasing_area : float
        Maximum area of the rectangle as a fraction of the image; the minimum is 0.02, or this value
        if smaller. The aspect ratio is 0.3 to 1 before rounding and clipping to the image.
    mixup : float
        The alpha of mixup (Zhang et al., 2018), 0 for none: each image is mixed with the next one
        of the batch (the last with the first), with weights x and 1 - x drawn from Beta(alpha,
        alpha), of which the image itself has the larger one. Training targets are mixed in the same
        way.
    probability : float
        Probability of distorting an image at all. 0.9 is one original to nine generated images, as
        in the paper's 60,000 and 540,000.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import Distortion
    >>> images = np.zeros((2, 1, 3, 3), np.uint8)
    >>> images[:, :, 1, 1] = 200
    >>> shifted = Distortion(translation=1)(images, seed=0)
    >>> shifted.shape, shifted.dtype, bool((shifted[0] != shifted[1]).any())
    ((2, 1, 3, 3), dtype('float32'), True)
    >>> bool((Distortion()(images, seed=0) == images).all())
    True
    """

    translation: float = 0.0
    scaling: float = 0.0
    squeeze: float = 0.0
    shear: float = 0.0
    rotation: float = 0.0
    elastic: float = 0.0
    elastic_sigma: float = 4.0
    crop_padding: int = 0
    crop: float = 0.0
    flip: float = 0.0
    flip_vertical: float = 0.0
    outside: str = "black"
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    erasing: float = 0.0
    erasing_area: float = 0.2
    mixup: float = 0.0
    probability: float = 1.0

    NAMES: ClassVar[tuple[str, ...]] = NAMES

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = check_number(name, getattr(self, name))
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g}, got {value!r}")
            object.__setattr__(self, name, value)  # a frozen dataclass sets its fields this way
        if self.crop_padding != int(self.crop_padding):
            raise ValueError(f"crop_padding must be an integer, got {self.crop_padding!r}")
        object.__setattr__(self, "crop_padding", int(self.crop_padding))
        check_choice("outside", self.outside, OUTSIDE)
        if 0 < self.mixup < MIN_ALPHA:
            raise ValueError(f"mixup must be 0 or at least {MIN_ALPHA:g}, got {self.mixup!r}")

    @classmethod
    def named(cls, name: str) -> Distortion:
        """Return the distortion with a name from `NAMES`.

        Parameters
        ----------
        name : str
            ``'paper1998'``: translation, scaling, squeezing and horizontal shear with probability
            0.9, as described by LeCun et al. (1998) for the generated training set of their section
            III. They give no ranges; these are 1 pixel, 6 %, 5 % and a tangent of 0.1.
            ``'modern'``: the same with rotation and an elastic field, with probability 1.
            ``'pictures'``: for other images than digits: crops, shifts, horizontal flips, weak
            changes of size and colors, and, with probability 0.25, erasing of a small rectangle.
            ``'pictures-noflip'``: the same without flips, for images whose left and right differ.
            ``'pictures-mixup'``: with flips and mixup, for long training.

        Raises
        ------
        ValueError
            If there is no such name.

        Examples
        --------
        >>> from lenet5c.datasets import Distortion
        >>> Distortion.named("paper1998").probability
        0.9
        """
        if name not in NAMES:
            raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
        return cls(**NAMED[name])

    def __call__(
        self,
        images: NDArray[np.uint8],
        seed: int,
        epoch: int = 0,
        index: NDArray[np.integer] | None = None,
    ) -> NDArray[np.float32]:
        """Return images as distorted in training, before they are scaled.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, C, H, W)
            At the size of the net's input; see `Preparation.fit_images`.
        seed, epoch : int
            At least 0.
        index : ndarray of int, shape (M,), optional
            Indices of the images; default: all, in order. The order has no effect on the distortion
            of an image; with mixup, the images form one batch.

        Returns
        -------
        ndarray of float32, shape (M, C, H, W)
            Gray levels from 0 to 255, not rounded.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument is invalid.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet5c.datasets import Distortion, mnist
        >>> images = mnist()[1].images[:20]
        >>> distort = Distortion.named("modern")
        >>> every = distort(images, seed=0, epoch=3)
        >>> bool((distort(images, seed=0, epoch=3, index=np.array([7, 2])) == every[[7, 2]]).all())
        True
        """
        return self.for_epoch(seed, epoch)(images, index)

    def for_epoch(self, seed: int, epoch: int = 0) -> EpochDistortion:
        """Return the distortion for one epoch, with its random draws.

        Parameters
        ----------
        seed, epoch : int
            At least 0.
        """
        return EpochDistortion(self, seed, epoch)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, for JSON.

        Examples
        --------
        >>> from lenet5c.datasets import Distortion
        >>> Distortion(shear=0.1).to_dict()["shear"]
        0.1
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Distortion:
        """Create a distortion from the dict returned by `to_dict`.

        Parameters
        ----------
        values : dict
            Values as returned by `to_dict`; missing fields have their defaults. Everything is
            checked, as the values may come from a file.

        Raises
        ------
        TypeError, ValueError
            If a value is unknown or invalid.

        Examples
        --------
        >>> from lenet5c.datasets import Distortion
        >>> Distortion.from_dict({"rotation": 5.0}) == Distortion(rotation=5)
        True
        """
        keys = {field.name for field in fields(cls)}
        if not isinstance(values, dict):
            raise TypeError(f"values must be a dict, got {type(values).__name__}")
        if unknown := sorted(map(repr, set(values) - keys)):
            raise ValueError(
                f"values must only have the keys {', '.join(sorted(keys))}, got "
                f"{', '.join(unknown)}"
            )
        return cls(**values)


@dataclass(frozen=True)
class EpochDistortion:
    """A `Distortion` with its random draws for one epoch of a run, for training steps.

    The compiled core only reads `warp` and `stream`.

    Parameters
    ----------
    distortion : Distortion
    seed, epoch : int
        At least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> from lenet5c.datasets import Distortion
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    >>> images, labels = np.full((20, 1, 8, 8), 100, np.uint8), np.arange(20) % 10
    >>> distort = Distortion(rotation=15).for_epoch(seed=1, epoch=4)
    >>> offset = np.zeros((1, 8, 8), np.float32)
    >>> samples = nn.Samples(images, scale=1 / 255, offset=offset, distortion=distort)
    >>> loss, correct = model.train_step(samples, labels, nn.CrossEntropyLoss())
    """

    distortion: Distortion
    seed: int
    epoch: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.distortion, Distortion):
            raise TypeError(
                f"distortion must be a Distortion, got {type(self.distortion).__name__}"
            )
        for name in ("seed", "epoch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise TypeError(f"{name} must be an int, got {value!r}")
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value!r}")

    def __getstate__(self) -> dict[str, Any]:
        # Cached properties are recomputed.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __call__(
        self,
        images: NDArray[np.uint8],
        index: NDArray[np.integer] | None = None,
        numbers: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Return distorted images, see `Distortion.__call__`.

        The distortion of an image depends on its position in `images`, or on its number in
        `numbers`.
        """
        check_images(images)
        index = np.arange(len(images)) if index is None else np.asarray(index)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise ValueError(
                f"index must be a one-dimensional array of integers, got {index.dtype} of shape "
                f"{index.shape}"
            )
        out = np.empty((len(index), *images.shape[1:]), np.float32)
        self.warp.apply(
            dispatch.tiles,
            contiguous(images),
            contiguous(index, np.int64),
            self.stream,
            out,
            threads.effective(),
            None if numbers is None else contiguous(numbers, np.int64),
        )
        return out

    @cached_property
    def stream(self) -> int:
        """Hash of seed and epoch, 64 bits, which determines the draws of each sample."""
        # The stream 3; the order of an epoch is drawn from (seed, 1, epoch), weights from (seed,
        # 2).
        sequence = np.random.SeedSequence([int(self.seed), 3, int(self.epoch)])
        return int(sequence.generate_state(1, np.uint64)[0])

    def mix_shares(self, numbers: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the weight of each image in its mixture, 1 without mixup.

        Parameters
        ----------
        numbers : ndarray of int, shape (N,)
            Indices of the images in their data set.
        """
        return self.warp.mix_shares(dispatch.tiles, contiguous(numbers, np.int64), self.stream)

    @cached_property
    def warp(self) -> Warp:
        """Warp : Settings for the compiled core."""
        settings = self.distortion.to_dict()
        sigma = settings.pop("elastic_sigma")
        gaussian = gaussian_weights(sigma) if settings["elastic"] else np.ones(1, np.float32)
        for name in ("rotation", "hue"):
            settings[name] = radians(settings[name])
        settings["outside"] = OUTSIDE.index(settings["outside"])
        return Warp(settings, gaussian, beta_quantiles(settings["mixup"] or 1.0))
