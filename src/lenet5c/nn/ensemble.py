"""Ensembles of models, whose probabilities are averaged."""

from collections.abc import Iterator, Mapping, Sequence
from math import log, prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lenet5c.kernels.softmax import log_softmax, softmax
from lenet5c.nn.compiled_ensemble import CompiledEnsemble
from lenet5c.nn.composite import Composite
from lenet5c.nn.layer import Floats, Layer, Shape, check_number
from lenet5c.nn.naming import name_layers
from lenet5c.nn.parameter_store import ParameterStore
from lenet5c.nn.registry import describe
from lenet5c.nn.sequential import Sequential
from lenet5c.nn.summary import inner_kind

__all__ = ["Ensemble"]


class Ensemble(Composite):
    """Average the predicted probabilities of several models, called members.

    The output is the logarithm of the mean probability, which can be used like logits in losses,
    `softmax` and elsewhere. The members run one after the other, each as a compiled program; the
    mean is computed in NumPy.

    Parameters
    ----------
    *members : Sequential
        Models with outputs (N, K), which are logits, or penalties if the last layer is an `RBF`
        layer; or one list or mapping of models. Unnamed members are called '0', '1', ...
    temperatures : sequence of float, optional
        Divisor of each member's logits, greater than 0; 1 by default.

    Attributes
    ----------
    members : dict of str to Sequential
    temperatures : tuple of float
    params : parameters of the members, such as 'members.0.conv1.weight'

    Raises
    ------
    TypeError
        If a member is not a `Sequential`.
    ValueError
        If a temperature is out of range; in `forward` and `output_shape`, if the members' outputs
        differ in shape or are not one row of class scores.

    Notes
    -----
    With the logits ``z[i]`` of member i of M, divided by its temperature ``T[i]``, and the share
    ``r[i, k] = p[i, k] / sum over j of p[j, k]`` of member i in class k::

        p[i]       = softmax(z[i])
        y[k]       = log(1/M sum over i of p[i, k])
        dz[i, k]   = r[i, k] dy[k] - p[i, k] sum over l of r[i, l] dy[l]

    and the gradient with respect to a member's output is that of ``z[i]`` divided by ``T[i]``.
    Probabilities are averaged rather than logits, which gives the mixture of the members'
    predictions of Lakshminarayanan et al. (2017), Simple and scalable predictive uncertainty
    estimation using deep ensembles. Its log-likelihood is never worse than the members' average. A
    mean of logits would give more weight to members with larger logits.

    Reference: `lenet5c.reference.ensemble`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> pair = nn.Ensemble(*(nn.Sequential(nn.Linear(3, 2, rng=seed)) for seed in (0, 1)))
    >>> x = np.ones((1, 3), np.float32)
    >>> p = [nn.softmax(member.forward(x)) for member in pair.members.values()]
    >>> bool(np.allclose(nn.softmax(pair.forward(x)), np.mean(p, axis=0)))
    True
    >>> list(pair.params)[::2]
    ['members.0.0.weight', 'members.1.0.weight']
    """

    # Log-probabilities of the last training pass, (M, N, K).
    _saved: NDArray[Any] | None = None

    def __init__(
        self,
        *members: Sequential | Sequence[Any] | Mapping[str, Sequential],
        temperatures: Sequence[float] | None = None,
    ) -> None:
        self.members: dict[str, Any] = dict(name_layers(members))
        for name, member in self.members.items():
            if not isinstance(member, Sequential):
                raise TypeError(
                    f"member {name!r} must be a lenet5c.nn.Sequential, got "
                    f"{type(member).__name__}; wrap it in one"
                )
        count = len(self.members)
        given = [1.0] * count if temperatures is None else list(temperatures)
        if len(given) != count:
            raise ValueError(
                f"temperatures must have one value for each of the {count} members, got "
                f"{len(given)}"
            )
        self.temperatures = tuple(check_number("temperatures", each, 0) for each in given)
        if not all(self.temperatures):
            raise ValueError(f"temperatures must be greater than 0, got {self.temperatures}")
        # Factors from outputs to logits divided by temperature; negative for penalties.
        one = np.ones((1, 1), np.float32)
        self.divisors = [
            float(member.logits(one)[0, 0]) * temperature
            for member, temperature in zip(self._nets(), self.temperatures, strict=True)
        ]
        ParameterStore(self)

    def forward(self, x: Floats, training: bool = False) -> Floats:
        """Return the logarithm of the mean probability of each class, ndarray of float32 (N, K).

        See `Sequential.forward` for the arguments.
        """
        log_p = self._log_probabilities([each.forward(x, training) for each in self._nets()])
        self._saved = log_p if training else None
        return _log_mean(log_p)

    def average(self, outputs: list[NDArray[Any]]) -> Floats:
        """Return the logarithm of the mean probability from the outputs of the members."""
        return _log_mean(self._log_probabilities(outputs))

    def compile(
        self, model: Sequential, input_shape: Shape, num_threads: int | None
    ) -> CompiledEnsemble:
        """Compile a model whose only layer is this one."""
        return CompiledEnsemble(model, self, input_shape, num_threads)

    def backward(self, dy: Floats) -> Floats:
        """Set `grads` and return the sum of the input gradients of all members."""
        slopes = self._slopes(self._last("backward"), dy)
        return _sum(each.backward(dz) for each, dz in zip(self._nets(), slopes, strict=True))

    def input_gradient(self, x: Floats, dy: Floats) -> Floats:
        log_p = self._log_probabilities([each.forward(x) for each in self._nets()])
        slopes = self._slopes(log_p, dy)
        return _sum(
            each.input_gradient(x, dz) for each, dz in zip(self._nets(), slopes, strict=True)
        )

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Return the sum of the members' second derivatives, computed separately."""
        log_p = self._last("backward_second")
        _check_shape("d2y", d2y, log_p.shape[1:])
        p, through = softmax(log_p), softmax(log_p, axis=0) ** 2 * d2y
        d2z = (1 - 2 * p) * through + p * p * through.sum(axis=-1, keepdims=True)
        return _sum(
            each.backward_second(d2 / d2.dtype.type(divisor**2))
            for each, d2, divisor in zip(self._nets(), d2z, self.divisors, strict=True)
        )

    def settings(self) -> dict[str, Any]:
        members = [describe(member, name) for name, member in self.members.items()]
        return {"members": members, "temperatures": list(self.temperatures)}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        others = {name: value for name, value in settings.items() if name != "members"}
        return cls(settings["members"], **others)

    def output_shape(self, input_shape: Shape) -> Shape:
        shapes = [tuple(each.output_shape(input_shape)) for each in self._nets()]
        self._check_outputs(shapes)
        return shapes[0]

    def connections(self, input_shape: Shape) -> int:
        """Return the connections of all members, plus one per member for each mean."""
        within = sum(each.connections(input_shape) for each in self._nets())
        return within + len(self.members) * prod(self.output_shape(input_shape))

    def multiply_adds(self, input_shape: Shape) -> int:
        return sum(each.multiply_adds(input_shape) for each in self._nets())

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        for name, member in self.members.items():
            yield from member.named_layers(f"{prefix}members.{name}.")

    def all_layers(self) -> Iterator[Layer]:
        yield self
        for member in self._nets():
            yield from member.all_layers()

    def branches(self) -> list[Layer]:
        """Return the members."""
        return self._nets()

    def _nets(self) -> list[Any]:
        return list(self.members.values())

    def _log_probabilities(self, outputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the log-probabilities (M, N, K) for the outputs of the members."""
        self._check_outputs([each.shape[1:] for each in outputs])
        logits = [each / each.dtype.type(d) for each, d in zip(outputs, self.divisors, strict=True)]
        return log_softmax(np.stack(logits))

    def _slopes(self, log_p: NDArray[Any], dy: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the gradient with respect to the output of each member."""
        _check_shape("dy", dy, log_p.shape[1:])
        through = softmax(log_p, axis=0) * dy
        dz = through - softmax(log_p) * through.sum(axis=-1, keepdims=True)
        return [each / each.dtype.type(d) for each, d in zip(dz, self.divisors, strict=True)]

    def _last(self, caller: str) -> NDArray[Any]:
        if self._saved is None:
            raise RuntimeError(f"{caller} must be called after forward(x, training=True)")
        return self._saved

    def _check_outputs(self, shapes: list[Shape]) -> None:
        first = shapes[0]
        for name, shape in zip(self.members, shapes, strict=True):
            if len(shape) != 1:
                raise ValueError(
                    f"member {name!r} must return one row of class scores, got the output shape "
                    f"{shape}; end it with Flatten and Linear"
                )
            if shape != first:
                raise ValueError(
                    f"member {name!r} must have the output shape of the first member, {first}, "
                    f"got {shape}"
                )

    def __repr__(self) -> str:
        lines = "".join(f"\n{name}: {each!r}" for name, each in self.members.items())
        if set(self.temperatures) != {1.0}:
            lines += f"\ntemperatures={self.temperatures}"
        inner = lines.replace("\n", "\n  ")
        return f"Ensemble({inner}\n)"


def find_ensemble(model: Sequential) -> Ensemble | None:
    """Return the ensemble if the model consists of one, else None."""
    layers = list(model.flat_layers())
    return layers[0] if len(layers) == 1 and isinstance(layers[0], Ensemble) else None


def describe_kind(model: Sequential) -> str:
    """Return a description of the model's class, or of an ensemble's members.

    Examples
    --------
    >>> from lenet5c import nn
    >>> from lenet5c.nn.ensemble import describe_kind
    >>> describe_kind(nn.Sequential(nn.Ensemble(nn.LeNet5(rng=0), nn.LeNet5(rng=1))))
    'Ensemble of 2 LeNet5'
    """
    ensemble = find_ensemble(model)
    if ensemble is None:
        return type(model).__name__
    kinds = dict.fromkeys(inner_kind(net) for net in ensemble.members.values())
    return f"Ensemble of {len(ensemble.members)} {' and '.join(kinds)}"


def _log_mean(log_p: NDArray[Any]) -> Floats:
    """Return the logarithm of the mean of p over the first axis, of the logarithms of p."""
    # log r is log p less the logarithm of the sum, and so largest where that is.
    y: Floats = log_p.max(axis=0) - log_softmax(log_p, axis=0).max(axis=0)
    return y - y.dtype.type(log(len(log_p)))


def _sum(parts: Iterator[NDArray[Any]]) -> NDArray[Any]:
    """Return the sum of arrays, in order."""
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def _check_shape(name: str, array: Any, shape: Shape) -> None:
    if np.shape(array) != shape:
        raise ValueError(
            f"{name} must have the shape of the output, {shape}, got {np.shape(array)}"
        )
