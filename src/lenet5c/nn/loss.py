"""Losses: called with outputs and targets, they return the mean loss and its gradient."""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.kernels import threads
from lenet5c.kernels.arrays import contiguous, rows
from lenet5c.kernels.engine import lowering
from lenet5c.kernels.engine._program import Program
from lenet5c.kernels.simd import dispatch
from lenet5c.nn.layer import Floats, check_batch

__all__ = ["LOSSES", "CrossEntropyLoss", "Loss", "MAPLoss", "MLELoss", "MSELoss", "softmax"]

#: Classes of losses by the name that recipes use.
LOSSES: dict[str, type["Loss"]] = {}


class Loss:
    """A loss, as `Sequential` and `Trainer` take it.

    Called with outputs and targets, it returns the mean loss and its gradient; `value` returns the
    mean loss alone.
    """

    kind = ""

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            LOSSES[cls.kind] = cls

    def __call__(self, outputs: Floats, target: ArrayLike) -> tuple[float, Floats]:
        """Return the mean loss, and its gradient.

        Parameters
        ----------
        outputs : ndarray of float32 (N, K)
        target : ndarray of int (N,)
            Labels, 0 to K - 1; `MSELoss` also takes an array like the outputs.

        Returns
        -------
        loss : float
        doutputs : ndarray of float32, of the shape of outputs
        """
        labels, targets = self._check(outputs, target)
        gradient = np.empty(outputs.shape, np.float32)
        nothing = np.zeros(0, np.float32)
        loss, _ = _identity(prod(outputs.shape[1:])).train_step(
            rows(outputs),
            labels,
            nothing,
            nothing,
            threads.effective(),
            self.kind,
            self.setting,
            targets,
            dx=rows(gradient),
            by_sample=True,
        )
        return loss, gradient

    def value(self, outputs: Floats, target: ArrayLike) -> float:
        """Return the mean loss, to the bit as a call does, but without computing a gradient.

        Parameters
        ----------
        outputs, target
            As of a call.
        """
        labels, targets = self._check(outputs, target)
        program = _identity(prod(outputs.shape[1:]))
        return program.loss(
            rows(outputs), labels, threads.effective(), self.kind, self.setting, targets
        )

    def second(self, outputs: Floats, target: ArrayLike) -> tuple[Floats, Floats]:
        """Return the first and second derivatives of the mean loss by each output.

        Parameters
        ----------
        outputs, target
            As of a call.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32, of the shape of outputs
        """
        raise NotImplementedError(f"{type(self).__name__} has no second derivatives")

    @property
    def setting(self) -> float:
        """The number that the compiled program needs beside `kind`."""
        return 0.0

    def targets(self, labels: NDArray[np.int32], num_classes: int) -> Floats | None:
        """Return the targets (N, num_classes) of a loss that compares with them, else None."""
        return None

    def _check(self, outputs: Floats, target: ArrayLike) -> tuple[NDArray[np.int32], Floats | None]:
        """Return labels and targets as the compiled program takes them."""
        check_batch(outputs, type(self).__name__)
        if outputs.ndim != 2:
            raise ValueError(f"outputs must be of the shape (N, classes), got {outputs.shape}")
        return check_labels(target, len(outputs)), None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CrossEntropyLoss(Loss):
    """-log of the softmax probability of the true class; the softmax is shifted by its maximum.

    The outputs are logits.

    Parameters
    ----------
    label_smoothing : float
        Share of the true class's target that is spread evenly over all classes (Szegedy et al.,
        2016).

    Notes
    -----
    With p = softmax(logits) and K classes::

        target = (1 - label_smoothing) * one_hot(labels) + label_smoothing / K
        loss = -1/N sum over n, k of target[n, k] * log p[n, k]
        dlogits = (p - target) / N

    Reference: `lenet5c.reference.cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> loss, gradient = nn.CrossEntropyLoss()(np.zeros((2, 4), np.float32), np.array([0, 3]))
    >>> round(loss, 6)
    1.386294
    >>> gradient[0]
    array([-0.375,  0.125,  0.125,  0.125], dtype=float32)
    """

    kind = "cross_entropy"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be at least 0 and less than 1, got {label_smoothing!r}"
            )
        self.label_smoothing = float(label_smoothing)

    @property
    def setting(self) -> float:
        return self.label_smoothing

    def second(self, outputs: Floats, target: ArrayLike) -> tuple[Floats, Floats]:
        """Return the first and second derivatives by each logit, p - target and p (1 - p), over N.

        Parameters
        ----------
        outputs, target
            As of a call. The second derivative depends neither on the labels nor on label
            smoothing.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32 (N, K)
        """
        _, doutputs = self(outputs, target)
        p = softmax(outputs)
        return doutputs, p * (1 - p) / np.float32(max(len(outputs), 1))


