"""Loss functions."""

from functools import lru_cache
from inspect import signature
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.kernels import threads
from lenet5c.kernels.arrays import contiguous, rows, unmasked
from lenet5c.kernels.engine import lowering
from lenet5c.kernels.engine._program import Program
from lenet5c.kernels.simd import dispatch
from lenet5c.nn.layer import Floats, as_batch

__all__ = ["LOSSES", "Loss", "MSELoss"]

INT32 = np.dtype(np.int32)

#: Loss classes by the name used in recipes.
LOSSES: dict[str, type["Loss"]] = {}


class Loss:
    """Base class of losses.

    Calling a loss with outputs and targets returns the loss and its gradient; `value` returns only
    the loss.

    Parameters
    ----------
    reduction : {'mean', 'sum', 'none'}
        Return the weighted mean over the samples, their weighted sum, or the loss of each sample
        with its own gradient. Models are trained with 'mean' or 'sum'.
    """

    kind = ""
    weight: Floats | None = None
    ignore_index: int | None = None

    def __init_subclass__(cls, named: bool = True) -> None:
        if named and "kind" in vars(cls):
            LOSSES[cls.kind] = cls

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction

    def __call__(
        self, outputs: Floats, target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, Floats]:
        """Return the loss and its gradient.

        Parameters
        ----------
        outputs : ndarray of float32 (N, K)
        target : ndarray of int (N,)
            Labels from 0 to K - 1; some losses also accept other targets.
        sample_weight : ndarray (N,), optional
            Sample weights of at least 0; 1 by default. The mean is divided by their sum: a sample
            of weight 2 counts as two samples, and one of weight 0 is ignored, whatever its outputs
            are. If all weights are 0, the mean is NaN and the gradient 0, as in PyTorch. For
            outputs (N, K, d1, ...), weights (N,) apply to all positions of a sample; weights (N,
            d1, ...) have one value for each position.

        Returns
        -------
        loss : float, or ndarray of float64 (N,) with reduction 'none'
            Annotated as float.
        doutputs : ndarray of float32, same shape as outputs
        """
        return self._compute(outputs, target, sample_weight, True)

    def value(
        self, outputs: Floats, target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the loss without computing the gradient, bit-identical to that of a call.

        Parameters
        ----------
        outputs, target, sample_weight
            See `__call__`.
        """
        loss: float = self._compute(outputs, target, sample_weight, False)[0]
        return loss

    def second(
        self, outputs: Floats, target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return the first and second derivatives of the loss with respect to the outputs.

        Parameters
        ----------
        outputs, target, sample_weight
            See `__call__`.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32, same shape as outputs
        """
        raise NotImplementedError(f"{type(self).__name__} has no second derivatives")

    @property
    def setting(self) -> float:
        """Numeric parameter of the loss that is passed to the compiled program."""
        return 0.0

    def arguments(
        self, target: ArrayLike, shape: tuple[int, ...], sample_weight: ArrayLike | None = None
    ) -> dict[str, Any]:
        """Return the arguments of a compiled program that define its loss.

        Parameters
        ----------
        target, sample_weight
            See `__call__`.
        shape : (N, ...)
            Shape of the outputs.
        """
        arguments = self._arguments(target, shape, sample_weight)
        if arguments["labels"] is None:
            arguments["labels"] = likeliest(arguments["targets"])
        return arguments

    def _arguments(
        self, target: ArrayLike, shape: tuple[int, ...], sample_weight: ArrayLike | None
    ) -> dict[str, Any]:
        """Return the arguments without labels if there are targets."""
        labels, targets = self._split(target, shape)
        return {
            "labels": labels,
            "targets": targets,
            "sample_weight": self._sample_weight(sample_weight, shape),
            "class_weight": self.weight,
            "ignore_index": None if targets is not None else self.ignore_index,
            "loss": self.kind,
            "setting": self.setting,
            "mean": self.reduction == "mean",
        }

    def count_correct(
        self, predicted: NDArray[Any], target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> int:
        """Return the number of correctly predicted labels among samples of nonzero weight.

        If the target is probabilities, the most probable class is the true one.
        """
        labels = np.asarray(target)
        if labels.dtype.kind == "f":
            is_correct = predicted == likeliest(labels)
        else:
            is_correct = (predicted == labels) & (labels != self.ignore_index)
        if sample_weight is not None:
            is_correct &= np.asarray(sample_weight) != 0
        return int(is_correct.sum())

    def total_weight(
        self, target: ArrayLike, shape: tuple[int, ...], sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the sum of weights that divides the mean, 1 for other reductions.

        Parameters
        ----------
        target, sample_weight
            See `__call__`.
        shape : (N, ...)
            Shape of the outputs.
        """
        if self.reduction != "mean":
            return 1.0
        return float(self._factors(target, shape, sample_weight)[1])

    def check_target(self, target: ArrayLike, count: int) -> NDArray[Any]:
        """Return the targets of `count` samples for training: labels as int32, others unchanged.

        Raises
        ------
        ValueError
            If there are not `count` targets, or the reduction is 'none'.
        """
        if self.reduction == "none":
            raise ValueError(
                "loss must have the reduction 'mean' or 'sum' to train a model, got 'none'"
            )
        array = unmasked("target", target)
        if array.dtype.kind == "f" and array.ndim > 1 and len(array) == count:
            return array
        return check_labels(array, count)

    def _factors(
        self, target: ArrayLike, shape: tuple[int, ...], sample_weight: ArrayLike | None
    ) -> tuple[NDArray[np.float64], float]:
        """Return the factor of each sample's second derivatives and the divisor of the mean."""
        weight = self._sample_weight(sample_weight, shape)
        factors = np.ones(shape[0]) if weight is None else weight.astype(np.float64)
        return factors, factors.sum()

    def _second(
        self,
        d2rows: Floats,
        target: ArrayLike,
        shape: tuple[int, ...],
        sample_weight: ArrayLike | None,
        terms: int = 1,
    ) -> Floats:
        """Weight and reduce the second derivatives of the losses of single samples, one per row."""
        factors, total = self._factors(target, shape, sample_weight)
        if (factors != 1).any():
            d2rows = d2rows * factors.astype(np.float32)[:, None]
        if self.reduction == "mean" and total:  # if 0, all factors are 0
            d2rows = d2rows / np.float32(total * terms)
        return self._unrows(d2rows, shape)

    def _compute(
        self, outputs: Floats, target: ArrayLike, sample_weight: ArrayLike | None, derive: bool
    ) -> tuple[Any, Floats]:
        outputs = self._take(outputs)
        shape = outputs.shape
        arguments = self._arguments(target, shape, sample_weight)
        places = self._places(shape)
        inner, samples = prod(places), rows(outputs)
        if shape[0] * inner == 0:
            raise ValueError(f"outputs must have at least one sample, got shape {shape}")
        losses = np.empty((shape[0], *places)) if self.reduction == "none" else None
        arguments |= {
            "num_threads": threads.effective(),
            "losses": None if losses is None else losses.reshape(-1),
            "inner": inner,
        }
        program = _identity(samples.shape[1] // inner)
        if not derive:
            loss = program.loss(samples, **arguments)
            return loss if losses is None else losses, outputs
        gradient, nothing = np.empty(shape, np.float32), np.zeros(0, np.float32)
        loss, _ = program.train_step(
            samples,
            params=nothing,
            grads=nothing,
            dx=gradient.reshape(samples.shape),
            by_sample=True,
            count=False,
            **arguments,
        )
        return loss if losses is None else losses, gradient

    def _places(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of the output axes whose positions count as separate samples."""
        return ()

    def _unrows(self, of_samples: Floats, shape: tuple[int, ...]) -> Floats:
        """Return rows, one for each sample, as an array with the shape of the outputs."""
        return of_samples.reshape(shape)

    def _take(self, outputs: Any) -> Floats:
        """Return outputs as float32 and check their shape."""
        outputs = as_batch(outputs, type(self).__name__, "outputs")
        if outputs.ndim != 2:
            raise ValueError(f"outputs must have shape (N, classes), got {outputs.shape}")
        return outputs

    def _split(
        self, target: ArrayLike, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.int32] | None, Any]:
        """Return labels and targets for the compiled program; one of them may be None."""
        return check_labels(target, shape[0]), None

    def _sample_weight(
        self, sample_weight: ArrayLike | None, shape: tuple[int, ...]
    ) -> Floats | None:
        if sample_weight is None:
            return None
        return check_weights("sample_weight", sample_weight, (shape[0],))

    def __repr__(self) -> str:
        settings = [
            f"{name}={_plain(getattr(self, name))!r}"
            for name, parameter in signature(type(self)).parameters.items()
            if _plain(getattr(self, name)) != parameter.default
        ]
        return f"{type(self).__name__}({', '.join(settings)})"


class MSELoss(Loss):
    """Mean squared error over all elements.

    The target is an array with the shape of the outputs, (N, ...), or integer labels (N,), which
    are one-hot encoded.

    Parameters
    ----------
    reduction : {'mean', 'sum', 'none'}
        'none' returns the sum of squares of each sample, whereas PyTorch returns the square of each
        element.

    Notes
    -----
    ::

        loss = 1/size sum of (outputs - target)^2
        doutputs = 2/size (outputs - target)

    With sample weights, the sum of squares of each sample is multiplied by its weight, and size is
    the sum of the weights times the number of elements of a sample.

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

    def second(
        self, outputs: Floats, target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return the first and second derivatives; the second is 2 / size.

        Parameters
        ----------
        outputs, target, sample_weight
            See `__call__`.

        Returns
        -------
        doutputs, d2outputs : ndarray of float32, same shape as outputs
        """
        outputs = self._take(outputs)
        _, doutputs = self(outputs, target, sample_weight)
        size = prod(outputs.shape[1:])
        twos = np.full((len(outputs), size), 2, np.float32)
        return doutputs, self._second(twos, target, outputs.shape, sample_weight, size)

    def _take(self, outputs: Any) -> Floats:
        return as_batch(outputs, "MSELoss", "outputs")

    def _split(
        self, target: ArrayLike, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.int32] | None, Any]:
        target, size = unmasked("target", target), prod(shape[1:])
        if target.dtype.kind in "iu" and target.shape == shape[:1]:
            labels = check_labels(target, shape[0])
            return labels, _one_hot(labels, size)
        numbers = target.dtype.kind in "biuf"
        if not numbers or target.size != prod(shape) or len(target) != shape[0]:
            raise ValueError(
                f"target must have shape {shape} or be integer labels, "
                f"got {target.dtype} {target.shape}"
            )
        return None, rows(target.astype(np.float32, copy=False))


@lru_cache(maxsize=16)
def _identity(size: int) -> Program:
    """Return a program without ops, which computes only a loss and its gradient."""
    return Program(lowering.lower((size,), []), dispatch.tiles)


def check_labels(labels: ArrayLike, count: int) -> NDArray[np.int32]:
    """Return `labels` as int32 (count,); the program checks their upper bound."""
    array = unmasked("labels", labels)
    if array.dtype is INT32 and array.shape == (count,) and array.flags.carray:
        return array
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise ValueError(
            f"labels must be integers of shape ({count},), got {array.dtype} of shape {array.shape}"
        )
    if array.dtype != np.int32 and len(array):
        least, most = array.min(), array.max()
        if not -(2**31) <= least <= most < 2**31:
            raise ValueError(f"labels must be class indices of at least 0, got {least} to {most}")
    return contiguous(array, np.int32)


def check_weights(name: str, weights: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Return weights as float32 of this shape; reject values that are negative or not finite."""
    array = unmasked(name, weights)
    if array.dtype.kind not in "biuf" or array.shape != shape:
        raise ValueError(
            f"{name} must be numbers of shape {shape}, got {array.dtype} of shape {array.shape}"
        )
    with np.errstate(over="ignore"):
        array = contiguous(array, np.float32)
    if array.size and not (array.min() >= 0 and array.max() < np.inf):
        raise ValueError(
            f"{name} must be finite and at least 0, got {array.min()} to {array.max()}"
        )
    return array


def _one_hot(labels: NDArray[np.int32], num_classes: int) -> Floats:
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"labels must be from 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}"
        )
    onehot = np.zeros((len(labels), num_classes), np.float32)
    onehot[np.arange(len(labels)), labels] = 1
    return onehot


def likeliest(targets: NDArray[Any]) -> NDArray[np.int32]:
    """Return the class with the largest target of each sample."""
    if not targets.size:
        return np.zeros(len(targets), np.int32)
    return targets.reshape(len(targets), -1).argmax(axis=1).astype(np.int32)


def _plain(value: Any) -> Any:
    """Return a setting as built-in Python objects."""
    return value.tolist() if isinstance(value, np.ndarray) else value
