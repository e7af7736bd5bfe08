from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)
_Pair = tuple[int, int]

def im2col(
    x: NDArray[_Real],
    image: _Pair,
    size: _Pair,
    kernel_size: _Pair,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    fill: float,
    col: NDArray[_Real],
    num_threads: int,
) -> None: ...
def col2im(
    col: NDArray[_Real],
    image: _Pair,
    size: _Pair,
    kernel_size: _Pair,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    x: NDArray[_Real],
    num_threads: int,
) -> None: ...
