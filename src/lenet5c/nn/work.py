"""Memory and work of a net per sample, for nets described by files."""

from math import prod

from lenet5c.nn.ensemble import Ensemble
from lenet5c.nn.layer import Layer, Shape
from lenet5c.nn.residual import Residual
from lenet5c.nn.sequential import Sequential

#: Values of a layer's output, and connections and values of all layers, for one sample.
MOST_VALUES, MOST_WORK = 2**27, 2**38


def check_work(model: Sequential, input_shape: Shape) -> Shape:
    """Return the shape of the output, of a net that a file describes and is not trusted.

    Raises
    ------
    ValueError
        The layers do not take samples of this shape, or their memory and work would be out of all
        bounds.
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
            (f"values of layer {name!r}", prod(result), MOST_VALUES),
            ("connections and values", work, MOST_WORK),
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
        raise ValueError(f"its net must take samples of {input_shape}: {error}") from None
