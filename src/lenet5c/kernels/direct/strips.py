"""Plans of the direct convolution, remembered from call to call: see _strips.pyx."""

from functools import lru_cache
from typing import Any

import numpy as np

import lenet5c.kernels.direct._direct as _direct
from lenet5c.kernels.simd import dispatch

STRIP_FLOATS = _direct.strip_floats


@lru_cache(maxsize=256)
def result_plan(
    units: int, groups: int, blocked: bool, in_shape: Any, out_shape: Any, window: Any, threads: int
) -> _direct.Strips:
    """Return the plan x -> y for units of these shapes; the weight gradient shares it."""
    return _direct.Strips(
        dispatch.tiles, units, groups, blocked, in_shape, out_shape, window, threads
    )


@lru_cache(maxsize=256)
def data_gradient_plans(
    units: int, groups: int, blocked: bool, in_shape: Any, out_shape: Any, window: Any, threads: int
) -> list[_direct.Strips]:
    """Return the plans dy -> dx, one for each phase of the stride."""
    _, stride, _, _ = window
    phases = np.ndindex(*(min(s, n) for s, n in zip(stride, in_shape[1:], strict=True)))
    settings = units, groups, blocked, in_shape, out_shape, window, threads
    return [_direct.Strips(dispatch.tiles, *settings, phase) for phase in phases]
