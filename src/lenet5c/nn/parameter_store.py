"""Named arrays of layers, and the flat vectors of a model."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lenet5c.nn.layer import Layer

Array = NDArray[Any]
Floats = NDArray[np.float32]


class Arrays(UserDict[str, Array]):
    """Named arrays; assigning to an existing name copies the values, so that views stay views."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self:
            value = np.asarray(value)
            if value.shape != self[name].shape:
                raise ValueError(
                    f"{name} must have the shape {self[name].shape}, got {value.shape}"
                )
            self[name][...] = value
        else:
            dtype = np.int64 if np.asarray(value).dtype.kind in "iu" else np.float32
            self.data[name] = np.array(value, dtype)

    def __ior__(self, other: Any) -> Self:  # type: ignore[override, misc]
        self.update(other)
        return self

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name} cannot be deleted from its layer")

    def bind(self, name: str, array: Array) -> None:
        """Use `array` itself, not a copy, under this name."""
        self.data[name] = array

    def bind_all(self, arrays: Iterable[tuple[str, Array]]) -> None:
        """Replace all arrays with these."""
        self.data = dict(arrays)


class ParameterStore:
    """Flat vectors of all parameters and gradients of a layer or a model.

    A third vector, of second derivatives, is created on first use. `offsets` has the offset of each
    layer's parameters, `spans` the range of each layer including its inner layers. The store is
    `current` until one of its layers is moved to another store.
    """

    current = True

    def __init__(self, owner: Layer) -> None:
        layers = list(owner.named_layers())
        size = sum(layer.num_params for _, layer in layers)
        self.params = np.zeros(size, np.float32)
        self.grads = np.zeros(size, np.float32)
        self.offsets: dict[tuple[int, str], int] = {}
        self.spans: dict[int, slice] = {}
        at = 0
        for _, layer in layers:
            for name, array in layer.params.items():
                view = self.params[at : at + array.size].reshape(array.shape)
                view[...] = array
                layer.params.bind(name, view)
                grad = self.grads[at : at + array.size].reshape(array.shape)
                grad[...] = layer.grads.get(name, 0)
                layer.grads.bind(name, grad)
                self.offsets[id(layer), name] = at
                at += array.size
        for layer in owner.all_layers():
            if layer._store is not None:
                layer._store.current = False
            layer._store = self
            layer.moved()
            layer.gather()
            self.spans[id(layer)] = self._span(layer)

    @cached_property
    def curvatures(self) -> Floats:
        return np.zeros_like(self.params)

    def offset(self, layer: Layer, name: str) -> int | None:
        """Return the offset of a layer's own parameter, None if it has none of this name."""
        return self.offsets.get((id(layer), name))

    def _span(self, layer: Layer) -> slice:
        starts = [
            self.offsets[id(leaf), name] for _, leaf in layer.named_layers() for name in leaf.params
        ]
        start = min(starts, default=0)
        return slice(start, start + layer.num_params)


@contextmanager
def keep_state(layer: Layer) -> Iterator[None]:
    """Restore buffers and random generators of a layer or model after a `with` block."""
    buffers = {name: array.copy() for name, array in layer.buffers.items()}
    random = layer.random_layers()
    states = {name: each.rng_state for name, each in random.items()}
    try:
        yield
    finally:
        layer.buffers.update(buffers)
        for name, state in states.items():
            random[name].rng_state = state  # type: ignore[assignment]  # only layers with one
