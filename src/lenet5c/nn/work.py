"""Limits of memory and work per sample, for nets described by untrusted files."""

from math import prod

from lenet5c.nn.ensemble import Ensemble
from lenet5c.nn.layer import Layer, Shape
from lenet5c.nn.residual import Residual
from lenet5c.nn.sequential import Sequential

#: Maximum values of a layer's output, and connections and values of all layers, per sample.
MAX_VALUES, MAX_WORK = 2**27, 2**38


def check_work(model: Sequential, input_shape: Shape) -> Shape:
    """Return the output shape of a net described by an untrusted file.

    Raises
    ------
    ValueError
        If the layers do not accept samples of this shape, or need too much memory or work.
    """
    work = 0

    def run(name: str, layer: Layer, shape: Shape) -> Shape:
        nonlocal work
        if isinstance(layer, Sequential):
            for inner, each in layer.layers.items():
                shape = run(f"{name}.{inner}" if name else inner, each, shape)
            return shape
        for branch in layer.branches() if isinstance(layer, (Residual, Ensemble)) else ():
            run(name, branch, shape)
        result = layer.output_shape(shape)
        work += layer.connections(shape) + prod(result)
        for what, count, most in (
            (f"values of layer {name!r}", prod(result), MAX_VALUES),
            ("connections and values", work, MAX_WORK),
        ):
            if count > most:
                raise ValueError(
                    f"it must have at most {most:,} {what}, got {count:,}; use a smaller padding, "
                    "or fewer channels"
                )
        return result

    try:
        return run("", model, input_shape)
    except ValueError as error:
        raise ValueError(f"its net must accept samples of shape {input_shape}: {error}") from None
