"""Settings of windows, and output sizes of convolution and pooling."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from operator import index
from typing import Any

# Names of data formats by the number of axes of an image: channels first, channels last.
FORMATS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC")}
Pair = int | tuple[int, int]
Padding = Pair | tuple[Pair, Pair] | str
# Kernel size, stride, padding before the image (at the top and on the left) and dilation, each with
# a number for every axis of the image, the vertical one first.
Window = tuple[Any, Any, Any, Any]

# An array larger than this cannot be addressed; sizes are multiplied as Python integers and
# compared with it.
MAX_ELEMENTS = 2**40
MAX_SETTING = 2**31 - 1


def window_and_size(
    image: Sequence[int],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    *,
    ceil_mode: bool = False,
    pooling: bool = False,
) -> tuple[Window, tuple[Any, ...]]:
    """Return the window of a convolution or a pooling, and the size of its output.

    Parameters
    ----------
    image : (H, W), or (L,) for one axis
    kernel_size, stride, dilation : int, or one for each axis
    padding : int, one for each axis, a pair (before, after) for each axis, "same" or "valid"
        Pixels around the image. For a single axis, a pair is (before, after). "same" gives an
        output of ceil(image / stride), with the odd pixel after the image, as in TensorFlow and
        ONNX's SAME_UPPER; "valid" is 0.
    ceil_mode : bool
        Round the output size up, unless the last window would begin beyond the image and the
        padding before it.
    pooling : bool
        Reject padding that could contain a whole window.

    Returns
    -------
    window : tuple
        Kernel size, stride, padding before the image and dilation, as tuples.
    size : (OH, OW), or (OL,)

    Raises
    ------
    ValueError
        A setting is invalid, or no window fits; the message names it.
    """
    return _window_and_size(
        tuple(image),
        setting("kernel_size", kernel_size),
        setting("stride", stride),
        setting("padding", padding),
        setting("dilation", dilation),
        bool(ceil_mode),
        bool(pooling),
    )


@lru_cache(maxsize=1024)
def _window_and_size(
    image: tuple[int, ...],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    pooling: bool,
) -> tuple[Window, tuple[int, ...]]:
    axes = len(image)
    kernel_size = per_axis("kernel_size", kernel_size, 1, axes)
    stride = per_axis("stride", stride, 1, axes)
    dilation = per_axis("dilation", dilation, 1, axes)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel_size, strict=True)]
    pads = paddings(padding, image, reach, stride)
    if pooling and any(max(pad) >= r for pad, r in zip(pads, reach, strict=True)):
        raise ValueError(
            f"padding must be less than the window, {' x '.join(map(str, reach))} pixels, got "
            f"{padding}"
        )
    padded = [before + length + after for length, (before, after) in zip(image, pads, strict=True)]
    for name, r, p in zip(_axis_names(axes), reach, padded, strict=True):
        if r > p:
            raise ValueError(
                f"kernel_size must fit in the padded input, which has {p} pixels of {name}, got "
                f"{kernel_size}, which covers {r}; use a smaller kernel_size or dilation, or a "
                "larger padding"
            )
    check_elements("padded input", padded)
    size = []
    for length, (before, _), r, s, p in zip(image, pads, reach, stride, padded, strict=True):
        count = (p - r) // s + 1
        if ceil_mode and (p - r) % s != 0 and count * s < before + length:
            count += 1
        size.append(count)
    return (kernel_size, stride, tuple(before for before, _ in pads), dilation), tuple(size)


def covered(window: Window, size: Sequence[int]) -> list[int]:
    """Return the extent of the windows along each axis, from the start of the padding."""
    kernel_size, stride, _, dilation = window
    axes = zip(kernel_size, stride, dilation, size, strict=True)
    return [(count - 1) * s + d * (k - 1) + 1 for k, s, d, count in axes]


def setting(name: str, value: Any) -> Any:
    """Return a setting of a window as ints in tuples, to be used as the key of a cache.

    An int, a str and None are returned unchanged. Without this, a cache would not distinguish 2.0
    from 2.
    """
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value
    if kind is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int:
        return value
    try:
        return _integers(value, 2)
    except TypeError:
        raise ValueError(
            f"{name} must be an integer or a tuple of integers, got {value!r}"
        ) from None


def choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return a setting after checking that it is one of the allowed values."""
    if isinstance(value, str) and value in choices:
        return value
    words = " or ".join(f'"{each}"' for each in choices)
    raise ValueError(f"{name} must be {words}, got {value!r}")


