from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import CapsuleType, disjoint_base

_Setting = float | Sequence[float] | NDArray[np.float64]

@disjoint_base
class Update:
    @property
    def steps(self) -> int: ...
    @property
    def size(self) -> int: ...
    def __new__(
        cls,
        capsule: CapsuleType,
        name: str,
        vectors: Mapping[str, NDArray[np.float32]],
        settings: Mapping[str, _Setting],
        steps: int,
    ) -> Self: ...
    def apply(
        self, params: NDArray[np.float32], grads: NDArray[np.float32], step: int = 0
    ) -> None: ...
