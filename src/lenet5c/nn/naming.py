"""Names of inner layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from lenet5c.nn.layer import Layer


def name_layers(layers: Sequence[Any]) -> dict[str, Layer]:
    """Return layers by name, given one by one or as one list or mapping.

    Raises
    ------
    TypeError
        If one of them is not a layer.
    ValueError
        If there are none, a name is invalid, or a layer occurs twice.
    """
    named = _name(layers)
    seen: set[int] = set()
    for name, layer in named.items():
        if not isinstance(layer, Layer):
            raise TypeError(
                f"layer {name!r} must be a lenet5c.nn.Layer, got {type(layer).__name__}"
            )
        within = {id(each) for each in layer.all_layers()}
        if seen & within:
            raise ValueError(
                f"layer {name!r} must occur in the model only once, got it twice; create a "
                "separate layer"
            )
        seen |= within
    return named


def _name(layers: Sequence[Any]) -> dict[str, Layer]:
    if len(layers) == 1 and not isinstance(layers[0], Layer):
        layers = layers[0]
    if isinstance(layers, Mapping):
        pairs = list(layers.items())
    else:
        pairs = [
            pair if isinstance(pair, tuple) else (str(i), pair) for i, pair in enumerate(layers)
        ]
    if not pairs:
        raise ValueError("layers must contain at least one layer, got none")
    names: set[str] = set()
    for name, _ in pairs:
        shown = isinstance(name, str) and name.isprintable()
        if not shown or not name or "." in name or name in names:
            raise ValueError(
                f"layer names must be unique, printable and without dots, got {name!r}"
            )
        names.add(name)
    return dict(pairs)
