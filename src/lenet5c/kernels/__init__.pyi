from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "col2im",
    "conv2d",
    "conv2d_backward",
    "get_num_threads",
    "im2col",
    "isa",
    "max_pool2d",
    "max_pool2d_backward",
    "set_num_threads",
]

# All arrays of a call have one of these dtypes.
_Real = TypeVar("_Real", np.float32, np.float64)
_Pair = int | tuple[int, int]

isa: str

def conv2d(
    x: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    stride: _Pair = 1,
    padding: _Pair = 0,
    dilation: _Pair = 1,
    groups: int = 1,
    *,
    out: NDArray[_Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[_Real]: ...
def conv2d_backward(
    dy: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Pair = 1,
    padding: _Pair = 0,
    dilation: _Pair = 1,
    groups: int = 1,
    *,
    out: tuple[NDArray[_Real] | None, NDArray[_Real] | None, NDArray[_Real] | None] | None = None,
    num_threads: int | None = None,
) -> tuple[NDArray[_Real], NDArray[_Real], NDArray[_Real]]: ...
def max_pool2d(
    x: NDArray[_Real],
    kernel_size: _Pair,
    stride: _Pair | None = None,
    padding: _Pair = 0,
    *,
    out: NDArray[_Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[_Real]: ...
def max_pool2d_backward(
    dy: NDArray[_Real],
    x: NDArray[_Real],
    kernel_size: _Pair,
    stride: _Pair | None = None,
    padding: _Pair = 0,
    *,
    out: NDArray[_Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[_Real]: ...
def avg_pool2d(
    x: NDArray[_Real],
    kernel_size: _Pair,
    stride: _Pair | None = None,
    padding: _Pair = 0,
    count_include_pad: bool = True,
    *,
    out: NDArray[_Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[_Real]: ...
def avg_pool2d_backward(
    dy: NDArray[_Real],
    x_shape: tuple[int, ...] | NDArray[Any],
    kernel_size: _Pair,
    stride: _Pair | None = None,
    padding: _Pair = 0,
    count_include_pad: bool = True,
    *,
    out: NDArray[_Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[_Real]: ...
def im2col(
    x: NDArray[_Real],
    kernel_size: _Pair,
    stride: _Pair = 1,
    padding: _Pair = 0,
    dilation: _Pair = 1,
    *,
    out: NDArray[_Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[_Real]: ...
def col2im(
    col: NDArray[_Real],
    output_size: _Pair,
    kernel_size: _Pair,
    stride: _Pair = 1,
    padding: _Pair = 0,
    dilation: _Pair = 1,
    *,
    out: NDArray[_Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[_Real]: ...
def get_num_threads() -> int: ...
def set_num_threads(num_threads: int | None) -> None: ...
