"""Image corruptions to measure the robustness of a model, modeled on MNIST-C."""

from collections.abc import Callable
from math import prod
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.datasets import corruption_drawing as drawing
from lenet5c.datasets import corruption_filters as filters
from lenet5c.datasets._checks import check_choice, check_images

SEVERITIES = (1, 2, 3, 4, 5)
#: Approximate number of pixels of a block of images, which shares a stream of random numbers.
BLOCK = 1 << 20
#: Function of each kind, and its strengths at severities 1 to 5.
KINDS: dict[str, tuple[Callable[..., filters.Images], tuple[Any, ...]]] = {
    "shot_noise": (filters.shot_noise, (15, 6, 3, 1.7, 1)),
    "impulse_noise": (filters.impulse_noise, (0.04, 0.08, 0.14, 0.22, 0.3)),
    "glass_blur": (
        filters.glass_blur,
        ((0.4, 0.3, 1), (0.4, 0.6, 1), (0.5, 0.9, 1), (0.5, 0.9, 2), (0.6, 0.9, 3)),
    ),
    "motion_blur": (filters.motion_blur, (4, 6, 8, 10, 13)),
    "shear": (filters.shear, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "scale": (filters.scale, (0.85, 0.75, 0.65, 0.55, 0.45)),
    "rotate": (filters.rotate, (10, 20, 30, 40, 55)),
    "brightness": (filters.brightness, (0.1, 0.25, 0.4, 0.55, 0.7)),
    "translate": (filters.translate, (1.5, 3, 4.5, 6, 7.5)),
    "stripe": (drawing.stripe, (0.08, 0.14, 0.2, 0.25, 0.3)),
    "fog": (drawing.fog, (0.3, 0.6, 1.0, 1.6, 2.5)),
    "spatter": (drawing.spatter, (0.03, 0.06, 0.1, 0.15, 0.22)),
    "dotted_line": (drawing.dotted_line, ((1, 0.6), (1, 0.9), (2, 0.9), (3, 1.0), (4, 1.1))),
    "zigzag": (drawing.zigzag, ((1, 0.5), (1, 1.0), (2, 1.0), (2, 1.5), (3, 1.5))),
    "canny_edges": (filters.canny_edges, (0.6, 0.4, 0.2, 0.1, 0.0)),
}
CORRUPTIONS = tuple(KINDS)


def corrupt(images: ArrayLike, kind: str, severity: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Corrupt images in one way.

    The kinds are named after those of MNIST-C [1]_ and resemble them, but code and strengths are
    those of this package, so results are not comparable with that data set. Images may be gray or
    color and of any size; overlays are white on a dark background and black on a light one.

    Parameters
    ----------
    images : array_like of uint8, shape (N, C, H, W) or (N, H, W)
    kind : str
        One of `CORRUPTIONS`.
    severity : int
        Severity from 1 to 5. The random numbers are the same for all severities; for example, an
        image is rotated in the same direction, only further.
    seed : int
        Random seed, at least 0. The same images, kind and seed give the same result.

    Returns
    -------
    ndarray of uint8
        Images of the same shape.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message names it.

    References
    ----------
    .. [1] N. Mu, J. Gilmer, "MNIST-C: a robustness benchmark for computer vision", 2019,
       arXiv:1906.02337.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.datasets.corruptions import CORRUPTIONS, corrupt
    >>> _, test = mnist()
    >>> foggy = corrupt(test.images[:100], "fog", severity=5)
    >>> foggy.shape, len(CORRUPTIONS)
    ((100, 1, 28, 28), 15)
    >>> from lenet5c.training import open_model
    >>> float((open_model().predict(foggy) == test.labels[:100]).mean()) < 0.99
    True
    """
    array = np.asarray(images)
    batch = array[:, None] if array.ndim == 3 else array
    check_images(batch, empty=True)
    check_choice("kind", kind, CORRUPTIONS)
    for name, value, most in (("severity", severity, SEVERITIES[-1]), ("seed", seed, 2**63)):
        least = int(name == "severity")
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not (whole and least <= value <= most):
            raise ValueError(f"{name} must be an integer from {least} to {most}, got {value!r:.40}")
    function, strengths = KINDS[kind]
    out = np.empty(batch.shape, np.uint8)
    size = max(1, BLOCK // max(1, prod(batch.shape[1:])))
    for block in range(-(-len(batch) // size)):
        part = slice(block * size, (block + 1) * size)
        # One stream for each kind and block, so that no image depends on other blocks.
        rng = np.random.default_rng([seed, 7, CORRUPTIONS.index(kind), block])
        made = function(batch[part].astype(np.float32), strengths[severity - 1], rng)
        out[part] = np.rint(np.clip(made, 0, 255))
    return out.reshape(array.shape)
