"""The optimizer of LeCun et al. (1998)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.nn import Layer, Loss, Samples
from lenet5c.nn.layer import positive
from lenet5c.optim.optimizer import Optimizer, check_shape, find_fault, is_real, register

__all__ = ["SDLM"]


@register("sdlm", lr=5e-4)
class SDLM(Optimizer):
    """Stochastic diagonal Levenberg-Marquardt (LeCun et al., 1998, appendix C).

    A parameter p is decreased by ``lr / (mu + h) * gradient`` (eq. 18 and 21), where h is the
    second derivative of the loss with respect to p: the diagonal in the Gauss-Newton approximation,
    which is never negative. `estimate` sets h to the mean over some samples, for use until the next
    estimate. The paper estimates h on 500 samples before each epoch and uses one sample per step.
    Before the first estimate, h is 0, which is plain gradient descent with the rate lr / mu.

    Parameters
    ----------
    model : lenet5c.nn.Sequential
    lr : float
        The paper's eta.
    mu : float
        Limits the steps where the loss is flat to lr / mu times the gradient.
    samples : int
        Number of samples that the `Trainer` draws for an estimate before each epoch.

    Attributes
    ----------
    lr : float
        Learning rate; may be changed between steps.
    curvature : ndarray of float32
        The h of each parameter, in the order of ``model.vector``; read-only, see `set_curvature`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, optim
    >>> model = nn.Sequential(nn.Linear(2, 1, rng=0))
    >>> optimizer = optim.SDLM(model, lr=0.1, mu=0.02)
    >>> optimizer.estimate(np.array([[1, 2], [3, 0]], np.float32), np.zeros(2, int), nn.MSELoss())
    >>> optimizer.curvature
    array([10.,  4.,  2.], dtype=float32)
    >>> optimizer.step_sizes().round(4)
    array([0.01  , 0.0249, 0.0495], dtype=float32)
    """

    kernel = "sdlm"
    vectors = ("curvature",)
    not_negative = ("curvature",)
    curvature: NDArray[np.float32]
    inverse: NDArray[np.float32]

    def __init__(self, model: Layer, lr: float, mu: float = 0.02, samples: int = 500) -> None:
        if not is_real(mu) or not 1e-30 <= mu <= 1e30:  # 1 / mu must also be a float32
            raise ValueError(f"mu must be a number from 1e-30 to 1e30, got {mu!r}")
        super().__init__(model, lr, 0.0)
        self.mu = float(mu)
        self.samples = positive("samples", samples)
        self.set_curvature(self.curvature)

    def estimate(
        self,
        samples: Samples | NDArray[np.float32],
        labels: NDArray[Any],
        loss: Loss,
        sample_weight: ArrayLike | None = None,
    ) -> None:
        """Estimate the curvature used by the following steps.

        Parameters
        ----------
        samples, labels, loss, sample_weight
            See `Sequential.second_derivatives`.

        Raises
        ------
        ArithmeticError
            If a second derivative is negative or not finite; the message names the parameter.
        """
        if not hasattr(self.model, "second_derivatives"):
            raise TypeError(
                f"model must be a Sequential, got a {type(self.model).__name__}; wrap it in one"
            )
        measured = self.model.second_derivatives(samples, labels, loss, sample_weight)
        if fault := find_fault(measured, self.model, 0):
            raise ArithmeticError(
                f"curvature of {fault[0]} must be finite and at least 0, got {fault[1]}; check the "
                f"loss, or lower the learning rate from {self.lr:g}"
            )
        self.set_curvature(measured)

    def set_curvature(self, curvature: ArrayLike) -> None:
        """Set the second derivatives used by the following steps.

        Parameters
        ----------
        curvature : array_like (size,)
            Second derivatives in the order of ``model.vector``.

        Raises
        ------
        ValueError
            If the shape is wrong, or a value is negative or not finite.
        """
        check_shape("curvature", curvature, self.model)
        if fault := find_fault(np.asarray(curvature), self.model, 0):
            raise ValueError(
                f"curvature of {fault[0]} must be a finite number of at least 0, got {fault[1]}"
            )
        vars(self).update(self._derive({"curvature": np.array(curvature, np.float32)}))

    def step_sizes(self) -> NDArray[np.float32]:
        """Return the factor lr / (mu + h) of each parameter's gradient.

        Returns
        -------
        ndarray of float32, in the order of ``model.vector``
        """
        return np.float32(self.lr) * self.inverse

    def _derive(self, vectors: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        curvature = vectors["curvature"]
        # Steps multiply by `inverse`, so writing to the curvature would have no effect.
        curvature.flags.writeable = False
        return {
            "curvature": curvature,
            "inverse": np.float32(1) / (np.float32(self.mu) + curvature),
        }
