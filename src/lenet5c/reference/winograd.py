"""Winograd convolution: fewer multiplications for the same sums.

A row of filter taps g slides over a row of inputs d. M neighboring outputs and R taps need M R
products by the definition, but M + R - 1 are enough. Multiplying two polynomials shows why: the
product of one with M and one with R coefficients has M + R - 1 coefficients, so it is known once it
is known at M + R - 1 points, and there it takes one multiplication each. A correlation is the
transpose of such a product::

    V = T d          M + R - 1 inputs, transformed
    U = G g          R taps, transformed
    y = S (V * U)    M + R - 1 products, elementwise, make M outputs

With the points p[k], of which the last is infinity, and f[k] the product of p[k] - p[l] over the
other points l::

    S[m, k] = p[k]^m          for infinity 1 at the last m, else 0
    G[k, r] = p[k]^r / f[k]   for infinity 1 at the last r, else 0
    T[k]                      the coefficients of the product of z - p[l] over the other finite
                              points l; for infinity over all of them

The kernels of lenet5c compute four outputs at a time for filter rows of five taps: M = 4, R = 5,
points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity, so eight products replace twenty. U is computed once
for all images, V once for all filters, and the sum over channels and filter rows is computed before
S.

Applied to rows and then to columns, the transforms give a square of M x M outputs::

    V = T d T^T,  U = G g G^T,  y = S (V * U) S^T

For 3 x 3 filters the kernels compute squares of 2 x 2 outputs: M = 2, R = 3, points 0, 1, -1 and
infinity, so 16 products replace 36.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64

POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)  # and infinity
SQUARE_POINTS = (0, 1, -1)


def winograd_matrices(
    outputs: int = 4, points: tuple[float, ...] = POINTS
) -> tuple[Array, Array, Array]:
    """Return the three transforms, T, G and S.

    Parameters
    ----------
    outputs : int
        M, the number of neighboring outputs that are computed together.
    points : tuple of float
        The finite points, all different. With K = len(points) + 1, there are R = K + 1 - M taps.

    Returns
    -------
    T : ndarray of float64 (K, K)
        Transform of the inputs; K = M + R - 1 is the number of points, infinity included.
    G : ndarray of float64 (K, R)
        Transform of the taps.
    S : ndarray of float64 (M, K)
        From products to outputs.

    References
    ----------
    Winograd (1980), Arithmetic Complexity of Computations; Lavin and Gray (2016), Fast Algorithms
    for Convolutional Neural Networks.

    Examples
    --------
    >>> from lenet5c import reference
    >>> T, G, S = reference.winograd_matrices()
    >>> S
    array([[ 1.   ,  1.   ,  1.   ,  1.   ,  1.   ,  1.   ,  1.   ,  0.   ],
           [ 0.   ,  1.   , -1.   ,  2.   , -2.   ,  0.5  , -0.5  ,  0.   ],
           [ 0.   ,  1.   ,  1.   ,  4.   ,  4.   ,  0.25 ,  0.25 ,  0.   ],
           [ 0.   ,  1.   , -1.   ,  8.   , -8.   ,  0.125, -0.125,  1.   ]])
    >>> T
    array([[-1.  ,  0.  ,  5.25,  0.  , -5.25,  0.  ,  1.  ,  0.  ],
           [ 0.  ,  1.  ,  1.  , -4.25, -4.25,  1.  ,  1.  ,  0.  ],
           [ 0.  , -1.  ,  1.  ,  4.25, -4.25, -1.  ,  1.  ,  0.  ],
           [ 0.  ,  0.5 ,  0.25, -2.5 , -1.25,  2.  ,  1.  ,  0.  ],
           [ 0.  , -0.5 ,  0.25,  2.5 , -1.25, -2.  ,  1.  ,  0.  ],
           [ 0.  ,  2.  ,  4.  , -2.5 , -5.  ,  0.5 ,  1.  ,  0.  ],
           [ 0.  , -2.  ,  4.  ,  2.5 , -5.  , -0.5 ,  1.  ,  0.  ],
           [ 0.  , -1.  ,  0.  ,  5.25,  0.  , -5.25,  0.  ,  1.  ]])
    """
    K = len(points) + 1
    M, R = outputs, K + 1 - outputs
    T, G, S = np.zeros((K, K)), np.zeros((K, R)), np.zeros((M, K))
    for k, p in enumerate(points):
        others = [q for q in points if q != p]
        T[k, : K - 1] = np.poly(others)[::-1]
        G[k] = np.power(float(p), np.arange(R)) / np.prod([p - q for q in others])
        S[:, k] = np.power(float(p), np.arange(M))
    T[-1] = np.poly(points)[::-1]
    G[-1, -1] = S[-1, -1] = 1
    return T, G, S


def winograd_conv2d(x: ArrayLike, weight: ArrayLike, outputs: int = 4) -> Array:
    """`conv2d` without bias, row by row with Winograd's transforms.

    Equal to the definition up to rounding. If the last group of a row has fewer outputs than M,
    zeros are read beyond the image, and the surplus outputs are dropped.

    Parameters
    ----------
    x : array_like (N, C, H, W)
    weight : array_like (O, C, KH, 5 or another number of taps that fits `outputs`)
        With `outputs` M, KW must be 9 - M.
    outputs : int
        M, outputs of a row that are computed together.

    Returns
    -------
    ndarray of float64 (N, O, OH, OW)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> rng = np.random.default_rng(0)
    >>> x, weight = rng.standard_normal((1, 3, 8, 12)), rng.standard_normal((4, 3, 5, 5))
    >>> y = reference.winograd_conv2d(x, weight)
    >>> bool(np.allclose(y, reference.conv2d(x, weight), rtol=1e-12))
    True
    """
    x, weight = float64(x, weight)
    T, G, S = winograd_matrices(outputs)
    (N, _, H, W), (O, _, KH, KW), K = x.shape, weight.shape, len(T)
    OH, OW = H - KH + 1, W - KW + 1
    whole = -(-OW // outputs) * outputs
    x = np.pad(x, ((0, 0), (0, 0), (0, 0), (0, whole - OW)))
    U = np.einsum("kr,oihr->koih", G, weight)
    y = np.zeros((N, O, OH, whole))
    for oh, ow in np.ndindex(OH, whole // outputs):
        left = ow * outputs
        V = np.einsum("kw,nihw->knih", T, x[:, :, oh : oh + KH, left : left + K])
        products = np.einsum("koih,knih->kno", U, V)
        y[:, :, oh, left : left + outputs] = np.einsum("mk,kno->nom", S, products)
    return y[..., :OW]


def winograd_conv2d_backward(
    dy: ArrayLike, x: ArrayLike, weight: ArrayLike, outputs: int = 4
) -> tuple[Array, Array]:
    """Gradients of `winograd_conv2d`, by the transposed transforms.

    ::

        E = S^T dy,  dg = G^T (sum of E * V),  dd = T^T (sum of E * U)

    Parameters
    ----------
    dy : array_like (N, O, OH, OW)
    x, weight, outputs
        As given to `winograd_conv2d`.

    Returns
    -------
    dx : ndarray of float64 (N, C, H, W)
    dweight : ndarray of float64 (O, C, KH, KW)
    """
    dy, x, weight = float64(dy, x, weight)
    T, G, S = winograd_matrices(outputs)
    KH, K, W = weight.shape[2], len(T), x.shape[3]
    more = ((0, 0), (0, 0), (0, 0), (0, -dy.shape[3] % outputs))
    x, dy = np.pad(x, more), np.pad(dy, more)
    U = np.einsum("kr,oihr->koih", G, weight)
    dx, dU = np.zeros_like(x), np.zeros_like(U)
    for oh, ow in np.ndindex(dy.shape[2], dy.shape[3] // outputs):
        left = ow * outputs
        at = np.s_[:, :, oh : oh + KH, left : left + K]
        V = np.einsum("kw,nihw->knih", T, x[at])
        E = np.einsum("mk,nom->kno", S, dy[:, :, oh, left : left + outputs])
        dU += np.einsum("kno,knih->koih", E, V)
        dx[at] += np.einsum("kw,koih,kno->nihw", T, U, E)
    return dx[..., :W], np.einsum("kr,koih->oihr", G, dU)


def winograd_square_conv2d(
    x: ArrayLike, weight: ArrayLike, outputs: int = 2, points: tuple[float, ...] = SQUARE_POINTS
) -> Array:
    """`conv2d` without bias, square by square with Winograd's transforms.

    Equal to the definition up to rounding. Squares at the lower and right edges read zeros beyond
    the image, and their surplus outputs are dropped.

    Parameters
    ----------
    x : array_like (N, C, H, W)
    weight : array_like (O, C, R, R)
    outputs : int
        M, rows and columns of a square.
    points : tuple of float
        The finite points, M + R - 2 of them.

    Returns
    -------
    ndarray of float64 (N, O, H - R + 1, W - R + 1)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> rng = np.random.default_rng(0)
    >>> x, weight = rng.standard_normal((1, 3, 7, 10)), rng.standard_normal((4, 3, 3, 3))
    >>> y = reference.winograd_square_conv2d(x, weight)
    >>> bool(np.allclose(y, reference.conv2d(x, weight), rtol=1e-12))
    True
    """
    x, weight = float64(x, weight)
    T, G, S = winograd_matrices(outputs, points)
    x, whole, (OH, OW) = _whole_squares(x, weight, outputs)
    U = np.einsum("kr,ls,oirs->klio", G, G, weight)
    y = np.zeros((len(x), len(weight), *whole))
    for patch, square in _squares(whole, outputs, len(T)):
        V = np.einsum("kh,lw,nihw->klni", T, T, x[patch])
        y[square] = np.einsum("ak,bl,klno->noab", S, S, V @ U)
    return y[:, :, :OH, :OW]


def winograd_square_conv2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    outputs: int = 2,
    points: tuple[float, ...] = SQUARE_POINTS,
) -> tuple[Array, Array]:
    """Gradients of `winograd_square_conv2d`, by the transposed transforms.

    ::

        E = S^T dy S,  dg = G^T (sum of E * V) G,  dd = T^T (sum of E * U) T

    Parameters
    ----------
    dy : array_like (N, O, OH, OW)
    x, weight, outputs, points
        As given to `winograd_square_conv2d`.

    Returns
    -------
    dx : ndarray of float64 (N, C, H, W)
    dweight : ndarray of float64 (O, C, R, R)
    """
    dy, x, weight = float64(dy, x, weight)
    T, G, S = winograd_matrices(outputs, points)
    H, W = x.shape[2:]
    x, whole, (OH, OW) = _whole_squares(x, weight, outputs)
    dy = np.pad(dy, ((0, 0), (0, 0), (0, whole[0] - OH), (0, whole[1] - OW)))
    U = np.einsum("kr,ls,oirs->klio", G, G, weight)
    dx, dU = np.zeros_like(x), np.zeros_like(U)
    for patch, square in _squares(whole, outputs, len(T)):
        V = np.einsum("kh,lw,nihw->klni", T, T, x[patch])
        E = np.einsum("ak,bl,noab->klno", S, S, dy[square])
        dU += np.einsum("klni,klno->klio", V, E)
        dx[patch] += np.einsum("kh,lw,klio,klno->nihw", T, T, U, E)
    return dx[:, :, :H, :W], np.einsum("kr,ls,klio->oirs", G, G, dU)


def _whole_squares(
    x: Array, weight: Array, outputs: int
) -> tuple[Array, tuple[int, ...], tuple[int, ...]]:
    """Return x padded to whole squares, and the output size with and without padding."""
    taps = weight.shape[2]
    size = tuple(length - taps + 1 for length in x.shape[2:])
    whole = tuple(-(-length // outputs) * outputs for length in size)
    after = [(0, more - length) for more, length in zip(whole, size, strict=True)]
    return np.pad(x, ((0, 0), (0, 0), *after)), whole, size


def _squares(
    whole: tuple[int, ...], outputs: int, patch: int
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Yield the position of the patch of each square in x, and its position in y."""
    for h, w in np.ndindex(*(length // outputs for length in whole)):
        top, left = h * outputs, w * outputs
        yield (
            np.s_[:, :, top : top + patch, left : left + patch],
            np.s_[:, :, top : top + outputs, left : left + outputs],
        )
