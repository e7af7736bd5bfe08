"""Losses of penalties, the outputs of an `RBF` layer: LeCun et al. (1998), eq. 8 and 9."""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.kernels.softmax import softmax
from lenet5c.nn.layer import Floats
from lenet5c.nn.loss import Loss

__all__ = ["MAPLoss", "MLELoss"]


class MLELoss(Loss):
    """The mean penalty of the true class: LeCun et al. (1998), eq. 8, maximum likelihood.

    The outputs are penalties: the smaller, the likelier the class. After an `RBF` layer this is
    the squared distance from the true class's code.

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
        """Return the first and second derivatives by each penalty: those of `MLELoss`, 1 / N and 0.

        For `MAPLoss` that is not exact. It makes the second derivative by each input of an `RBF`
        layer 2 / N, a constant, as in the authors' own code (Lush, gblearn2): the true one can be
        negative, or next to nothing.

        Parameters
        ----------
        outputs, target, sample_weight
            As in a call.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32 (N, K)
        """
        _, doutputs = MLELoss(self.reduction)(outputs, target, sample_weight)
        return doutputs, np.zeros_like(doutputs)


class MAPLoss(MLELoss):
    """``y[D] + log(exp(-j) + sum of exp(-y))``, the mean over the samples: LeCun et al., eq. 9.

    The outputs are penalties y. The posterior probability of the true class D, whose penalty is
    y[D], against all classes and one of rubbish. The second term lets penalties of wrong classes
    grow, but not beyond the reach of exp(-j).

    Parameters
    ----------
    j : float
        Penalty of the rubbish class, more than 0. The paper gives no value.
    curvature : {'constant', 'exact'}
        Form of `second`: the constants of the authors' code, or the diagonal of the true second
        derivatives by the penalties, without the terms that mix two classes.
    reduction : {'mean', 'sum', 'none'}

    Notes
    -----
    With y for the penalties and D[n] for the label of sample n::

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
        """Return the first and second derivatives by each penalty, as `curvature` says.

        Parameters
        ----------
        outputs, target, sample_weight
            As in a call.

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