class MSELoss(Loss):
    """The mean, over all elements, of the squared difference.

    The target is an array of the shape of the outputs, (N, ...), or integer labels (N,), which
    stand for 1 at the class and 0 elsewhere.

    Notes
    -----
    ::

        loss = 1/size sum of (outputs - target)^2
        doutputs = 2/size (outputs - target)

    Reference: `lenet5c.reference.mse_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> outputs, target = np.array([[1, 3]], np.float32), np.array([[1, 1]], np.float32)
    >>> nn.MSELoss()(outputs, target)
    (2.0, array([[0., 2.]], dtype=float32))
    """

    kind = "mse"

    def second(self, outputs: Floats, target: ArrayLike) -> tuple[Floats, Floats]:
        """Return the first and second derivatives by each output; the second is 2 / size.

        Parameters
        ----------
        outputs, target
            As of a call.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32, of the shape of outputs
        """
        _, doutputs = self(outputs, target)
        return doutputs, np.full(outputs.shape, 2 / max(outputs.size, 1), np.float32)

    def targets(self, labels: NDArray[np.int32], num_classes: int) -> Floats:
        if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(
                f"labels must be 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}"
            )
        onehot = np.zeros((len(labels), num_classes), np.float32)
        onehot[np.arange(len(labels)), labels] = 1
        return onehot

    def _check(self, outputs: Floats, target: ArrayLike) -> tuple[NDArray[np.int32], Floats | None]:
        check_batch(outputs, "MSELoss")
        target = np.asarray(target)
        if target.dtype.kind in "iu" and target.shape == (len(outputs),):
            target = self.targets(check_labels(target, len(outputs)), prod(outputs.shape[1:]))
        if target.size != outputs.size or len(target) != len(outputs):
            raise ValueError(
                f"target must be of the shape {outputs.shape}, or integer labels, "
                f"got {target.dtype} {target.shape}"
            )
        return np.zeros(len(outputs), np.int32), rows(target.astype(np.float32, copy=False))


class MLELoss(Loss):
    """The mean penalty of the true class: LeCun et al. (1998), eq. 8, maximum likelihood.

    The outputs are penalties: the smaller, the likelier the class. After an `RBF` layer this is
    the squared distance from the true class's code.

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

    def second(self, outputs: Floats, target: ArrayLike) -> tuple[Floats, Floats]:
        """Return the first and second derivatives by each penalty: those of `MLELoss`, 1 / N and 0.

        For `MAPLoss` that is not exact. It makes the second derivative by each input of an `RBF`
        layer 2 / N, a constant, as in the authors' own code (Lush, gblearn2): the true one can be
        negative, or next to nothing.

        Parameters
        ----------
        outputs, target
            As of a call.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32 (N, K)
        """
        _, doutputs = MLELoss()(outputs, target)
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

    def __init__(self, j: float = 0.1, curvature: str = "constant") -> None:
        if not 0 < j < 1e30:
            raise ValueError(f"j must be a finite number of more than 0, got {j!r}")
        if curvature not in ("constant", "exact"):
            raise ValueError(f"curvature must be 'constant' or 'exact', got {curvature!r}")
        self.j = float(j)
        self.curvature = curvature

    @property
    def setting(self) -> float:
        return self.j

    def second(self, outputs: Floats, target: ArrayLike) -> tuple[Floats, Floats]:
        """Return the first and second derivatives by each penalty, as `curvature` says.

        Parameters
        ----------
        outputs, target
            As of a call.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32 (N, K)
        """
        if self.curvature == "constant":
            return super().second(outputs, target)
        _, doutputs = self(outputs, target)
        rubbish = np.full((len(outputs), 1), self.j, np.float32)
        p = softmax(-np.concatenate([outputs, rubbish], axis=1))[:, :-1]
        return doutputs, p * (1 - p) / np.float32(max(len(outputs), 1))

    def __repr__(self) -> str:
        return f"MAPLoss(j={self.j:g}, curvature={self.curvature!r})"


@lru_cache(maxsize=16)
def _identity(size: int) -> Program:
    """Return a program of no ops: its outputs are its inputs, whose gradient is the loss's."""
    return Program(lowering.lower((size,), []), dispatch.tiles)


def check_labels(labels: ArrayLike, count: int) -> NDArray[np.int32]:
    """Return `labels` as int32 (count,); the program checks that there are so many classes."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise ValueError(
            f"labels must be integers of the shape ({count},), got {array.dtype} {array.shape}"
        )
    if array.dtype != np.int32 and len(array):
        least, most = array.min(), array.max()
        if not -(2**31) <= least <= most < 2**31:
            raise ValueError(f"labels must be classes, 0 or more, got {least} to {most}")
    return contiguous(array, np.int32)


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the probabilities (N, K) of logits (N, K)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