def _integers(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is int:
        return value
    if kind is bool:
        raise TypeError
    if kind is tuple and depth > 0:
        return tuple([_integers(each, depth - 1) for each in value])
    scalar = hasattr(value, "__index__") and getattr(value, "ndim", 0) == 0
    if scalar or depth == 0 or isinstance(value, (str, bytes)):
        return index(value)
    return tuple([_integers(each, depth - 1) for each in value])


def per_axis(name: str, value: Any, least: int, axes: int) -> tuple[int, ...]:
    """Return `value`, an int or one for each axis, as a tuple, each at least `least`."""
    each = value if isinstance(value, tuple) else (value,) * axes
    # Any other remaining value is a str, or a tuple within the tuple.
    fits = len(each) == axes and all(type(v) is int and least <= v <= MAX_SETTING for v in each)
    if not fits:
        several = {1: "", 2: ", or two of them"}.get(axes, f", or {axes} of them")
        raise ValueError(f"{name} must be an integer {_range(least, each)}{several}, got {value!r}")
    return each


def paddings(
    padding: Any, image: Sequence[int], reach: Sequence[int], stride: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the padding (before, after) of each axis."""
    if padding == "same":
        outputs = [-(-length // s) for length, s in zip(image, stride, strict=True)]
        totals = [
            max(0, (out - 1) * s + r - length)
            for out, s, r, length in zip(outputs, stride, reach, image, strict=True)
        ]
        return [(total // 2, total - total // 2) for total in totals]
    axes = len(image)
    each = 0 if padding == "valid" else padding
    if axes == 1 and isinstance(each, tuple) and len(each) == 2:
        each = (each,)
    each = each if isinstance(each, tuple) else (each,) * axes
    pads = [pad if isinstance(pad, tuple) else (pad, pad) for pad in each]
    if (
        len(pads) != axes
        or any(len(pad) != 2 for pad in pads)
        or not all(type(v) is int and 0 <= v <= MAX_SETTING for pad in pads for v in pad)
    ):
        forms = "(before, after)" if axes == 1 else "two of them, ((top, bottom), (left, right))"
        range_ = _range(0, [v for pad in pads for v in pad])
        raise ValueError(
            f'padding must be an integer {range_}, {forms}, "same" or "valid", got {padding!r}'
        )
    return [(before, after) for before, after in pads]


def _range(least: int, values: Iterable[Any]) -> str:
    """Return the range of a setting as text, with its end if one of the values exceeds it."""
    beyond = any(type(value) is int and value > MAX_SETTING for value in values)
    return f"from {least} to {MAX_SETTING}" if beyond else f"of at least {least}"


def _axis_names(axes: int) -> tuple[str, ...]:
    return ("height", "width") if axes == 2 else ("length",)


def pair(value: Any, name: str, least: int) -> tuple[int, int]:
    """Return `value`, one or two ints, as (vertical, horizontal), each at least `least`."""
    vertical, horizontal = per_axis(name, setting(name, value), least, 2)
    return vertical, horizontal


def pool2d_output_size(
    size: Sequence[int], kernel_size: Any, stride: Any = None, padding: Any = 0
) -> tuple[int, int]:
    """Return (OH, OW) of a pooling over (H, W) in which every window overlaps the image."""
    stride = kernel_size if stride is None else stride
    _, (height, width) = window_and_size(size, kernel_size, stride, padding, pooling=True)
    return height, width


def check_elements(name: str, shape: Sequence[int]) -> int:
    """Return the number of elements of a shape; raise an error if it is too large."""
    total = prod(shape)
    if total > MAX_ELEMENTS:
        raise ValueError(
            f"{name} of shape {tuple(shape)} would have {total} elements, more than {MAX_ELEMENTS}"
        )
    return total
