"""Ops that behave differently in training and inference: batch normalization and dropout."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lenet5c.kernels.engine import _program
from lenet5c.kernels.engine.ops import Op, Shape, Summed


@dataclass(eq=False, repr=False, match_args=False)
class BatchNorm(Summed):
    """Each channel, normalized by running statistics or, with `batch_stats`, by those of the batch.

    The running statistics, and the number of batches tracked in them, are arrays that keep their
    addresses; a training pass with the statistics of the batch updates them. Lowering fuses a
    rectifier (`relu`, and `mask` as in `Linear`) and a pooling of 2 x 2 windows (`pool`; the mean
    with `average`) into the op. The indices saved for the windows are at `argmax`; `given` is the
    place of the statistics of the batch.
    """

    kind = "batch_norm"
    running_mean: NDArray[np.float32]
    running_var: NDArray[np.float32]
    tracked: NDArray[np.int64]
    eps: float
    momentum: float
    batch_stats: bool
    relu: bool = field(init=False, default=False)
    mask: bool = field(init=False, default=False)
    pool: bool = field(init=False, default=False)
    average: bool = field(init=False, default=False)
    argmax: int = field(init=False, default=0)
    given: int = field(init=False, default=0)
    filter_size: ClassVar[int] = 1

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        whole = (*shape, 1, 1)[:3]
        return [self.shaped(whole, whole)], shape

    @property
    def given_floats(self) -> int:
        return _program.statistics_floats(self.in_shape[0]) if self.batch_stats else 0

    @property
    def reads_output(self) -> bool:
        return False  # the signs of the outputs are computed again


@dataclass(eq=False, repr=False, match_args=False)
class Dropout(Op):
    """Zero each element with probability `p`, and divide the others by 1 - p.

    The masks of a pass depend on `seed` and on the number of passes before it, `counter[0]`, in an
    array that keeps its address; `given` is the place of the samples' keys.
    """

    kind = "dropout"
    p: float
    seed: int
    counter: NDArray[np.int64]
    given: int = field(init=False, default=0)
    draw: int = field(init=False, default=0)

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        if not self.p:
            return [], shape
        whole = shape if len(shape) == 3 else (prod(shape), 1, 1)
        return [self.shaped(whole, whole)], shape

    @property
    def given_floats(self) -> int:
        return 2 * _program.TILE_LANES
