"""Losses for penalties, the outputs of an `RBF` layer (LeCun et al., 1998, eq. 8 and 9)."""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.kernels.softmax import softmax
from lenet5c.nn.layer import Floats
from lenet5c.nn.loss import Loss

__all__ = ["MAPLoss", "MLELoss"]


class MLELoss(Loss):
    """Mean penalty of the true class (LeCun et al., 1998, eq. 8, maximum likelihood).

    The outputs are penalties, which are smaller for more likely classes. For an `RBF` layer, the
    loss is the mean squared distance from the code of the true class.

    Parameters
    ----------
    reduction : {'mean', 'sum', 'none'}

    Notes
    -----
    ::

        loss = 1/N sum over n of penalties[n, labels[n]]
        dpenalties = one_hot(labels) / N

    Reference: `lenet5c.reference.mle_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> loss, gradient = nn.MLELoss()(np.array([[5, 2, 3]], np.float32), np.array([1]))
    >>> loss, gradient
    (2.0, array([[0., 1., 0.]], dtype=float32))
    """

    kind = "mle"

    def second(
        self, outputs: Floats, target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return the first and second derivatives of `MLELoss` with respect to the penalties.

        For `MAPLoss` these are an approximation. With them, the second derivative with respect to
        each input of an `RBF` layer is the constant 2 / N, as in the authors' own code (Lush,
        gblearn2); the true second derivative can be negative or close to zero.

        Parameters
        ----------
        outputs, target, sample_weight
            See `Loss.__call__`.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32 (N, K)
        """
        _, doutputs = MLELoss(self.reduction)(outputs, target, sample_weight)
        return doutputs, np.zeros_like(doutputs)


class MAPLoss(MLELoss):
    """Maximum a posteriori criterion of LeCun et al. (1998), eq. 9.

    The loss of a sample with penalties y and true class D is ``y[D] + log(exp(-j) + sum of
    exp(-y))``, the negative log posterior probability of D among all classes and a rubbish class.
    The second term increases the penalties of wrong classes, up to a level set by j.

    Parameters
    ----------
    j : float
        Penalty of the rubbish class, greater than 0. The paper does not give a value.
    curvature : {'constant', 'exact'}
        Second derivatives: the constants of the authors' code, or the diagonal of the exact second
        derivatives with respect to the penalties.
    reduction : {'mean', 'sum', 'none'}

    Notes
    -----
    With the penalties y and the label D[n] of sample n::

        p[n, k] = exp(-y[n, k]) / (exp(-j) + sum over l of exp(-y[n, l]))
        loss = 1/N sum over n of y[n, D[n]] + log(exp(-j) + sum over k of exp(-y[n, k]))
        dpenalties = (one_hot(labels) - p) / N

    Reference: `lenet5c.reference.map_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> loss, gradient = nn.MAPLoss(j=2)(np.array([[2, 2, 2]], np.float32), np.array([1]))
    >>> round(loss, 5), gradient
    (1.38629, array([[-0.25,  0.75, -0.25]], dtype=float32))
    """

    kind = "map"

    def __init__(
        self, j: float = 0.1, curvature: str = "constant", reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        if not 0 < j < 1e30:
            raise ValueError(f"j must be a finite number greater than 0, got {j!r}")
        if curvature not in ("constant", "exact"):
            raise ValueError(f"curvature must be 'constant' or 'exact', got {curvature!r}")
        self.j = float(j)
        self.curvature = curvature

    @property
    def setting(self) -> float:
        return self.j

    def second(
        self, outputs: Floats, target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return the first and second derivatives with respect to the penalties; see `curvature`.

        Parameters
        ----------
        outputs, target, sample_weight
            See `Loss.__call__`.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32 (N, K)
        """
        if self.curvature == "constant":
            return super().second(outputs, target, sample_weight)
        outputs = self._take(outputs)
        _, doutputs = self(outputs, target, sample_weight)
        rubbish = np.full((len(outputs), 1), self.j, np.float32)
        p = softmax(-np.concatenate([outputs, rubbish], axis=1))[:, :-1]
        return doutputs, self._second(p * (1 - p), target, outputs.shape, sample_weight)
