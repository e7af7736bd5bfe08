"""im2col and col2im on plain NumPy arrays."""

from functools import lru_cache
from math import prod
from typing import Any

from numpy.typing import ArrayLike

from lenet5c.kernels import threads
from lenet5c.kernels._im2col import Columns
from lenet5c.kernels.arrays import (
    Array,
    check_axes,
    check_out,
    contiguous,
    deliver,
    plain_arrays,
    real_arrays,
    with_batch,
    work_array,
)
from lenet5c.kernels.shapes import (
    FORMATS,
    Padding,
    Pair,
    Window,
    check_elements,
    choice,
    pair,
    setting,
    window_and_size,
)

LAYOUTS = "columns", "rows"
# Cost of moving an element, in multiply-adds.
MOVE_WORK = 16


def im2col(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    *,
    layout: str = "columns",
    data_format: str = "NCHW",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Return the windows of an image as the columns, or the rows, of a matrix.

    In columns, as `torch.nn.functional.unfold` gives them, ``weight.reshape(O, -1) @ col[n]`` is a
    convolution; in rows, ``col @ weight.reshape(O, -1).T``, or, with the channels last,
    ``col @ weight.reshape(-1, O)`` with a weight (KH, KW, C, O).

    Parameters
    ----------
    x : array_like (N, C, H, W), or (N, H, W, C) with "NHWC"
        N is omitted for one sample. For dtypes and array types, see `lenet5c.kernels.arrays`.
    kernel_size, stride, dilation : int or (int, int)
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
    layout : {"columns", "rows"}
    data_format : {"NCHW", "NHWC"}
    out, num_threads
        As in `conv2d`.

    Returns
    -------
    ndarray
        The element x[n, c, oh SH + kh DH - PT, ow SW + kw DW - PL], or 0 outside the image, where
        PT and PL are the padding at the top and on the left, is at

        ======= ======= ===================== =============================================
        columns "NCHW"  (N, C KH KW, OH OW)   [n, (c KH + kh) KW + kw, oh OW + ow]
        columns "NHWC"  (N, KH KW C, OH OW)   [n, (kh KW + kw) C + c, oh OW + ow]
        rows    "NCHW"  (N OH OW, C KH KW)    [(n OH + oh) OW + ow, (c KH + kh) KW + kw]
        rows    "NHWC"  (N OH OW, KH KW C)    [(n OH + oh) OW + ow, (kh KW + kw) C + c]
        ======= ======= ===================== =============================================

        Columns of one sample have no axis N.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import kernels
    >>> x = np.arange(6.0).reshape(1, 1, 2, 3)
    >>> kernels.im2col(x, 2)[0]
    array([[0., 1.],
           [1., 2.],
           [3., 4.],
           [4., 5.]])
    >>> kernels.im2col(x, 2, layout="rows")
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.]])
    """
    dtype, is_plain, x = real_arrays(x=x)
    x, single = with_batch("x", x, 4)
    columns, shape, work = _im2col_plan(
        x.shape,
        setting("kernel_size", kernel_size),
        setting("stride", stride),
        setting("padding", padding),
        setting("dilation", dilation),
        choice("layout", layout, LAYOUTS),
        choice("data_format", data_format, FORMATS[2]),
    )
    single = single and layout == "columns"
    check_out("out", out, shape[1:] if single else shape, dtype)
    if not is_plain:
        (x,) = plain_arrays(dtype, x=x)
    col = work_array(out, shape, dtype, (x,))
    columns.im2col(x, col, threads.useful(work, num_threads))
    return deliver(col, out, single)


def col2im(
    col: ArrayLike,
    output_size: Pair,
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    *,
    layout: str = "columns",
    data_format: str = "NCHW",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Add windows back to the image they came from, like `torch.nn.functional.fold`.

    The transpose of `im2col`.

    Parameters
    ----------
    col : array_like
        A matrix as returned by `im2col`; columns may lack N.
    output_size : (int, int)
        Height and width of the image.
    kernel_size, stride, padding, dilation, layout, data_format
        As passed to `im2col`.
    out : ndarray, optional
        An array with the shape of the result.
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, H, W), or (N, H, W, C) with "NHWC"
        Overlapping windows are summed. N is omitted if the columns lack it; for rows, N is the
        number of rows divided by OH OW.
    """
    dtype, is_plain, col = real_arrays(col=col)
    single = False
    if layout == "rows":
        check_axes("col", col, 2)
    else:
        col, single = with_batch("col", col, 3)
    columns, shape, work = _col2im_plan(
        col.shape,
        setting("output_size", output_size),
        setting("kernel_size", kernel_size),
        setting("stride", stride),
        setting("padding", padding),
        setting("dilation", dilation),
        choice("layout", layout, LAYOUTS),
        choice("data_format", data_format, FORMATS[2]),
    )
    check_out("out", out, shape[1:] if single else shape, dtype)
    if not is_plain:
        (col,) = plain_arrays(dtype, col=col)
    x = work_array(out, shape, dtype, (col,))
    columns.col2im(col, x, threads.useful(work, num_threads))
    return deliver(x, out, single)


@lru_cache(maxsize=1024)
def _im2col_plan(
    x_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    layout: str,
    data_format: str,
) -> tuple[Columns, tuple[int, ...], int]:
    """Return the compiled plan, the shape of the matrix, and the work."""
    n, channels, *image = x_shape if data_format == "NCHW" else _to_nchw(x_shape)
    window, size = window_and_size(image, kernel_size, stride, padding, dilation)
    taps = channels * prod(window[0])
    shape = (n * prod(size), taps) if layout == "rows" else (n, taps, prod(size))
    check_elements("the column matrix", shape)
    columns = Columns((n, channels, *image), size, window, layout == "rows", data_format == "NHWC")
    return columns, shape, MOVE_WORK * prod(shape)


@lru_cache(maxsize=1024)
def _col2im_plan(
    col_shape: tuple[int, ...],
    output_size: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    layout: str,
    data_format: str,
) -> tuple[Columns, tuple[int, ...], int]:
    """Return the compiled plan, the shape of the images, and the work."""
    image = pair(output_size, "output_size", 1)
    window, size = window_and_size(image, kernel_size, stride, padding, dilation)
    taps, outputs = prod(window[0]), prod(size)
    if layout == "rows":
        n, rest = divmod(col_shape[0], outputs)
        fits, form = rest == 0, f"(N * {outputs}, C * {taps})"
    else:
        n, fits = col_shape[0], col_shape[2] == outputs
        form = f"(N, C * {taps}, {outputs})"
    channels, rest = divmod(col_shape[1], taps)
    if not fits or rest != 0 or channels == 0:
        raise ValueError(f"col must have the shape {form} for output_size {image}, got {col_shape}")
    shape = (n, channels, *image) if data_format == "NCHW" else (n, *image, channels)
    check_elements("the image", shape)
    columns = Columns((n, channels, *image), size, window, layout == "rows", data_format == "NHWC")
    return columns, shape, MOVE_WORK * prod(col_shape)


def _to_nchw(shape: tuple[int, ...]) -> tuple[int, ...]:
    n, height, width, channels = shape
    return n, channels, height, width


def fold(
    col: Array, window: Window, size: tuple[int, int], x: Array, num_threads: int | None
) -> None:
    """Write `col2im` of validated arguments to a contiguous x (N, C, H, W); `size` is (OH, OW)."""
    columns = Columns(x.shape, size, window)
    columns.col2im(contiguous(col), x, threads.useful(MOVE_WORK * col.size, num_threads))
