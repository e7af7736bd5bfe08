import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets import Dataset, Preparation
from lenet5c.nn import Sequential, _Loss
from lenet5c.optim import SDLM, SGD, Adam

__all__ = [
    "Evaluation",
    "NonFiniteError",
    "RunError",
    "TrainedModel",
    "Trainer",
    "evaluate",
    "load_model",
    "save_model",
]

@dataclass(frozen=True)
class Evaluation:
    loss: float
    correct: int
    count: int
    @property
    def accuracy(self) -> float: ...

class RunError(ValueError): ...
class NonFiniteError(ArithmeticError): ...

@dataclass(eq=False)
class TrainedModel:
    model: Sequential
    preparation: Preparation
    class_names: tuple[str, ...]
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]: ...
    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]: ...

class Trainer:
    stretch_seconds: float
    model: Sequential
    optimizer: SGD | Adam | SDLM
    schedule: Callable[[int], float]
    loss: _Loss
    preparation: Preparation
    train_set: Dataset
    validation_set: Dataset | None
    batch_size: int
    epochs: int
    seed: int
    order: str
    history: list[dict[str, Any]]
    epoch: int
    step: int
    def __init__(
        self,
        model: Sequential,
        optimizer: SGD | Adam | SDLM,
        schedule: Callable[[int], float],
        loss: _Loss,
        preparation: Preparation,
        train_set: Dataset,
        validation_set: Dataset | None,
        *,
        batch_size: int,
        epochs: int,
        seed: int = 0,
        order: str = "reshuffled",
    ) -> None: ...
    @property
    def steps_per_epoch(self) -> int: ...
    def run(
        self,
        on_step: Callable[[Trainer, int], object] | None = None,
        on_epoch: Callable[[Trainer, dict[str, Any]], object] | None = None,
        stop: Callable[[], object] | None = None,
    ) -> bool: ...
    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]: ...
    def load_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None: ...

def evaluate(
    model: Sequential, dataset: Dataset, preparation: Preparation, loss: _Loss | None = None
) -> Evaluation: ...
def save_model(path: str | os.PathLike[str], trained: TrainedModel) -> None: ...
def load_model(path: str | os.PathLike[str]) -> TrainedModel: ...
