"""Distributions of random distortions, as tables that do not depend on the C library."""

from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

QUANTILES = 1024


def gaussian_weights(sigma: float) -> NDArray[np.float32]:
    """Return Gaussian weights from -3 sigma to 3 sigma, rounded to multiples of 2**-20."""
    radius = ceil(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (np.rint(weights / weights.sum() * 2**20) / 2**20).astype(np.float32)


@lru_cache(maxsize=16)
def beta_quantiles(alpha: float) -> NDArray[np.float64]:
    """Return the upper quantiles of Beta(alpha, alpha), from 1/2 to 1, rounded to 2**-20.

    They are the quantiles of max(x, 1 - x), at 0, 1 / 1024, ... 1. With alpha below 1, the density
    is infinite at 0; substituting x = s^(1 / alpha) makes it finite in s.
    """
    power = min(alpha, 1.0)
    s = np.linspace(0, 0.5**power, 2**16 + 1)
    x = s ** (1 / power)
    density = (1 - x) ** (alpha - 1) * (x ** (alpha - 1) if alpha > 1 else 1)
    area = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    levels = np.linspace(area[-1], 0, QUANTILES + 1)
    lower = np.rint(np.interp(levels, area, s) ** (1 / power) * 2**20) / 2**20
    quantiles: NDArray[np.float64] = 1 - lower
    quantiles.flags.writeable = False
    return quantiles
