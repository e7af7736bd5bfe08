import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, SupportsIndex, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.datasets import Dataset, Distortion, Preparation
from lenet5c.errors import UserError
from lenet5c.nn import Sequential, _Loss
from lenet5c.optim import SDLM, SGD, Adagrad, Adam, RMSprop

__all__ = [
    "ClassScores",
    "Classification",
    "Evaluation",
    "History",
    "McNemar",
    "MeanInterval",
    "NonFiniteError",
    "RunError",
    "TrainedModel",
    "Trainer",
    "class_scores",
    "classify",
    "confused_pairs",
    "confusion_matrix",
    "evaluate",
    "load_model",
    "matched",
    "mcnemar",
    "mean_interval",
    "open_model",
    "pretrained",
    "save_model",
    "wilson_interval",
]

@dataclass(frozen=True)
class Evaluation:
    loss: float
    correct: int
    count: int
    @property
    def accuracy(self) -> float: ...

@dataclass(frozen=True)
class McNemar:
    only_a: int
    only_b: int
    p_value: float
    mid_p: float

@dataclass(frozen=True)
class MeanInterval:
    mean: float
    sd: float
    low: float
    high: float
    count: int

@dataclass(frozen=True, eq=False)
class ClassScores:
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    count: NDArray[np.int64]
    predicted: NDArray[np.int64]
    @property
    def macro(self) -> tuple[float, float, float]: ...

@dataclass(frozen=True, eq=False)
class Classification:
    labels: NDArray[np.integer[Any]]
    predictions: NDArray[np.integer[Any]]
    confidences: NDArray[np.float32]
    num_classes: int
    loss: float
    @property
    def count(self) -> int: ...
    @property
    def correct(self) -> int: ...
    @property
    def accuracy(self) -> float: ...
    @cached_property
    def matrix(self) -> NDArray[np.int64]: ...
    def worst(self, most: int | None = None) -> NDArray[np.intp]: ...

class RunError(UserError): ...
class NonFiniteError(ArithmeticError): ...

@dataclass(eq=False)
class TrainedModel:
    model: Sequential
    preparation: Preparation
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None = None
    reading: str = "ink"
    def __post_init__(self) -> None: ...
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]: ...
    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]: ...

class History(list[dict[str, Any]]):
    epochs: int
    done: bool
    kept_epoch: int | None
    def __init__(
        self,
        rows: Iterable[dict[str, Any]] = (),
        epochs: int | None = None,
        done: bool = True,
        kept_epoch: int | None = None,
    ) -> None: ...
    @overload
    def __getitem__(self, key: str) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, key: SupportsIndex) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice) -> list[dict[str, Any]]: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    def to_dict(self) -> dict[str, NDArray[Any]]: ...
    @property
    def best(self) -> dict[str, Any] | None: ...
    def plot(self) -> Any: ...
    def _repr_html_(self) -> str: ...

class Trainer:
    stretch_seconds: float
    trained: TrainedModel | None
    model: Sequential
    optimizer: SGD | Adam | SDLM | Adagrad | RMSprop
    schedule: Callable[[int], float]
    loss: _Loss
    preparation: Preparation
    train_set: Dataset
    validation_set: Dataset | None
    batch_size: int
    epochs: int
    seed: int
    order: str
    distortion: Distortion | None
    history: list[dict[str, Any]]
    epoch: int
    step: int
    average: Any
    keep: str
    patience: int
    def __init__(
        self,
        model: Sequential,
        optimizer: SGD | Adam | SDLM | Adagrad | RMSprop,
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
        distortion: Distortion | None = None,
        average: float = 0.0,
        keep: str = "last",
        patience: int = 0,
    ) -> None: ...
    @property
    def steps_taken(self) -> int: ...
    def weights_to_evaluate(self) -> AbstractContextManager[None]: ...
    @property
    def done(self) -> bool: ...
    @property
    def kept_row(self) -> dict[str, Any] | None: ...
    @property
    def steps_per_epoch(self) -> int: ...
    def run(
        self,
        on_step: Callable[[Trainer, int], object] | None = None,
        on_epoch: Callable[[Trainer, dict[str, Any]], object] | None = None,
        stop: Callable[[], object] | None = None,
    ) -> bool: ...
    def fit(
        self, progress: bool = True, on_epoch: Callable[[Trainer, dict[str, Any]], object] | None = None
    ) -> History: ...
    def save(self, path: str | os.PathLike[str]) -> None: ...
    def load(self, path: str | os.PathLike[str]) -> None: ...
    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]: ...
    def load_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None: ...

def evaluate(
    model: Sequential, dataset: Dataset, preparation: Preparation, loss: _Loss | None = None
) -> Evaluation: ...
def classify(trained: TrainedModel, dataset: Dataset) -> Classification: ...
def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> NDArray[np.int64]: ...
def class_scores(matrix: NDArray[np.integer[Any]]) -> ClassScores: ...
def confused_pairs(matrix: NDArray[np.integer[Any]], most: int | None = None) -> list[tuple[int, int, int]]: ...
def matched(trained: TrainedModel, dataset: Dataset) -> tuple[Dataset, list[str]]: ...
def save_model(path: str | os.PathLike[str], trained: TrainedModel) -> None: ...
def load_model(path: str | os.PathLike[str]) -> TrainedModel: ...
def wilson_interval(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]: ...
def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar: ...
def mean_interval(values: Iterable[float], confidence: float = 0.95) -> MeanInterval: ...

def pretrained() -> TrainedModel: ...
def open_model(name: str | os.PathLike[str] | None = None) -> TrainedModel: ...
