from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import CapsuleType, disjoint_base

_Pair = tuple[int, int]

strip_floats: int

@disjoint_base
class Strips:
    def __new__(
        cls,
        capsule: CapsuleType,
        units: int,
        groups: int,
        blocked: bool,
        in_shape: tuple[int, int, int],
        out_shape: tuple[int, int, int],
        window: tuple[_Pair, _Pair, _Pair, _Pair],
        threads: int,
        phase: _Pair | None = None,
    ) -> Self: ...
    @property
    def grid(self) -> _Pair: ...
    @property
    def rows(self) -> int: ...
    @property
    def strip(self) -> int: ...
    @property
    def strips(self) -> int: ...
    @property
    def strip_floats(self) -> int: ...
    @property
    def taps(self) -> _Pair: ...
    @property
    def y_start(self) -> _Pair: ...
    @property
    def y_step(self) -> _Pair: ...

def convolve(
    plan: Strips,
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    y: NDArray[np.float32],
    num_threads: int,
) -> None: ...
def weight_gradient(
    plan: Strips,
    x: NDArray[np.float32],
    dy: NDArray[np.float32],
    dweight: NDArray[np.float32],
    dbias: NDArray[np.float32],
    num_threads: int,
) -> None: ...
