import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.errors import UserError
from lenet5c.nn import Sequential
from lenet5c.training import TrainedModel

__all__ = [
    "ExportError",
    "import_torch",
    "load_torch",
    "quantize_int8",
    "to_c",
    "to_onnx",
    "to_torch",
    "torch_source",
    "torch_state",
]

class ExportError(UserError): ...

def to_onnx(
    model: TrainedModel | Sequential,
    *,
    input: str = "uint8",
    input_shape: tuple[int, ...] | None = None,
    accuracy: str | None = None,
) -> bytes: ...
def to_c(
    model: TrainedModel | Sequential,
    name: str = "lenet5",
    *,
    quantize: str = "none",
    input_shape: tuple[int, ...] | None = None,
    image: NDArray[np.uint8] | None = None,
) -> str: ...
def quantize_int8(trained: TrainedModel) -> TrainedModel: ...
def torch_state(model: Sequential | TrainedModel) -> dict[str, NDArray[Any]]: ...
def to_torch(model: Sequential | TrainedModel) -> bytes: ...
def torch_source(
    model: TrainedModel | Sequential,
    weights: str = "model.safetensors",
    *,
    input_shape: tuple[int, ...] | None = None,
) -> str: ...
def load_torch(
    path: str | os.PathLike[str], model: Sequential, names: Mapping[str, str] | None = None
) -> dict[str, str]: ...
def import_torch(
    path: str | os.PathLike[str], like: TrainedModel, names: Mapping[str, str] | None = None
) -> TrainedModel: ...
