"""Plans of the direct convolution, cached between calls, see _strips.pyx."""

from functools import lru_cache
from typing import Any

import lenet5c.kernels.direct._direct as _direct
from lenet5c.kernels.simd import dispatch

STRIP_FLOATS = _direct.strip_floats


@lru_cache(maxsize=256)
def plan(
    dtype: str,
    purpose: str,
    units: int,
    groups: int,
    in_shape: Any,
    out_shape: Any,
    window: Any,
    threads: int,
    layout: str = "NCHW",
    axis: str | None = None,
) -> _direct.Strips:
    """Return the plan of a result or a gradient.

    Parameters
    ----------
    dtype : "f" or "d"
        `char` of the dtype, float32 or float64.
    purpose : "y", "dx" or "dweight"
        For `convolve` of x, of dy, and for `weight_gradient`.
    units, groups : int
        A unit is a group of a sample: there are N * groups.
    in_shape, out_shape : (int, int, int)
        Of a unit: (C / groups, H, W) and (O / groups, OH, OW), in any layout.
    window : Window
        Its padding is what lies before the image; the output's size says what lies after it.
    threads : int
        Minimum number of strips, if possible.
    layout : "NCHW", "NHWC" or "rows"
        See `_direct.Strips`.
    axis : "channels", "units" or "pixels", optional
        The axis along the lanes of vectors; by default the best one. The result does not depend
        on it, but that a weight gradient by units adds the samples in another order.
    """
    settings = purpose, units, groups, in_shape, out_shape, window, threads, layout, axis
    return _direct.Strips(dispatch.direct[dtype], *settings)
