"""Convolution with a connection table: each output map is connected to some of the input maps.

This is how C3 of the LeNet-5 of 1998 is connected to S2 (table I of LeCun et al., 1998). It is
`conv2d` with zero weights where maps are not connected; only the filters of connected maps are
stored and trained.

Shapes: filters (F, KH, KW), one for each of the F connections; table (C, O) of true and false,
input by output maps. Filters are sorted by output map, and for each output map by input map.
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, Size
from lenet5c.reference.convolution import conv2d, conv2d_backward, conv2d_backward_second


def scatter_filters(filters: ArrayLike, table: ArrayLike) -> Array:
    """Insert filters where maps are connected, and zeros elsewhere.

    Parameters
    ----------
    filters : array_like (F, KH, KW)
    table : array_like of bool (C, O)

    Returns
    -------
    ndarray of float64 (O, C, KH, KW)

    Examples
    --------
    >>> from lenet5c import reference
    >>> table = [[1, 0], [1, 1]]  # output 0 sees both inputs, output 1 the second one alone
    >>> reference.scatter_filters([[[5]], [[6]], [[7]]], table)[:, :, 0, 0]
    array([[5., 6.],
           [0., 7.]])
    """
    filters, table = np.asarray(filters, np.float64), np.asarray(table, bool)
    C, O = table.shape
    weight, f = np.zeros((O, C, *filters.shape[1:])), 0
    for o, c in np.ndindex(O, C):
        if table[c, o]:
            weight[o, c] = filters[f]
            f += 1
    return weight


def gather_filters(weight: ArrayLike, table: ArrayLike) -> Array:
    """Extract the filters of connected maps: the transpose of `scatter_filters`.

    Parameters
    ----------
    weight : array_like (O, C, KH, KW)
    table : array_like of bool (C, O)

    Returns
    -------
    ndarray of float64 (F, KH, KW)
    """
    weight, table = np.asarray(weight, np.float64), np.asarray(table, bool)
    C, O = table.shape
    return np.array([weight[o, c] for o, c in np.ndindex(O, C) if table[c, o]])


def connected_conv2d(
    x: ArrayLike,
    filters: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    table: ArrayLike,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
) -> Array:
    """Correlate each output map's inputs with its filters.

    ::

        y[n, o] = bias[o] + sum over the c with table[c, o] of
            the correlation of x[n, c] with the filter of (c, o)

    Parameters
    ----------
    x : array_like (N, C, H, W)
    filters : array_like (F, KH, KW)
    bias : array_like (O,), optional
    table : array_like of bool (C, O)
    stride, padding, dilation : int or (int, int)

    Returns
    -------
    ndarray of float64 (N, O, OH, OW)

    References
    ----------
    LeCun et al. (1998), section II-B, layer C3 and table I.
    """
    return conv2d(x, scatter_filters(filters, table), bias, stride, padding, dilation)


def connected_conv2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    filters: ArrayLike,
    *,
    table: ArrayLike,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
) -> tuple[Array, Array, Array]:
    """Gradients of `connected_conv2d`: those of `conv2d`, without the missing weights.

    Parameters
    ----------
    dy : array_like (N, O, OH, OW)
    x, filters, table, stride, padding, dilation
        As given to `connected_conv2d`.

    Returns
    -------
    dx : ndarray of float64 (N, C, H, W)
    dfilters : ndarray of float64 (F, KH, KW)
    dbias : ndarray of float64 (O,)
    """
    weight = scatter_filters(filters, table)
    dx, dweight, dbias = conv2d_backward(dy, x, weight, stride, padding, dilation)
    return dx, gather_filters(dweight, table), dbias


def connected_conv2d_backward_second(
    d2y: ArrayLike,
    x: ArrayLike,
    filters: ArrayLike,
    *,
    table: ArrayLike,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
) -> tuple[Array, Array, Array]:
    """Second derivatives of `connected_conv2d`, as `conv2d_backward_second`.

    Parameters
    ----------
    d2y : array_like (N, O, OH, OW)
    x, filters, table, stride, padding, dilation
        As given to `connected_conv2d`.

    Returns
    -------
    d2x, d2filters, d2bias : ndarray of float64
        Of the shapes of x, filters and bias.
    """
    weight = scatter_filters(filters, table)
    d2x, d2weight, d2bias = conv2d_backward_second(d2y, x, weight, stride, padding, dilation)
    return d2x, gather_filters(d2weight, table), d2bias
