from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.nn import Layer, Sequential, _Loss

__all__ = [
    "SDLM",
    "SGD",
    "Adagrad",
    "Adam",
    "Constant",
    "Cosine",
    "OneCycle",
    "Piecewise",
    "RMSprop",
    "ReduceOnPlateau",
    "Step",
]

class _Optimizer:
    vectors: tuple[str, ...]
    model: Layer
    lr: float
    weight_decay: float
    steps: int
    def step(self) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

class SGD(_Optimizer):
    momentum: float
    nesterov: bool
    velocity: NDArray[np.float32]
    def __init__(
        self,
        model: Layer,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None: ...

class Adam(_Optimizer):
    betas: tuple[float, float]
    eps: float
    decoupled: bool
    m: NDArray[np.float32]
    v: NDArray[np.float32]
    def __init__(
        self,
        model: Layer,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None: ...

class SDLM(_Optimizer):
    mu: float
    samples: int
    curvature: NDArray[np.float32]
    def __init__(
        self, model: Sequential, lr: float, mu: float = 0.02, samples: int = 500
    ) -> None: ...
    def estimate(
        self,
        samples: NDArray[np.float32] | NDArray[np.uint8],
        labels: NDArray[np.integer[Any]],
        loss: _Loss,
        *,
        index: NDArray[np.integer[Any]] | None = None,
        scale: float | np.float32 = 1.0,
        offset: NDArray[np.float32] | None = None,
    ) -> None: ...
    def set_curvature(self, curvature: ArrayLike) -> None: ...
    def step_sizes(self) -> NDArray[np.float32]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

class Adagrad(_Optimizer):
    eps: float
    squares: NDArray[np.float32]
    def __init__(
        self,
        model: Layer,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None: ...

class RMSprop(_Optimizer):
    alpha: float
    momentum: float
    eps: float
    squares: NDArray[np.float32]
    velocity: NDArray[np.float32]
    def __init__(
        self,
        model: Layer,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None: ...

@dataclass(frozen=True)
class Constant:
    lr: float
    def __call__(self, step: int) -> float: ...

@dataclass(frozen=True)
class Step:
    lr: float
    every: int
    gamma: float = 0.1
    def __post_init__(self) -> None: ...
    def __call__(self, step: int) -> float: ...

@dataclass(frozen=True)
class Cosine:
    lr: float
    total: int
    final: float = 0.0
    def __post_init__(self) -> None: ...
    def __call__(self, step: int) -> float: ...

@dataclass(frozen=True)
class OneCycle:
    lr: float
    total: int
    warm_up: float = 0.3
    start_divisor: float = 25.0
    final_divisor: float = 1e4
    def __post_init__(self) -> None: ...
    def __call__(self, step: int) -> float: ...

@dataclass(frozen=True)
class Piecewise:
    rates: tuple[float, ...]
    boundaries: tuple[int, ...]
    def __post_init__(self) -> None: ...
    @classmethod
    def paper1998(cls, steps_per_epoch: int) -> Self: ...
    def __call__(self, step: int) -> float: ...

@dataclass(frozen=True)
class ReduceOnPlateau:
    lr: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    min_lr: float = 0.0
    def __post_init__(self) -> None: ...
    def __call__(self, step: int, losses: Sequence[float] = ()) -> float: ...
