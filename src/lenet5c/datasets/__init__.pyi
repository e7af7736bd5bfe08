import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.errors import UserError

__all__ = [
    "Dataset",
    "DatasetError",
    "Distortion",
    "EpochDistortion",
    "Preparation",
    "Source",
    "idx_folder",
    "image_folder",
    "load_idx",
    "mnist",
    "mnist_label_errors",
    "open_source",
]

@dataclass(frozen=True, eq=False)
class Dataset:
    images: NDArray[np.uint8]
    labels: NDArray[np.integer[Any]]
    num_classes: int
    name: str = ""
    class_names: tuple[str, ...] = ()
    def __post_init__(self) -> None: ...
    def __len__(self) -> int: ...
    def take(self, indices: ArrayLike) -> Dataset: ...
    def split(
        self, count_or_fraction: float, seed: int | np.random.Generator, *, stratify: bool = False
    ) -> tuple[Dataset, Dataset]: ...
    def split_last(self, count: int) -> tuple[Dataset, Dataset]: ...

class DatasetError(UserError): ...

@dataclass(frozen=True)
class Distortion:
    translation: float = 0.0
    scaling: float = 0.0
    squeeze: float = 0.0
    shear: float = 0.0
    rotation: float = 0.0
    elastic: float = 0.0
    elastic_sigma: float = 4.0
    flip: float = 0.0
    probability: float = 1.0
    NAMES: ClassVar[tuple[str, ...]]
    def __post_init__(self) -> None: ...
    @classmethod
    def named(cls, name: str) -> Distortion: ...
    def __call__(
        self,
        images: NDArray[np.uint8],
        seed: int,
        epoch: int = 0,
        index: NDArray[np.integer[Any]] | None = None,
    ) -> NDArray[np.float32]: ...
    def of_epoch(self, seed: int, epoch: int = 0) -> EpochDistortion: ...
    def to_dict(self) -> dict[str, float]: ...
    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Distortion: ...

@dataclass(frozen=True)
class EpochDistortion:
    distortion: Distortion
    seed: int
    epoch: int = 0
    def __post_init__(self) -> None: ...
    def __call__(
        self, images: NDArray[np.uint8], index: NDArray[np.integer[Any]] | None = None
    ) -> NDArray[np.float32]: ...
    @cached_property
    def stream(self) -> int: ...
    @cached_property
    def warp(self) -> Any: ...

@dataclass(frozen=True, eq=False)
class Preparation:
    size: tuple[int, int]
    fit: str = "pad"
    mean: float = 0.0
    std: float = 1.0
    mean_image: NDArray[np.float32] | None = None
    NAMES: ClassVar[tuple[str, ...]]
    def __post_init__(self) -> None: ...
    @classmethod
    def named(cls, name: str, train_images: NDArray[np.uint8] | None = None) -> Preparation: ...
    @property
    def scale(self) -> np.float32: ...
    def offset(self, channels: int) -> NDArray[np.float32]: ...
    def fit_images(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]: ...
    def to_dict(self) -> dict[str, Any]: ...
    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], mean_image: NDArray[np.float32] | None = None
    ) -> Preparation: ...

def load_idx(path: str | os.PathLike[str]) -> NDArray[Any]: ...
def idx_folder(directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]: ...
def mnist() -> tuple[Dataset, Dataset]: ...
def mnist_label_errors() -> tuple[int, ...]: ...

@dataclass(frozen=True, eq=False)
class Source:
    train: Dataset
    test: Dataset
    validation: Dataset | None = None
    reading: str = "ink"
    notes: tuple[str, ...] = ()

def open_source(
    data: str,
    *,
    skip_bad: bool = False,
    reading: str | None = None,
    download: bool = True,
    tell: Callable[[str], object] | None = None,
) -> Source: ...
def image_folder(
    path: str | os.PathLike[str],
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    test_share: float = ...,
    seed: int = 0,
    skip_bad: bool = False,
    memory: int = ...,
) -> Source: ...
