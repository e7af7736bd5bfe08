"""Windows that slide over an image: their number, and the elements of each window.

A window has KH rows and KW columns. It moves by the stride (SH, SW) from one output position to the
next; its rows and columns are (DH, DW) apart, the dilation; the image has a border of padding, PH
rows at the top and PW columns on the left (and, unless it says otherwise, as many at the bottom and
on the right). So the output at (oh, ow) reads, for kh in 0..KH-1 and kw in 0..KW-1, the input at::

    h = oh * SH + kh * DH - PH
    w = ow * SW + kw * DW - PW
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, Padding, Size

Index = tuple[slice, slice, slice, slice]


def pair(size: Size) -> tuple[int, int]:
    """Return `size` as (vertical, horizontal); an int is used for both.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.pair(3), reference.pair((3, 2))
    ((3, 3), (3, 2))
    """
    if isinstance(size, tuple | list):
        vertical, horizontal = size
        return vertical, horizontal
    return size, size


def border(
    size: Size, kernel_size: Size, stride: Size = 1, padding: Padding = 0, dilation: Size = 1
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding as ((top, bottom), (left, right)).

    "valid" is no padding; "same" is the padding needed for ceil(H / SH) x ceil(W / SW) windows,
    half of it before the image, rounded down.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.border((6, 5), kernel_size=3, padding=(1, 2))
    ((1, 1), (2, 2))
    >>> reference.border((6, 5), kernel_size=3, stride=2, padding="same")
    ((0, 1), (1, 1))
    """
    if padding == "same":
        axes = zip(pair(size), pair(kernel_size), pair(stride), pair(dilation), strict=True)
        totals = [max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n) for n, k, s, d in axes]
        vertical, horizontal = ((total // 2, total - total // 2) for total in totals)
    else:
        of_axes: Any = 0 if padding == "valid" else padding
        vertical, horizontal = map(pair, pair(of_axes))
    return vertical, horizontal


def output_shape(
    size: Size, kernel_size: Size, stride: Size = 1, padding: Padding = 0, dilation: Size = 1
) -> tuple[int, int]:
    """Count the positions of a window in an image.

    ::

        OH = floor((H + top + bottom - DH (KH - 1) - 1) / SH) + 1,  OW likewise

    Parameters
    ----------
    size : int or (int, int)
        H and W of the image, without its border.
    kernel_size, stride, dilation : int or (int, int)
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"

    Returns
    -------
    (int, int)
        OH and OW.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.output_shape((32, 32), kernel_size=5)
    (28, 28)
    >>> reference.output_shape((7, 6), kernel_size=3, stride=2, padding=1)
    (4, 3)
    """
    (H, W), (KH, KW), (SH, SW) = pair(size), pair(kernel_size), pair(stride)
    (top, bottom), (left, right) = border(size, kernel_size, stride, padding, dilation)
    DH, DW = pair(dilation)
    OH = (H + top + bottom - DH * (KH - 1) - 1) // SH + 1
    OW = (W + left + right - DW * (KW - 1) - 1) // SW + 1
    return OH, OW


def window(oh: int, ow: int, kernel_size: Size, stride: Size, dilation: Size) -> Index:
    """Index the elements of a padded image that the output at (oh, ow) reads: (N, C, KH, KW)."""
    (KH, KW), (SH, SW), (DH, DW) = pair(kernel_size), pair(stride), pair(dilation)
    rows = slice(oh * SH, oh * SH + DH * (KH - 1) + 1, DH)
    columns = slice(ow * SW, ow * SW + DW * (KW - 1) + 1, DW)
    return slice(None), slice(None), rows, columns


def pad(x: ArrayLike, padding: Padding) -> Array:
    """Return x (N, C, H, W) as float64 with a border of zeros; for "same", pass `border(...)`."""
    vertical, horizontal = border((0, 0), 1, padding=padding)
    return np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), vertical, horizontal))


def unpad(x: Array, padding: Padding) -> Array:
    """Return a copy of x without its border: the transpose of `pad`."""
    (top, bottom), (left, right) = border((0, 0), 1, padding=padding)
    H, W = x.shape[2:]
    return x[:, :, top : H - bottom, left : W - right].copy()
