"""Layers that contain other layers."""

from collections.abc import Iterator
from typing import Any

from lenet5c.nn.layer import Layer, Shape
from lenet5c.nn.parameter_store import ParameterStore


class Composite(Layer):
    """A layer that contains other layers, with all their parameters in one store.

    Subclasses yield the inner layers in `named_layers` and `all_layers`, and call `gather` once
    these are set.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        ParameterStore(self)

    def gather(self) -> None:
        for kind in ("params", "grads", "buffers"):
            getattr(self, kind).bind_all(
                (f"{layer_name}.{name}", array)
                for layer_name, layer in self.named_layers()
                for name, array in getattr(layer, kind).items()
            )

    @property
    def store(self) -> ParameterStore:
        if self._store is None or not self._store.current:
            raise RuntimeError(
                "layers must belong to one model, got a layer of this model in another model; add "
                "a copy.deepcopy of the layer there"
            )
        return self._store


class InOrder(Layer):
    """A layer that applies named `layers` in sequence."""

    layers: dict[str, Layer]

    def output_shape(self, input_shape: Shape) -> Shape:
        for layer in self.layers.values():
            input_shape = layer.output_shape(input_shape)
        return input_shape

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        for name, layer in self.layers.items():
            yield from layer.named_layers(f"{prefix}{name}.")

    def all_layers(self) -> Iterator[Layer]:
        yield self
        for layer in self.layers.values():
            yield from layer.all_layers()

    def connections(self, input_shape: Shape) -> int:
        total = 0
        for layer in self.layers.values():
            total += layer.connections(input_shape)
            input_shape = layer.output_shape(input_shape)
        return total

    def multiply_adds(self, input_shape: Shape) -> int:
        total = 0
        for layer in self.layers.values():
            total += layer.multiply_adds(input_shape)
            input_shape = layer.output_shape(input_shape)
        return total

    def __getitem__(self, name: int | str) -> Layer:
        """Return the layer with this name or index."""
        return list(self.layers.values())[name] if isinstance(name, int) else self.layers[name]

    def __repr__(self) -> str:
        lines = "".join(f"\n{name}: {layer!r}" for name, layer in self.layers.items())
        inner = lines.replace("\n", "\n  ")
        return f"{type(self).__name__}({inner}\n)"
