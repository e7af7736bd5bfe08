"""A layer that is made of others."""

from collections.abc import Iterator
from typing import Any

from lenet5c.nn.layer import Layer, Shape
from lenet5c.nn.parameter_store import ParameterStore


class Composite(Layer):
    """A layer whose parameters are those of the layers within it, in one store.

    Subclasses yield those in `named_layers` and `all_layers`, and make a `ParameterStore` of
    themselves once they have them.
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
        if self._store is None or any(each._store is not self._store for each in self.all_layers()):
            raise RuntimeError(
                "a layer of this model was put into another model; give it a copy.deepcopy of the "
                "layer"
            )
        return self._store


class InOrder(Layer):
    """A layer of named `layers` that feed one another."""

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
