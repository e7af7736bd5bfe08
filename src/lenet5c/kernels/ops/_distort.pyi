from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import CapsuleType, disjoint_base

@disjoint_base
class Warp:
    def __new__(
        cls,
        translation: float,
        scaling: float,
        squeeze: float,
        shear: float,
        rotation: float,
        elastic: float,
        gaussian: NDArray[np.float32],
        flip: float,
        probability: float,
    ) -> Self: ...
    def apply(
        self,
        capsule: CapsuleType,
        images: NDArray[np.uint8],
        index: NDArray[np.int64],
        stream: int,
        out: NDArray[np.float32],
        num_threads: int,
    ) -> None: ...
