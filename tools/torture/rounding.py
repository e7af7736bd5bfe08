"""Error bounds of floating-point sums.

A sum of n products, in any order, each operation rounded to within u, errs by at most (n + 1) u
times the sum B of the products' sizes (Higham, Accuracy and Stability of Numerical Algorithms,
2002, section 3.1). Errors of both signs cancel: beyond 64 terms, 8 sqrt(n) u B is exceeded with a
probability of less than 3e-14 (Higham and Mary, A New Approach to Probabilistic Rounding Error
Analysis, 2019, theorem 2.4: 2 exp(-8^2 / 2)). B is the kernel's reference, called with the absolute
values of its arguments.

Winograd's transforms are sums, too: a product of them stands for one of an input and a tap, and
mixes neighbors, with factors of `AMPLIFICATION` in all. So B is the largest of all elements there,
times that. With small integers 3 x 3 filters are exact: their transforms have no thirds.
"""

from math import sqrt

import numpy as np

from lenet5c import reference

UNIT = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}
TINY = 1e-37  # results near the least normal number have an absolute error


def sum_error(terms: int, dtype: object = np.float32) -> float:
    """Return the error of a sum of `n` terms, relative to the sum of their magnitudes."""
    count = terms + 2
    return UNIT[np.dtype(dtype)] * (count if count <= 64 else 8 * sqrt(count))


def check(
    what: str, actual: np.ndarray, expected: np.ndarray, error: object, dtype: object = np.float32
) -> None:
    """Raise AssertionError if a result differs by more than `error`, or in shape or dtype.

    The counterpart rounds, too, to float64, which counts where the result is float64 itself.
    """
    expected = np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: {actual.shape} is not {expected.shape}"
    assert actual.dtype == dtype, f"{what} is {actual.dtype}"
    both = 2 if np.dtype(dtype) == np.float64 else 1
    with np.errstate(invalid="ignore"):
        off = abs(actual - expected)
    wrong = (actual != expected) & ~(off <= both * np.asarray(error) + TINY)  # also not-a-number
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{what}: {wrong.sum()} of {wrong.size} wrong, first at {at}: {actual[at]!r}, "
            f"expected {expected[at]!r} within {np.broadcast_to(error, wrong.shape)[at]:.3g}"
        )


def _amplification(*points: float) -> float:
    """Return the maximum amplification of Winograd's sums for the result or a gradient."""
    T, G, S = (abs(matrix) for matrix in reference.winograd_matrices(2, points))
    T, G, S = T.T, G.T, S  # each (its index, product)
    return max(
        float(np.einsum("ij,kj,j->ik", out, summed, largest.sum(axis=0)).max())
        for out, summed, largest in ((S, G, T), (T, G, S), (G, S, T))
    )


# Of filter rows of five taps, and of 3 x 3 filters, whose transforms go along both axes.
AMPLIFICATION = {5: _amplification(0, 1, -1, 2, -2), 3: _amplification(0, 1, -1) ** 2}


def amplification(
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    channels: int,
    outputs: int,
) -> float:
    """Return that of a float32 convolution with these channels per group; 0 without Winograd.

    It may not go by Winograd's algorithm all the same.
    """
    least = min(channels, outputs)
    if kernel == (3, 3) and stride == dilation == (1, 1) and least >= 8:
        return AMPLIFICATION[3]
    if kernel[1] == 5 and stride == (1, 1) and dilation[1] == 1 and least >= 4:
        return AMPLIFICATION[5]
    return 0
