"""Augmentation: random distortions of training images, drawn anew for each presentation."""

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
LEAST_ALPHA = 0.001
# The range of each number. Factors stay away from zero, and the smoothing within an image.
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
    """Augment training images at random, differently in each presentation.

    In this order: an image is warped, all channels alike; its colors are changed; a rectangle is
    erased; and it is mixed with another one.

    The warp of an image follows from the seed, the epoch and the number of the image in its data
    set alone: not from its batch, nor from the number of threads. The compiled core makes it
    while it packs a batch.

    An output pixel is interpolated bilinearly where the inverse of the warp leads. Each range is
    symmetric, and each number is drawn uniformly from it, where nothing else is said.

    Parameters
    ----------
    translation : float
        Largest shift in pixels, sideways and, drawn separately, up or down.
    scaling : float
        A factor of both axes, from ``1 - scaling`` to ``1 + scaling``; at most 0.9.
    squeeze : float
        A factor f of the width from ``1 - squeeze`` to ``1 + squeeze``, and 1 / f of the height:
        compressed horizontally and elongated vertically, or the reverse; at most 0.9.
    shear : float
        Horizontal, as a tangent: a pixel moves sideways by this share of its height over the
        center.
    rotation : float
        Degrees to either side.
    elastic : float
        The factor alpha of the fields of Simard, Steinkraus and Platt (2003): each pixel is
        displaced by two numbers, uniform in -1..1 and smoothed, times alpha. At `elastic_sigma`
        4 that moves pixels by 0.041 alpha (standard deviation).
    elastic_sigma : float
        Pixels of the Gaussian that smooths, cut off at three of them; the fields are zero outside
        the image.
    crop_padding : int
        Pixels added at each side, of which a window of the image's own size is cropped at a random
        place: a shift by whole pixels.
    crop : float
        Largest share of the area that is left out when a window of the image's own form is
        enlarged to its size; at most 0.99. The area is uniform, the place too.
    flip, flip_vertical : float
        Share of presentations that are mirrored, left to right and top to bottom. Harmful where a
        mirror image means something else, as for digits.
    outside : {'black', 'edge', 'reflect'}
        Pixels outside the image: 0, those of its edge, or its mirror image, of which the outermost
        pixels are not repeated; farther away than its size, those of its edge.
    brightness : float
        A factor of all pixels, from ``1 - brightness`` to ``1 + brightness``.
    contrast : float
        A factor of the distance of all pixels from the mean gray of the image.
    saturation : float
        A factor of the distance of a color from its gray, 0.299 red + 0.587 green + 0.114 blue.
        Like `hue` and `grayscale`, for images of three channels alone.
    hue : float
        Degrees by which colors are rotated about the axis of grays, to either side; 120 makes
        green of red. A color keeps its gray.
    grayscale : float
        Share of presentations that are gray.
    erasing : float
        Share of presentations of which a rectangle becomes random bytes (Zhong et al., 2020).
    erasing_area : float
        Its largest share of the image's area, the least is 0.02 if that is less. One side is 0.3
        to 1 times the other one, before it is rounded and cut to the image's.
    mixup : float
        The alpha of the mixtures of Zhang et al. (2018), 0 for none: of a share from the
        distribution Beta(alpha, alpha) and the rest, an image has the larger one, and the next
        image of the batch the other; after the last comes the first. The targets of a training are
        mixed likewise.
    probability : float
        Share of presentations that are distorted in any way; the others are the original image.
        0.9 is one original to nine generated images, as in the paper's 60,000 and 540,000.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a number of its range; the message names it.

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
        if 0 < self.mixup < LEAST_ALPHA:
            raise ValueError(f"mixup must be 0 or at least {LEAST_ALPHA:g}, got {self.mixup!r}")

    @classmethod
    def named(cls, name: str) -> Distortion:
        """Return one of the distortions in `NAMES`.

        Parameters
        ----------
        name : str
            ``'paper1998'``: translation, scaling, squeezing and horizontal shear, of nine
            presentations in ten, as LeCun et al. (1998) describe the generated training set of
            their section III. They give no ranges; these are 1 pixel, 6 %, 5 % and a tangent of
            0.1.
            ``'modern'``: these with rotation and an elastic field, of every presentation.
            ``'pictures'``: for what is not digits: crops, shifts, flips to the side, weak changes
            of size and colors, and a small rectangle erased in a quarter of the presentations.
            ``'pictures-noflip'``: the same without flips, where left and right differ.
            ``'pictures-mixup'``: with flips and mixtures, for long trainings.

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
        """Return images as a training run sees them, before they are scaled.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, C, H, W)
            At the size of the net's input; see `Preparation.fit_images`.
        seed, epoch : int
            Not negative.
        index : ndarray of int, shape (M,), optional
            Numbers of the images; default: all of them, in order. An image is distorted alike in
            each order; if images are mixed, these are one batch.

        Returns
        -------
        ndarray of float32, shape (M, C, H, W)
            Gray levels from 0 to 255, not rounded.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument is not as above.

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
        return self.of_epoch(seed, epoch)(images, index)

    def of_epoch(self, seed: int, epoch: int = 0) -> EpochDistortion:
        """Return these distortions with their draws for one epoch.

        Parameters
        ----------
        seed, epoch : int
            Not negative.
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
            As `to_dict` returns it; missing fields have their defaults. It may come from a file:
            everything is checked.

        Raises
        ------
        TypeError, ValueError
            If a value is unknown or not as the constructor needs it.

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
    """A `Distortion` with its draws for one epoch of a run, as a training step takes it.

    The compiled core reads `warp` and `stream`, and nothing else.

    Parameters
    ----------
    distortion : Distortion
    seed, epoch : int
        Not negative.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> from lenet5c.datasets import Distortion
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    >>> images, labels = np.full((20, 1, 8, 8), 100, np.uint8), np.arange(20) % 10
    >>> distort = Distortion(rotation=15).of_epoch(seed=1, epoch=4)
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
        # The cached properties are computed again.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __call__(
        self,
        images: NDArray[np.uint8],
        index: NDArray[np.integer] | None = None,
        numbers: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Return distorted images, as `Distortion.__call__` does.

        The warp of an image follows from its place in `images`, or from its number in `numbers`.
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
        """64 bits of the seed and the epoch, from which a sample's draws follow."""
        # 3: the order of an epoch is drawn from (seed, 1, epoch), the weights from (seed, 2).
        sequence = np.random.SeedSequence([int(self.seed), 3, int(self.epoch)])
        return int(sequence.generate_state(1, np.uint64)[0])

    def mix_shares(self, numbers: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the weight of each image in its mixture, 1 without mixup.

        Parameters
        ----------
        numbers : ndarray of int, shape (N,)
            Of the images in their data set.
        """
        return self.warp.mix_shares(dispatch.tiles, contiguous(numbers, np.int64), self.stream)

    @cached_property
    def warp(self) -> Warp:
        """Warp : The settings as the compiled core takes them."""
        settings = self.distortion.to_dict()
        sigma = settings.pop("elastic_sigma")
        gaussian = gaussian_weights(sigma) if settings["elastic"] else np.ones(1, np.float32)
        for name in ("rotation", "hue"):
            settings[name] = radians(settings[name])
        settings["outside"] = OUTSIDE.index(settings["outside"])
        return Warp(settings, gaussian, beta_quantiles(settings["mixup"] or 1.0))
