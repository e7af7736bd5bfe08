"""Sizes and checks of windows: the output size of a convolution or a pooling."""

from collections.abc import Sequence
from math import prod
from operator import index
from typing import Any

# An array larger than this cannot be addressed; sizes are multiplied as Python integers and held
# against it.
MAX_ELEMENTS = 2**40
MAX_SETTING = 2**31 - 1


def pair(value: Any, name: str, least: int) -> tuple[int, int]:
    """Return `value`, an int or two of them, as (vertical, horizontal), each at least `least`."""
    try:
        # Catching an error takes long: ask for a tuple first.
        both = tuple(map(index, value)) if isinstance(value, tuple) else (index(value),) * 2
    except TypeError:
        try:
            both = tuple(index(v) for v in value)
        except TypeError:
            both = ()
    if len(both) != 2 or min(both) < least or max(both) > MAX_SETTING:
        raise ValueError(
            f"{name} must be an integer of at least {least}, or two of them, got {value!r}"
        )
    return both


def conv2d_output_size(
    size: Sequence[int], kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> tuple[int, int]:
    """Return (OH, OW) of a convolution over an image of `size` (H, W)."""
    kernel_size, stride = pair(kernel_size, "kernel_size", 1), pair(stride, "stride", 1)
    padding, dilation = pair(padding, "padding", 0), pair(dilation, "dilation", 1)
    out = []
    for axis, name in enumerate(("height", "width")):
        padded = size[axis] + 2 * padding[axis]
        reach = dilation[axis] * (kernel_size[axis] - 1) + 1
        if reach > padded:
            raise ValueError(
                f"kernel_size is {kernel_size} and covers {reach} pixels of {name}, but the "
                f"padded input has {padded}; use a smaller kernel_size or dilation, or a larger "
                "padding"
            )
        out.append((padded - reach) // stride[axis] + 1)
    check_elements("padded input", (size[0] + 2 * padding[0], size[1] + 2 * padding[1]))
    return out[0], out[1]


def pool2d_output_size(
    size: Sequence[int], kernel_size: Any, stride: Any = None, padding: Any = 0
) -> tuple[int, int]:
    """Return (OH, OW) of a pooling over (H, W), where every window touches the image."""
    kernel_size, padding = pair(kernel_size, "kernel_size", 1), pair(padding, "padding", 0)
    for axis in (0, 1):
        if 2 * padding[axis] > kernel_size[axis]:
            raise ValueError(
                f"padding must be at most half of kernel_size {kernel_size}, got {padding}"
            )
    return conv2d_output_size(size, kernel_size, kernel_size if stride is None else stride, padding)


def check_elements(name: str, shape: Sequence[int]) -> int:
    """Return the number of elements of a shape; refuse one that is out of all bounds."""
    total = prod(shape)
    if total > MAX_ELEMENTS:
        raise ValueError(
            f"{name} of shape {tuple(shape)} would have {total} elements, more than {MAX_ELEMENTS}"
        )
    return total
