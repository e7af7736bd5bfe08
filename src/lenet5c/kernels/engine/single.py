"""Programs with a single op, for the functions on plain arrays."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from lenet5c.kernels.engine import lowering
from lenet5c.kernels.engine._program import Program
from lenet5c.kernels.engine.ops import Op, Shape
from lenet5c.kernels.simd import dispatch


@lru_cache(maxsize=64)
def single_op_program(in_shape: Shape, make: Callable[..., Op], *settings: Any) -> Program:
    """Return a program with the single op ``make(*settings)``, such as a pooling."""
    return Program(lowering.lower(in_shape, [make(*settings)]), dispatch.tiles)
