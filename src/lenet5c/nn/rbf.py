"""Radial basis functions, the output layer of LeCun et al. (1998)."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.kernels.engine import ops
from lenet5c.nn.layer import Floats, Shape, check_gradient, positive
from lenet5c.nn.limits import reserve
from lenet5c.nn.tile_layer import Offset, TileLayer

__all__ = ["RBF", "digit_codes"]

# The ten digits of the 7 by 12 font of the paper's figure 3, row by row; '#' is 1.
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


def digit_codes() -> Floats:
    """Return the codes of the ten digits: 7 by 12 bitmaps, -1 and 1 (LeCun et al. 1998, figure 3).

    Returns
    -------
    ndarray of float32 (10, 84)
        The bitmaps in row-major order.

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


def default_codes(classes: int, features: int) -> Floats:
    """Return `digit_codes`, or fixed random codes of -1 and 1 for other sizes."""
    shape = positive("classes", classes), positive("features", features)
    reserve(codes=shape)
    codes = digit_codes()
    if shape == codes.shape:
        return codes
    return (2 * (np.random.default_rng(1998).random(shape) < 0.5) - 1).astype(np.float32)


class RBF(TileLayer):
    """Squared Euclidean distance from the code of each class (LeCun et al. 1998, eq. 7).

    ``y[i] = sum over j of (x[j] - codes[i, j])^2`` is the penalty of class i; the predicted class
    has the smallest penalty. Use it with `MLELoss` or `MAPLoss`.

    Parameters
    ----------
    codes : array_like (classes, features), optional
        Codes of the classes, which are not trained. The default is `digit_codes` for ten classes
        and 84 features, and fixed random codes of -1 and 1 for other sizes.
    classes, features : int
        Size of the default codes.

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

    def __init__(
        self, codes: ArrayLike | None = None, classes: int = 10, features: int = 84
    ) -> None:
        with np.errstate(over="ignore"):  # shows in the result
            array = (
                default_codes(classes, features)
                if codes is None
                else np.array(codes, np.float32, order="C")
            )
        if array.ndim != 2 or 0 in array.shape or not np.isfinite(array).all():
            raise ValueError(
                f"codes must be finite numbers of shape (classes, features), got shape "
                f"{array.shape}"
            )
        self.buffers["codes"] = array

    def output_shape(self, input_shape: Shape) -> Shape:
        classes, features = self.buffers["codes"].shape
        if tuple(input_shape) != (features,):
            remedy = f"pass codes of {prod(input_shape)} features"
            if len(input_shape) > 1:
                remedy = "put a Flatten before it"
            raise ValueError(
                f"samples must have {features} features for RBF, got {tuple(input_shape)}; {remedy}"
            )
        return (classes,)

    def settings(self) -> dict[str, Any]:
        classes, features = self.buffers["codes"].shape
        return {"classes": classes, "features": features}

    def connections(self, input_shape: Shape) -> int:
        self.output_shape(input_shape)
        return prod(self.buffers["codes"].shape)

    def multiply_adds(self, input_shape: Shape) -> int:
        return self.connections(input_shape)

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Return d2x = sum of 4 (x - code)^2 d2y + 2 dy, the exact diagonal for this layer.

        Without `dy`, if the layer is not the last one, only the first term is returned, as in the
        Gauss-Newton approximation.
        """
        x = self.chain.saved_input("backward_second")
        codes = self.buffers["codes"]
        for name, gradient in (("d2y", d2y), ("dy", d2y if dy is None else dy)):
            check_gradient(gradient, (len(x), len(codes)), name)
        d2x = np.zeros_like(x)
        for i, code in enumerate(codes):  # in a fixed order
            distance = x - code
            d2x += 4 * d2y[:, i, None] * distance * distance
            if dy is not None:
                d2x += 2 * dy[:, i, None]
        return d2x

    def tile_op(self, offset: Offset) -> ops.Op:
        return ops.Rbf(self.buffers["codes"])

    def __repr__(self) -> str:
        classes, features = self.buffers["codes"].shape
        return f"RBF({features}, {classes})"
