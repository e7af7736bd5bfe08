"""Windows that slide over an image: how many fit, and which elements each one sees.

A window has KH rows and KW columns. From one output position to the next it moves by the stride
(SH, SW); its rows and columns lie the dilation (DH, DW) apart; the image has a border of padding
(PH, PW) on each side. So the output at (oh, ow) reads, for kh in 0..KH-1 and kw in 0..KW-1, the
input at::

    h = oh * SH + kh * DH - PH
    w = ow * SW + kw * DW - PW
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, Size

Index = tuple[slice, slice, slice, slice]


def pair(size: Size) -> tuple[int, int]:
    """Return `size` as (vertical, horizontal): an int counts for both.

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


def output_shape(
    size: Size, kernel_size: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1
) -> tuple[int, int]:
    """Count the positions of a window in an image.

    ::

        OH = floor((H + 2 PH - DH (KH - 1) - 1) / SH) + 1,  OW likewise

    Parameters
    ----------
    size : int or (int, int)
        H and W of the image, without its border.
    kernel_size, stride, padding, dilation : int or (int, int)

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
    (PH, PW), (DH, DW) = pair(padding), pair(dilation)
    OH = (H + 2 * PH - DH * (KH - 1) - 1) // SH + 1
    OW = (W + 2 * PW - DW * (KW - 1) - 1) // SW + 1
    return OH, OW


def window(oh: int, ow: int, kernel_size: Size, stride: Size, dilation: Size) -> Index:
    """Index the elements of a padded image that the output at (oh, ow) reads: (N, C, KH, KW)."""
    (KH, KW), (SH, SW), (DH, DW) = pair(kernel_size), pair(stride), pair(dilation)
    rows = slice(oh * SH, oh * SH + DH * (KH - 1) + 1, DH)
    columns = slice(ow * SW, ow * SW + DW * (KW - 1) + 1, DW)
    return slice(None), slice(None), rows, columns


def pad(x: ArrayLike, padding: Size) -> Array:
    """Return x (N, C, H, W) as float64 with a border of zeros: (N, C, H + 2 PH, W + 2 PW)."""
    PH, PW = pair(padding)
    return np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), (PH, PH), (PW, PW)))


def unpad(x: Array, padding: Size) -> Array:
    """Return a copy of x without its border: the transpose of `pad`."""
    (PH, PW), (H, W) = pair(padding), x.shape[2:]
    return x[:, :, PH : H - PH, PW : W - PW].copy()
