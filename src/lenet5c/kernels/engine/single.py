"""Programs of one op, for the functions on plain arrays."""

from functools import lru_cache
from math import prod

from lenet5c.kernels.engine import lowering
from lenet5c.kernels.simd import dispatch
from lenet5c.kernels.engine._program import Program


@lru_cache(maxsize=64)
def single_op_program(in_shape, kind, window, out_channels, groups, count_include_pad=False):
    """A program of one op, with its weights first and its bias behind them."""
    kernel_size, stride, padding, dilation = window
    layer = {
        "kind": kind,
        "kernel_size": kernel_size,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    if kind == "conv2d":
        weights = out_channels * (in_shape[0] // groups) * prod(kernel_size)
        layer |= {"out_channels": out_channels, "groups": groups, "weight": 0, "bias": weights}
    else:
        layer["count_include_pad"] = count_include_pad
    return Program(lowering.lower(in_shape, [layer]), dispatch.tiles)
