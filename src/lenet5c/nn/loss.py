"""Losses: called with outputs and what they should be, they return the mean loss and its gradient."""

from functools import lru_cache
from math import prod

import numpy as np

from lenet5c.kernels import dispatch, lowering, threads
from lenet5c.kernels._program import Program
from lenet5c.kernels.arrays import contiguous, rows
from lenet5c.nn.layer import check_batch


class _Loss:
    kind = ""
    label_smoothing = 0.0

    def _gradient(self, outputs, labels, targets):
        program = _identity(prod(outputs.shape[1:]))
        gradient = np.empty(outputs.shape, np.float32)
        nothing = np.zeros(0, np.float32)
        loss, _ = program.train_step(
            rows(outputs), labels, nothing, nothing, threads.effective(), self.kind, self.label_smoothing, targets,
            dx=rows(gradient))  # fmt: skip
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
            raise ValueError(f"label_smoothing is {label_smoothing!r}; it should be at least 0 and less than 1")
        self.label_smoothing = float(label_smoothing)

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
            raise ValueError(f"target has the shape {target.shape}; it should be {outputs.shape}, or integer classes")
        return self._gradient(outputs, np.zeros(len(outputs), np.int32), rows(target.astype(np.float32, copy=False)))

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
            raise ValueError(f"labels run from {labels.min()} to {labels.max()}; they should be 0 to {num_classes - 1}")
        onehot = np.zeros((len(labels), num_classes), np.float32)
        onehot[np.arange(len(labels)), labels] = 1
        return onehot


@lru_cache(maxsize=16)
def _identity(size):
    """A program without ops: its input is its output, so the input's gradient is the loss's."""
    return Program(lowering.lower((size,), []), dispatch.tiles)


def check_labels(labels, count):
    """`labels` as int32 (count,); their range is checked where the number of classes is known."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise ValueError(f"labels is {labels.dtype} {labels.shape}; it should be integers of the shape ({count},)")
    if labels.dtype != np.int32 and len(labels) and not -(2**31) <= labels.min() <= labels.max() < 2**31:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}; they should be classes, 0 or more")
    return contiguous(labels, np.int32)


def softmax(logits):
    """Probabilities (N, K) of logits (N, K)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
