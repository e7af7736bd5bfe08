from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import CapsuleType, disjoint_base

from lenet5c.kernels.engine._update import Update

_Floats = NDArray[np.float32]
_Samples = NDArray[np.float32] | NDArray[np.uint8]

FEW_SAMPLES: int
KINDS: dict[str, int]
STEP_KINDS: dict[str, int]

@disjoint_base
class Program:
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def output_shape(self) -> tuple[int, ...]: ...
    @property
    def param_extent(self) -> int: ...
    def __new__(cls, plan: Any, capsule: CapsuleType) -> Self: ...
    def forward(
        self,
        samples: _Samples,
        params: _Floats,
        out: _Floats,
        num_threads: int,
        index: NDArray[np.int64] | None = None,
        scale: float = 1.0,
        offset: _Floats | None = None,
        by_sample: bool = False,
    ) -> None: ...
    def backward(
        self,
        samples: _Samples,
        dy: _Floats,
        params: _Floats,
        grads: _Floats,
        dx: _Floats | None,
        num_threads: int,
        index: NDArray[np.int64] | None = None,
        by_sample: bool = False,
    ) -> None: ...
    def train_step(
        self,
        samples: _Samples,
        labels: NDArray[np.int32],
        params: _Floats,
        grads: _Floats,
        num_threads: int,
        loss: str = "cross_entropy",
        setting: float = 0.0,
        targets: _Floats | None = None,
        index: NDArray[np.int64] | None = None,
        scale: float = 1.0,
        offset: _Floats | None = None,
        out: _Floats | None = None,
        dx: _Floats | None = None,
        by_sample: bool = False,
        distort: Any = None,
    ) -> tuple[float, int]: ...
    def loss(
        self,
        samples: _Floats,
        labels: NDArray[np.int32],
        num_threads: int,
        loss: str,
        setting: float = 0.0,
        targets: _Floats | None = None,
    ) -> float: ...
    def train_steps(
        self,
        samples: _Samples,
        labels: NDArray[np.int32],
        params: _Floats,
        grads: _Floats,
        num_threads: int,
        batch_size: int,
        update: Update,
        record: Any,
        loss: str = "cross_entropy",
        setting: float = 0.0,
        targets: _Floats | None = None,
        index: NDArray[np.int64] | None = None,
        scale: float = 1.0,
        offset: _Floats | None = None,
        by_sample: bool = False,
        distort: Any = None,
    ) -> None: ...
