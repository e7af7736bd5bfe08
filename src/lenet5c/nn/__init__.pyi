from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.optim import SGD, Adagrad, Adam, RMSprop

__all__ = [
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Layer",
    "LeNet5",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "softmax",
]

_Floats = NDArray[np.float32]
_Samples = NDArray[np.float32] | NDArray[np.uint8]
_Labels = NDArray[np.integer[Any]]
_Pair = int | tuple[int, int]
_Shape = tuple[int, ...]
_Rng = int | np.random.Generator | None
_Init = str | Mapping[str, float] | Callable[[np.random.Generator, _Shape, int, int], NDArray[Any]]

class Layer:
    params: MutableMapping[str, NDArray[Any]]
    grads: MutableMapping[str, NDArray[Any]]
    buffers: MutableMapping[str, NDArray[Any]]
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...
    # A layer of NumPy's may take and return any array; a model makes float32 of it.
    def forward(self, x: NDArray[Any], training: bool = False) -> NDArray[Any]: ...
    def backward(self, dy: NDArray[Any]) -> NDArray[Any]: ...
    def output_shape(self, input_shape: _Shape) -> _Shape: ...
    def connections(self, input_shape: _Shape) -> int: ...
    @property
    def num_params(self) -> int: ...
    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]: ...
    def all_layers(self) -> Iterator[Layer]: ...
    @property
    def home(self) -> Any: ...
    @property
    def vector(self) -> _Floats: ...
    @property
    def grad_vector(self) -> _Floats: ...
    def moved(self) -> None: ...
    def gather(self) -> None: ...
    def __call__(self, x: NDArray[Any], training: bool = False) -> NDArray[Any]: ...

class _TileLayer(Layer):
    def output_shape(self, input_shape: _Shape) -> _Shape: ...
    def tile_op(self, offset: Callable[[str], int | None]) -> dict[str, Any]: ...
    def moved(self) -> None: ...
    def forward(self, x: _Floats, training: bool = False) -> _Floats: ...
    def backward(self, dy: _Floats) -> _Floats: ...

class Conv2d(_TileLayer):
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Pair,
        stride: _Pair = 1,
        padding: _Pair = 0,
        dilation: _Pair = 1,
        groups: int = 1,
        bias: bool = True,
        init: _Init = "he_normal",
        rng: _Rng = None,
    ) -> None: ...
    def output_shape(self, input_shape: _Shape) -> _Shape: ...
    def connections(self, input_shape: _Shape) -> int: ...
    def tile_op(self, offset: Callable[[str], int | None]) -> dict[str, Any]: ...

class Linear(_TileLayer):
    in_features: int
    out_features: int
    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, init: _Init = "he_normal", rng: _Rng = None
    ) -> None: ...
    def output_shape(self, input_shape: _Shape) -> _Shape: ...
    def connections(self, input_shape: _Shape) -> int: ...
    def tile_op(self, offset: Callable[[str], int | None]) -> dict[str, Any]: ...

class Flatten(_TileLayer):
    def output_shape(self, input_shape: _Shape) -> _Shape: ...
    def tile_op(self, offset: Callable[[str], int | None]) -> dict[str, Any]: ...

class _Pool2d(_TileLayer):
    kind: str
    count_include_pad: bool
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    def __init__(self, kernel_size: _Pair, stride: _Pair | None = None, padding: _Pair = 0) -> None: ...

class MaxPool2d(_Pool2d): ...

class AvgPool2d(_Pool2d):
    def __init__(
        self,
        kernel_size: _Pair,
        stride: _Pair | None = None,
        padding: _Pair = 0,
        count_include_pad: bool = True,
    ) -> None: ...

class _Activation(_TileLayer):
    kind: str

class ReLU(_Activation): ...
class Sigmoid(_Activation): ...
class Tanh(_Activation): ...

class _BatchNorm(Layer):
    ndim: int
    num_features: int
    eps: float
    momentum: float
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None: ...
    def forward(self, x: _Floats, training: bool = False) -> _Floats: ...
    def backward(self, dy: _Floats) -> _Floats: ...

