"""Distances from fixed codes, the output layer of LeCun et al. (1998)."""

from math import prod

import numpy as np

from lenet5c.kernels.engine import ops
from lenet5c.nn.layer import check_gradient
from lenet5c.nn.tile_layer import TileLayer

# The ten digits of a 7 by 12 font, row by row, '#' is 1: figure 3 of the paper.
_DIGITS = (
    ".#####.|.......|..###..|.##.##.|##...##|##...##|##...##|##...##|.##.##.|..###..|.......|.......",
    "...##..|..###..|.####..|...##..|...##..|...##..|...##..|...##..|...##..|.######|.......|.......",
    ".#####.|.......|.#####.|##...##|#....##|....##.|..###..|.##....|##.....|#######|.......|.......",
    "#######|.....##|....##.|...##..|..####.|.....##|.....##|.....##|##...##|.#####.|.......|.......",
    ".#####.|.......|.......|.##..##|.##..##|###..##|##...##|##...##|##..###|.######|.....##|.....##",
    ".#####.|.......|#######|##.....|##.....|.####..|..####.|.....##|##...##|.#####.|.......|.......",
    "..####.|.##....|##.....|##.....|######.|###..##|##...##|##...##|###..##|.#####.|.......|.......",
    "#######|.....##|.....##|....##.|...##..|...##..|..##...|..##...|..##...|..##...|.......|.......",
    ".#####.|##...##|##...##|##...##|.#####.|##...##|##...##|##...##|##...##|.#####.|.......|.......",
    ".#####.|##..###|##...##|##...##|##..###|.######|.....##|.....##|....##.|.####..|.......|.......",
)


def digit_codes():
    """The codes of the ten digits: 7 by 12 bitmaps, -1 and 1 (LeCun et al. 1998, figure 3).

    Returns
    -------
    ndarray of float32 (10, 84)
        Row by row of the bitmap.

    Examples
    --------
    >>> from lenet5c import nn
    >>> for row in nn.digit_codes()[7].reshape(12, 7)[:6]:
    ...     print("".join("#" if value > 0 else "." for value in row))
    #######
    .....##
    .....##
    ....##.
    ...##..
    ...##..
    """
    return np.array(
        [[1 if c == "#" else -1 for c in digit if c != "|"] for digit in _DIGITS], np.float32
    )


class RBF(TileLayer):
    """Penalties: the squared Euclidean distance from each class's code (LeCun et al. 1998, eq. 7).

    ``y[i] = sum over j of (x[j] - codes[i, j])^2``; the class is where y is smallest, and `MLELoss` and `MAPLoss` are
    the losses that know this.

    Parameters
    ----------
    codes : array_like (classes, features), optional
        Not trained; `digit_codes` if not given.

    Attributes
    ----------
    buffers : 'codes' (classes, features)

    Notes
    -----
    ::

        y[n, o] = sum over c of (x[n, c] - codes[o, c])^2
        dx[n, c] = sum over o of 2 * (x[n, c] - codes[o, c]) * dy[n, o]

    Reference: `lenet5c.reference.rbf`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> layer = nn.RBF([[1, 1], [-1, 1]])
    >>> layer.forward(np.array([[1, 0]], np.float32))
    array([[1., 5.]], dtype=float32)
    """

    def __init__(self, codes=None):
        codes = digit_codes() if codes is None else np.array(codes, np.float32, order="C")
        if codes.ndim != 2 or 0 in codes.shape or not np.isfinite(codes).all():
            raise ValueError(
                f"codes is of the shape {codes.shape}; it should be finite numbers, (classes, features)"
            )
        self.buffers["codes"] = codes

    def output_shape(self, input_shape):
        classes, features = self.buffers["codes"].shape
        if tuple(input_shape) != (features,):
            raise ValueError(
                f"RBF takes samples of {features} features, got {tuple(input_shape)}; put a Flatten before it?"
            )
        return (classes,)

    def connections(self, input_shape):
        self.output_shape(input_shape)
        return prod(self.buffers["codes"].shape)

    def backward_second(self, d2y, dy=None):
        """By the exact diagonal of this layer, which depends on the first derivatives, too: 4 (x - code)^2 d2y + 2 dy.

        Without `dy`, when the layer is not the last one, only the first term, as Gauss and Newton have it.
        """
        x = self.chain.saved_input("backward_second")
        codes = self.buffers["codes"]
        for name, gradient in (("d2y", d2y), ("dy", d2y if dy is None else dy)):
            check_gradient(gradient, (len(x), len(codes)), name)
        d2x = np.zeros_like(x)
        for i, code in enumerate(codes):  # in this order, whatever NumPy does
            distance = x - code
            d2x += 4 * d2y[:, i, None] * distance * distance
            if dy is not None:
                d2x += 2 * dy[:, i, None]
        return d2x

    def tile_op(self, offset):
        return ops.Rbf(self.buffers["codes"])

    def __repr__(self):
        classes, features = self.buffers["codes"].shape
        return f"RBF({features}, {classes})"
