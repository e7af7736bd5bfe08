"""Classification losses: cross-entropy and negative log-likelihood."""

from math import prod
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.kernels.arrays import contiguous, rows, unmasked
from lenet5c.kernels.softmax import softmax
from lenet5c.nn.layer import Floats, as_batch
from lenet5c.nn.loss import Loss, check_labels, check_weights

__all__ = ["CrossEntropyLoss", "NLLLoss", "softmax"]


class ClassLoss(Loss):
    """Base class of classification losses with class weights and an ignored label."""

    label_smoothing = 0.0

    def __init__(
        self, weight: ArrayLike | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        if weight is not None:
            self.weight = np.array(check_weights("weight", weight, (np.size(weight),)))
            self.weight.flags.writeable = False
        is_integer = isinstance(ignore_index, Integral) and not isinstance(ignore_index, bool)
        if not is_integer or not -(2**31) <= ignore_index < 2**31:
            raise ValueError(f"ignore_index must be an integer of 32 bits, got {ignore_index!r}")
        self.ignore_index = int(ignore_index)

    def _take(self, outputs: Any) -> Floats:
        return as_batch(outputs, type(self).__name__, "outputs")

    def _check_classes(self, shape: tuple[int, ...]) -> None:
        if self.weight is not None and len(self.weight) != shape[1]:
            raise ValueError(
                f"weight must have a value for each of the {shape[1]} classes, got "
                f"{len(self.weight)}"
            )

    def _split(
        self, target: ArrayLike, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.int32] | None, Any]:
        self._check_classes(shape)
        if len(shape) == 2:
            return check_labels(target, shape[0]), None
        labels, places = unmasked("labels", target), (shape[0], *shape[2:])
        if labels.shape != places:
            raise ValueError(
                f"labels must have shape {places} for outputs (N, classes, ...) of shape {shape}, "
                f"got {labels.shape}"
            )
        return check_labels(labels.reshape(-1), prod(places)), None

    def _sample_weight(
        self, sample_weight: ArrayLike | None, shape: tuple[int, ...]
    ) -> Floats | None:
        if sample_weight is None or len(shape) == 2:
            return super()._sample_weight(sample_weight, shape)
        weight, places = unmasked("sample_weight", sample_weight), (shape[0], *shape[2:])
        if weight.shape == places[:1]:
            weight = np.broadcast_to(weight.reshape(-1, *[1] * len(shape[2:])), places)
        return check_weights("sample_weight", weight, places).reshape(-1)

    def _factors(
        self, target: ArrayLike, shape: tuple[int, ...], sample_weight: ArrayLike | None
    ) -> tuple[NDArray[np.float64], float]:
        labels, targets = self._split(target, shape)
        weight = self._sample_weight(sample_weight, shape)
        samples = shape[0] * prod(shape[2:])
        factors = np.ones(samples) if weight is None else weight.astype(np.float64)
        weight = np.ones(shape[1], np.float32) if self.weight is None else self.weight
        smoothed = self.label_smoothing * weight.mean(dtype=np.float64)
        if labels is None:
            shares = self._rows(targets.reshape(shape)).astype(np.float64) @ weight
            return factors * ((1 - self.label_smoothing) * shares + smoothed), factors.sum()
        is_left = labels != self.ignore_index
        factors *= is_left
        of_class = weight[labels * is_left].astype(np.float64)
        total = (factors * of_class).sum()
        if self.weight is None:  # targets that add up to 1
            return factors, total
        return factors * ((1 - self.label_smoothing) * of_class + smoothed), total

    def _places(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[2:]

    def _rows(self, outputs: Floats) -> Floats:
        """Return outputs, or targets of the same shape, as one row for each sample."""
        if outputs.ndim == 2:
            return rows(outputs)
        return contiguous(np.moveaxis(outputs, 1, -1)).reshape(-1, outputs.shape[1])

    def _unrows(self, of_samples: Floats, shape: tuple[int, ...]) -> Floats:
        if len(shape) == 2:
            return of_samples
        of_samples = of_samples.reshape(shape[0], *shape[2:], shape[1])
        return np.ascontiguousarray(np.moveaxis(of_samples, -1, 1))


class CrossEntropyLoss(ClassLoss):
    """Negative logarithm of the softmax probability of the true class.

    The outputs are logits (N, K), or (N, K, d1, ...) with labels (N, d1, ...). Instead of labels,
    the target may be probabilities: a floating-point array with the shape of the outputs and values
    of at least 0, which need not add up to 1, as in PyTorch. Sample weights have shape (N, d1,
    ...), one for each position of the outputs, or (N,), one for all positions of a sample.

    Parameters
    ----------
    weight : array_like (K,), optional
        Weight of each class, at least 0; 1 by default.
    ignore_index : int
        Label of samples that are ignored in the loss, the gradient and the divisor of the mean. Has
        no effect if the target is probabilities.
    reduction : {'mean', 'sum', 'none'}
        'mean' divides by the sum over the samples of sample weight times weight of the true class,
        or by the sum of sample weights if the target is probabilities. 'none' returns losses (N,
        d1, ...).
    label_smoothing : float
        Fraction of the target that is spread evenly over all classes (Szegedy et al., 2016).

    Notes
    -----
    With p = softmax(logits) and K classes, without weights::

        target = (1 - label_smoothing) * one_hot(labels) + label_smoothing / K
        loss = -1/N sum over n, k of target[n, k] * log p[n, k]
        dlogits = (p - target) / N

    With weights, or with probabilities as the target::

        u[n, k] = weight[k] * ((1 - label_smoothing) * target[n, k] + label_smoothing / K)
        total = sum over n of sample_weight[n] * weight[labels[n]]
        loss = -1/total sum over n, k of sample_weight[n] * u[n, k] * log p[n, k]
        dlogits[n] = sample_weight[n] / total * ((sum over k of u[n, k]) * p[n] - u[n])

    With probabilities, total is the sum of the sample weights. This is
    `torch.nn.functional.cross_entropy`, which has no sample_weight.
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

    def __init__(
        self,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        is_number = isinstance(label_smoothing, Real) and not isinstance(label_smoothing, bool)
        if not is_number or not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be at least 0 and less than 1, got {label_smoothing!r}"
            )
        self.label_smoothing = float(label_smoothing)

    @property
    def setting(self) -> float:
        return self.label_smoothing

    def second(
        self, outputs: Floats, target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return the first and second derivatives with respect to the logits.

        The second derivative is p (1 - p) / N, which does not depend on labels or label smoothing.
        With weights, it is multiplied by sample_weight[n] times the sum over k of u[n, k], and
        divided by total instead of N.

        Parameters
        ----------
        outputs, target, sample_weight
            See `Loss.__call__`.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32, same shape as outputs
        """
        outputs = self._take(outputs)
        _, doutputs = self(outputs, target, sample_weight)
        p = softmax(self._rows(outputs))
        return doutputs, self._second(p * (1 - p), target, outputs.shape, sample_weight)

    def _split(
        self, target: ArrayLike, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.int32] | None, Any]:
        target = unmasked("target", target)
        if target.dtype.kind != "f" or target.shape != shape:
            return super()._split(target, shape)
        self._check_classes(shape)
        return None, rows(check_weights("target", target, shape))


