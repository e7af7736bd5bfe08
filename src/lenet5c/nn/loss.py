"""Losses: called with outputs and what they should be, they return the mean loss and its gradient."""

from functools import lru_cache
from math import prod

import numpy as np

from lenet5c.kernels import threads
from lenet5c.kernels.arrays import contiguous, rows
from lenet5c.kernels.engine import lowering
from lenet5c.kernels.engine._program import Program
from lenet5c.kernels.simd import dispatch
from lenet5c.nn.layer import check_batch


class _Loss:
    kind = ""

    @property
    def setting(self):
        """The one number that the compiled core wants to know beside `kind`."""
        return 0.0

    def _gradient(self, outputs, labels, targets):
        program = _identity(prod(outputs.shape[1:]))
        gradient = np.empty(outputs.shape, np.float32)
        nothing = np.zeros(0, np.float32)
        loss, _ = program.train_step(
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

    def targets(self, labels, num_classes):
        """What `Sequential.train_step` hands on beside the labels."""
        return None

    def __repr__(self):
        return f"{type(self).__name__}()"


class CrossEntropyLoss(_Loss):
    """-log of the softmax probability of the true class; the softmax is shifted by its maximum.

    Parameters
    ----------
    label_smoothing : float
        This share of the true class's target is spread evenly over all classes (Szegedy et al., 2016).

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

    def __init__(self, label_smoothing=0.0):
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing is {label_smoothing!r}; it should be at least 0 and less than 1"
            )
        self.label_smoothing = float(label_smoothing)

    @property
    def setting(self):
        return self.label_smoothing

    def __call__(self, logits, labels):
        """Return the mean loss, and its gradient.

        Parameters
        ----------
        logits : ndarray of float32 (N, K)
        labels : ndarray of int (N,)
            0 to K - 1.

        Returns
        -------
        loss : float
        dlogits : ndarray of float32 (N, K)
        """
        check_batch(logits, "CrossEntropyLoss")
        if logits.ndim != 2:
            raise ValueError(f"logits has the shape {logits.shape}; it should be (N, classes)")
        return self._gradient(logits, check_labels(labels, len(logits)), None)

    def second(self, logits, labels):
        """Return the first and second derivatives of the mean loss by each logit: p - target and p (1 - p), over N.

        Parameters
        ----------
        logits, labels
            As of a call. The second derivative does not depend on the labels, nor on label smoothing.

        Returns
        -------
        dlogits, d2logits : ndarray of float32 (N, K)
        """
        _, dlogits = self(logits, labels)
        p = softmax(logits)
        return dlogits, p * (1 - p) / np.float32(max(len(logits), 1))


class MSELoss(_Loss):
    """The mean, over all elements, of the squared difference.

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
    >>> loss, gradient = nn.MSELoss()(np.array([[1, 3]], np.float32), np.array([[1, 1]], np.float32))
    >>> loss, gradient
    (2.0, array([[0., 2.]], dtype=float32))
    """

    kind = "mse"

    def __call__(self, outputs, target):
        """Return the mean squared error, and its gradient.

        Parameters
        ----------
        outputs : ndarray of float32 (N, ...)
        target : ndarray of float32 of the same shape, or of int (N,)
            Integers are classes: 1 at the class, 0 elsewhere.

        Returns
        -------
        loss : float
        doutputs : ndarray of float32, of the shape of outputs
        """
        check_batch(outputs, "MSELoss")
        target = np.asarray(target)
        if target.dtype.kind in "iu" and target.shape == (len(outputs),):
            target = self.targets(check_labels(target, len(outputs)), prod(outputs.shape[1:]))
        if target.size != outputs.size or len(target) != len(outputs):
            raise ValueError(
                f"target has the shape {target.shape}; it should be {outputs.shape}, or integer classes"
            )
        return self._gradient(
            outputs, np.zeros(len(outputs), np.int32), rows(target.astype(np.float32, copy=False))
        )

    def second(self, outputs, target):
        """Return the first and second derivatives of the mean squared error by each output; the second is 2 / size.

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

    def targets(self, labels, num_classes):
        if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(
                f"labels run from {labels.min()} to {labels.max()}; they should be 0 to {num_classes - 1}"
            )
        onehot = np.zeros((len(labels), num_classes), np.float32)
        onehot[np.arange(len(labels)), labels] = 1
        return onehot


class _PenaltyLoss(_Loss):
    """A loss of penalties, such as `RBF` puts out: the smaller, the likelier the class."""

    def __call__(self, penalties, labels):
        """Return the mean loss, and its gradient.

        Parameters
        ----------
        penalties : ndarray of float32 (N, K)
            The smallest is at the class that is meant.
        labels : ndarray of int (N,)
            0 to K - 1.

        Returns
        -------
        loss : float
        dpenalties : ndarray of float32 (N, K)
        """
        return self._gradient(penalties, self._checked(penalties, labels), None)

    def second(self, penalties, labels):
        """Return first and second derivatives of the mean loss by each penalty: those of `MLELoss`, 1 / N and 0.

        For `MAPLoss` that is not exact. It makes the second derivative by each input of an `RBF` layer 2 / N, a
        constant, as the authors' own code (Lush, gblearn2) has it: the true one can be negative, or next to nothing.

        Parameters
        ----------
        penalties, labels
            As of a call.

        Returns
        -------
        dpenalties, d2penalties : ndarray of float32 (N, K)
        """
        _, dpenalties = MLELoss()(penalties, labels)
        return dpenalties, np.zeros_like(dpenalties)

    def _checked(self, penalties, labels):
        check_batch(penalties, type(self).__name__)
        if penalties.ndim != 2:
            raise ValueError(
                f"penalties has the shape {penalties.shape}; it should be (N, classes)"
            )
        return check_labels(labels, len(penalties))


class MLELoss(_PenaltyLoss):
    """The mean penalty of the true class: LeCun et al. (1998), eq. 8, maximum likelihood.

    With an `RBF` layer before it, this is the squared distance from the true class's code.

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


class MAPLoss(_PenaltyLoss):
    """``y[D] + log(exp(-j) + sum of exp(-y))``, the mean over the samples: LeCun et al. (1998), eq. 9.

    The posterior probability of the true class D, whose penalty is y[D], against all classes and one of rubbish. The
    second term lets penalties of wrong classes grow, but not beyond the reach of exp(-j).

    Parameters
    ----------
    j : float
        The penalty of the rubbish class, more than 0. The paper gives no value.
    curvature : {'constant', 'exact'}
        What `second` returns: the constants of the authors' code, or the diagonal of the true second derivatives by the
        penalties, without the terms that mix two classes.

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

    def __init__(self, j=0.1, curvature="constant"):
        if not 0 < j < 1e30:
            raise ValueError(f"j is {j!r}; it should be a finite number of more than 0")
        if curvature not in ("constant", "exact"):
            raise ValueError(f"curvature is {curvature!r}; it should be 'constant' or 'exact'")
        self.j = float(j)
        self.curvature = curvature

    def second(self, penalties, labels):
        if self.curvature == "constant":
            return super().second(penalties, labels)
        _, dpenalties = self(penalties, labels)
        rubbish = np.full((len(penalties), 1), self.j, np.float32)
        p = softmax(-np.concatenate([penalties, rubbish], axis=1))[:, :-1]
        return dpenalties, p * (1 - p) / np.float32(max(len(penalties), 1))

    @property
    def setting(self):
        return self.j

    def __repr__(self):
        return f"MAPLoss(j={self.j:g}, curvature={self.curvature!r})"


@lru_cache(maxsize=16)
def _identity(size):
    """A program without ops: its input is its output, so the input's gradient is the loss's."""
    return Program(lowering.lower((size,), []), dispatch.tiles)


def check_labels(labels, count):
    """`labels` as int32 (count,); their range is checked where the number of classes is known."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise ValueError(
            f"labels is {labels.dtype} {labels.shape}; it should be integers of the shape ({count},)"
        )
    if (
        labels.dtype != np.int32
        and len(labels)
        and not -(2**31) <= labels.min() <= labels.max() < 2**31
    ):
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}; they should be classes, 0 or more"
        )
    return contiguous(labels, np.int32)


def softmax(logits):
    """Probabilities (N, K) of logits (N, K)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
