import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, overload

import numpy as np
from numpy.typing import NDArray

from lenet5c.errors import UserError
from lenet5c.recognition.digit import Digit as Digit
from lenet5c.training import TrainedModel

__all__ = [
    "BlankImageError",
    "PictureError",
    "Reader",
    "Reading",
    "predict",
    "prepare_digit",
    "read_picture",
]

class BlankImageError(UserError): ...
class PictureError(UserError): ...

@dataclass(frozen=True, eq=False)
class Reading:
    label: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    rejected: str | None = None
    box: tuple[int, int, int, int] | None = None
    digits: tuple[tuple[Reading, ...], ...] = ()
    text: str | None = None
    steps: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict, repr=False)
    def top(self, count: int = 3) -> list[tuple[str, float]]: ...

class Reader:
    trained: TrainedModel
    calibrated: bool
    digits: str
    reading: str
    def __init__(
        self,
        model: TrainedModel | str | os.PathLike[str] | None = None,
        *,
        digits: Literal["one", "many"] = "one",
        reading: Literal["ink", "whole"] | None = None,
    ) -> None: ...
    def __call__(self, picture: Any) -> Reading: ...

@overload
def predict(
    pictures: list[Any] | tuple[Any, ...],
    model: TrainedModel | str | os.PathLike[str] | None = None,
    *,
    digits: Literal["one", "many"] = "one",
    reading: Literal["ink", "whole"] | None = None,
) -> list[Reading]: ...
@overload
def predict(
    pictures: str | os.PathLike[str] | NDArray[Any] | Any,
    model: TrainedModel | str | os.PathLike[str] | None = None,
    *,
    digits: Literal["one", "many"] = "one",
    reading: Literal["ink", "whole"] | None = None,
) -> Reading: ...
def prepare_digit(grey: NDArray[np.uint8], size: int = 28, box: int = 20) -> Digit: ...
def read_picture(
    source: str | os.PathLike[str] | BinaryIO | NDArray[Any] | Any,
) -> NDArray[np.uint8]: ...
