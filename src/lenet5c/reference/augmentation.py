"""Changes of the pixels of training images: colors, erasing, mixing of two images.

Shapes: image (C, H, W), gray levels from 0 to 255. The changes of an image are given by `draws`, as
returned by `distortion_draws`.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array

GRAY = np.array([0.299, 0.587, 0.114])  # of red, green and blue, by ITU-R BT.601
STEPS = 1024  # between quantiles of the shares of mixtures


def change_colors(image: ArrayLike, draws: Mapping[str, float]) -> Array:
    """Change hue, saturation, contrast and brightness, in this order.

    Hue, saturation and gray apply only to images with three channels. The hue is changed by a
    rotation about the axis of grays, after which each color is moved along that axis, back to its
    original gray level. The contrast is relative to the mean gray level of the image.

    Parameters
    ----------
    image : array_like (C, H, W)
    draws : mapping of str to float
        'brightness', 'contrast' and 'saturation' are factors, 'hue' degrees, 'gray' true or false.

    Returns
    -------
    ndarray of float64 (C, H, W)
        From 0 to 255.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> still = {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 0, "gray": False}
    >>> red = np.array([100.0, 0, 0]).reshape(3, 1, 1)
    >>> reference.change_colors(red, still | {"gray": True}).ravel().round(6)
    array([29.9, 29.9, 29.9])
    """
    x = np.array(image, np.float64)
    gray = x.mean(axis=0)
    if len(x) == 3:
        gray = np.tensordot(GRAY, x, 1)
        x = np.tensordot(_rotation(draws["hue"]), x, 1)
        x += gray - np.tensordot(GRAY, x, 1)
        x = gray + (0 if draws["gray"] else draws["saturation"]) * (x - gray)
    x = gray.mean() + draws["contrast"] * (x - gray.mean())
    return np.clip(draws["brightness"] * x, 0, 255)


def _rotation(degrees: float) -> Array:
    """Return the rotation about the axis (1, 1, 1), from red to green, by Rodrigues' formula."""
    angle = np.radians(degrees)
    axis = np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turned: Array = np.cos(angle) * np.eye(3) + np.sin(angle) * cross
    return turned + (1 - np.cos(angle)) * np.outer(axis, axis)


def erased_rectangle(draws: Mapping[str, float], H: int, W: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the rectangle that is erased, each in whole pixels."""
    area = draws["erased_area"] * H * W
    height, width = np.sqrt(area * draws["erased_ratio"]), np.sqrt(area / draws["erased_ratio"])
    height, width = (max(1, int(min(side, most) + 0.5)) for side, most in ((height, H), (width, W)))
    top, left = draws["erased_down"] * (H - height + 1), draws["erased_right"] * (W - width + 1)
    return int(top), int(left), height, width


def erase(image: ArrayLike, draws: Mapping[str, float], noise: ArrayLike) -> Array:
    """Replace a random rectangle of an image with noise, if the draw ``erased`` is nonzero.

    Parameters
    ----------
    image, noise : array_like (C, H, W)
    draws : mapping of str to float

    Returns
    -------
    ndarray of float64 (C, H, W)

    References
    ----------
    Zhong, Zheng, Kang, Li and Yang (2020), Random erasing data augmentation.
    """
    erased = np.array(image, np.float64)
    if draws["erased"]:
        top, left, height, width = erased_rectangle(draws, *erased.shape[1:])
        place = np.s_[:, top : top + height, left : left + width]
        erased[place] = np.asarray(noise)[place]
    return erased


def mix_share(level: float, alpha: float) -> float:
    """Return the fraction of an image in its mixture: an upper quantile of Beta(alpha, alpha).

    With all quantiles, half of the fractions would be less than 1/2, and in some epochs an image
    would hardly contribute; instead, the image always has the larger fraction. Values between the
    quantiles at multiples of 1/2048 are interpolated.

    Parameters
    ----------
    level : float
        From 0 to 1.
    alpha : float
        0: nothing is mixed.
    """
    if alpha == 0:
        return 1.0
    i = int(level * STEPS)
    levels = (0.5 + step / STEPS / 2 for step in (i, min(i + 1, STEPS)))
    low, high = (_beta_quantile(each, alpha) for each in levels)
    return low + (level * STEPS - i) * (high - low)


def _beta_quantile(level: float, alpha: float) -> float:
    """Return the quantile of Beta(alpha, alpha) for this fraction, by integrating the density."""
    if level in (0, 1):
        return float(level)
    log_odds, area = _integrate_beta(alpha)
    at = np.interp(level * area[-1], area, log_odds)
    return float(1 / (1 + np.exp(-at)))


@lru_cache(maxsize=8)
def _integrate_beta(alpha: float) -> tuple[Array, Array]:
    """Return logarithms of x / (1 - x), and the integral of (x (1 - x))^(alpha - 1) up to there.

    The integral is one over that logarithm, in which the density falls like an exponential at both
    ends.
    """
    log_odds = np.linspace(-60, 60, 200_001) / min(alpha, 1)
    density = np.exp(-alpha * (np.logaddexp(0, log_odds) + np.logaddexp(0, -log_odds)))
    return log_odds, np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])


def mix(image: ArrayLike, other: ArrayLike, share: float) -> Array:
    """Return the mixture of two images, or of two targets.

    Parameters
    ----------
    image, other : array_like, of the same shape
    share : float
        Of the first one.

    Returns
    -------
    ndarray of float64, of that shape

    References
    ----------
    Zhang, Cisse, Dauphin and Lopez-Paz (2018), mixup: Beyond empirical risk minimization.
    """
    mixed: Array = share * np.asarray(image, np.float64)
    return mixed + (1 - share) * np.asarray(other, np.float64)