class NLLLoss(ClassLoss, named=False):
    """Negative log-likelihood of the true class.

    The outputs are log-probabilities (N, K), as returned by `kernels.log_softmax`, or (N, K, d1,
    ...) with labels (N, d1, ...). Sample weights are as in `CrossEntropyLoss`.

    Parameters
    ----------
    weight, ignore_index, reduction
        As in `CrossEntropyLoss`.

    Notes
    -----
    ::

        total = sum over n of sample_weight[n] * weight[labels[n]]
        loss = -1/total sum over n of
            sample_weight[n] * weight[labels[n]] * outputs[n, labels[n]]
        doutputs[n] = -sample_weight[n] * weight[labels[n]] / total * one_hot(labels[n])

    Reference: `lenet5c.reference.nll_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> nn.NLLLoss()(np.array([[-1, -0.5]], np.float32), np.array([1]))
    (0.5, array([[ 0., -1.]], dtype=float32))
    """

    kind = "nll"

    def second(
        self, outputs: Floats, target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return the first and second derivatives with respect to the outputs; the second is 0.

        Parameters
        ----------
        outputs, target, sample_weight
            See `Loss.__call__`.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32, same shape as outputs
        """
        _, doutputs = self(outputs, target, sample_weight)
        return doutputs, np.zeros_like(doutputs)