class BatchNorm1d(_BatchNorm): ...
class BatchNorm2d(_BatchNorm): ...

class Dropout(Layer):
    p: float
    rng: np.random.Generator
    def __init__(self, p: float = 0.5, rng: _Rng = None) -> None: ...
    def forward(self, x: _Floats, training: bool = False) -> _Floats: ...
    def backward(self, dy: _Floats) -> _Floats: ...
    def output_shape(self, input_shape: _Shape) -> _Shape: ...

class Sequential(Layer):
    layers: dict[str, Layer]
    def __init__(
        self,
        *layers: Layer | Sequence[Layer] | Sequence[tuple[str, Layer]] | Mapping[str, Any],
    ) -> None: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...
    def moved(self) -> None: ...
    def gather(self) -> None: ...
    @property
    def home(self) -> Any: ...
    @property
    def segments(self) -> list[Any]: ...
    def forward(self, x: _Floats, training: bool = False) -> _Floats: ...
    def backward(self, dy: _Floats) -> _Floats: ...
    def train_step(
        self,
        samples: _Samples,
        labels: _Labels,
        loss: CrossEntropyLoss | MSELoss,
        *,
        index: _Labels | None = None,
        scale: float | np.float32 = 1.0,
        offset: _Floats | None = None,
    ) -> tuple[float, int]: ...
    def train_steps(
        self,
        samples: _Samples,
        labels: _Labels,
        loss: CrossEntropyLoss | MSELoss,
        optimizer: SGD | Adam | Adagrad | RMSprop,
        rates: Sequence[float],
        *,
        batch_size: int,
        index: _Labels,
        scale: float | np.float32 = 1.0,
        offset: _Floats | None = None,
        record: Any = None,
    ) -> tuple[NDArray[np.float64], int, int]: ...
    def outputs(
        self,
        samples: _Samples,
        *,
        index: _Labels | None = None,
        scale: float | np.float32 = 1.0,
        offset: _Floats | None = None,
    ) -> _Floats: ...
    def predict(self, x: _Floats) -> NDArray[np.int64]: ...
    def output_shape(self, input_shape: _Shape) -> _Shape: ...
    def connections(self, input_shape: _Shape) -> int: ...
    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]: ...
    def all_layers(self) -> Iterator[Layer]: ...
    def state_dict(self) -> dict[str, NDArray[Any]]: ...
    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None: ...
    def summary(self, input_shape: _Shape) -> str: ...
    def __getitem__(self, name: int | str) -> Layer: ...

class LeNet5(Sequential):
    config: dict[str, Any]
    input_shape: tuple[int, int, int]
    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        input_size: _Pair = 32,
        padding: _Pair = 0,
        activation: str = "relu",
        pooling: str = "max",
        init: _Init | None = None,
        rng: _Rng = 0,
        *,
        kernel_size: int = 5,
        conv2_padding: _Pair = 0,
        c5: str = "linear",
        without_activation: Sequence[str] = (),
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None: ...
    @staticmethod
    def count_params(
        num_classes: int = 10,
        in_channels: int = 1,
        input_size: _Pair = 32,
        padding: _Pair = 0,
        activation: str = "relu",
        pooling: str = "max",
        *,
        kernel_size: int = 5,
        conv2_padding: _Pair = 0,
        c5: str = "linear",
        without_activation: Sequence[str] = (),
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> int: ...
    @staticmethod
    def count_buffers(batch_norm: bool = False, **_: Any) -> int: ...
    def summary(self, input_shape: _Shape | None = None) -> str: ...

class _Loss:
    kind: str
    label_smoothing: float

class CrossEntropyLoss(_Loss):
    def __init__(self, label_smoothing: float = 0.0) -> None: ...
    def __call__(self, logits: _Floats, labels: _Labels) -> tuple[float, _Floats]: ...

class MSELoss(_Loss):
    def __call__(self, outputs: _Floats, target: NDArray[Any]) -> tuple[float, _Floats]: ...
    def targets(self, labels: _Labels, num_classes: int) -> _Floats: ...

def softmax(logits: _Floats) -> _Floats: ...
