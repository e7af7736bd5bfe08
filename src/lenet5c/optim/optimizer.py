"""Base class and registry of optimizers.

The arithmetic of an optimizer is a kernel in `lenet5c/kernels/ops/update.pxi`; its class has the
settings and the state.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lenet5c.kernels.engine._update import Update
from lenet5c.kernels.simd import dispatch
from lenet5c.nn import Layer
from lenet5c.nn.layer import check_number

__all__ = ["OPTIMIZERS", "Optimizer", "OptimizerChoice"]

Vector = NDArray[np.float32]


class Optimizer:
    """Base class of optimizers.

    A subclass sets `kernel` and `vectors`, and is added to `OPTIMIZERS` with `register`.

    Parameters
    ----------
    model : lenet5c.nn.Layer
    lr, weight_decay : float

    Attributes
    ----------
    lr : float
        Learning rate; may be changed between steps.
    steps : int
        Number of steps taken so far.
    rate_factors : tuple of (str, float)
        Factors set by `scale_rates`.
    """

    #: Name of the compiled update in update.pxi.
    kernel = ""
    #: Names of the state vectors, which have the length of the parameters.
    vectors: tuple[str, ...] = ()
    #: Names of the state vectors that are never negative, such as means of squares.
    not_negative: tuple[str, ...] = ()

    def __init__(self, model: Layer, lr: float, weight_decay: float) -> None:
        self.model = model
        self.lr = check_not_negative("lr", lr)
        self.weight_decay = check_not_negative("weight_decay", weight_decay)
        self.steps = 0
        self.rate_factors: tuple[tuple[str, float], ...] = ()
        for name in self.vectors:
            setattr(self, name, np.zeros_like(model.vector))

    def scale_rates(self, factors: Mapping[str, float]) -> None:
        """Set learning-rate factors for some parameters.

        Parameters
        ----------
        factors : mapping of str to float
            Factors by the name of a layer, 'conv1', or a parameter, 'conv1.bias'. If several match,
            the last one applies; other parameters have the factor 1. A factor of 0 freezes
            parameters: momentum and weight decay do not change them either, nor the state vectors
            of the optimizer.

        Raises
        ------
        ValueError
            If there are no such parameters, or a factor is less than 0.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet5c import nn, optim
        >>> model = nn.Sequential(nn.Linear(1, 1, rng=0), nn.Linear(1, 1, rng=0))
        >>> optimizer = optim.SGD(model, lr=0.5)
        >>> optimizer.scale_rates({"0": 0, "1.bias": 0.1})
        >>> before, model.grad_vector[:] = model.vector.copy(), 1
        >>> optimizer.step()
        >>> before - model.vector
        array([0.  , 0.  , 0.5 , 0.05], dtype=float32)
        """
        for name, factor in factors.items():
            check_not_negative(f"factor of {name}", factor)
            if not any(_covers(name, each) for each in self.model.params):
                raise ValueError(
                    "factors must have names of layers or parameters of the model as keys, "
                    f"{', '.join(self.model.params)}, got {name!r}"
                )
        self.rate_factors = tuple((name, float(value)) for name, value in factors.items())

    def step(self) -> None:
        """Update the model's parameters by one step, using its current gradients."""
        self._describe([self.lr]).apply(self.model.vector, self.model.grad_vector)
        self.steps += 1

    def describe_steps(self, model: Layer, rates: Sequence[float]) -> Update | None:
        """Return the compiled update for the next steps of `model`.

        The caller adds the steps taken to `steps`.

        Parameters
        ----------
        model : lenet5c.nn.Layer
        rates : sequence of float
            Learning rate of each step.

        Returns
        -------
        Update or None
            None if a subclass overrides `step`, or if the optimizer has only some of the model's
            parameters.

        Raises
        ------
        ValueError
            If the optimizer belongs to another model.
        """
        whole = self.model is model
        if not whole and not np.may_share_memory(self.model.vector, model.vector):
            raise ValueError(
                "optimizer must belong to the model being trained, got one of another model; "
                f"create it with this model: {type(self).__name__}(model, ...)"
            )
        overridden = type(self).step is not Optimizer.step or "step" in vars(self)
        return self._describe(rates) if whole and not overridden else None

    def _describe(self, rates: Sequence[float]) -> Update:
        settings = vars(self) | self._settings_of_steps(len(rates)) | {"lr": rates}
        return Update(dispatch.tiles, self.kernel, settings, settings, len(rates), self._ranges())

    def _ranges(self) -> list[tuple[int, int, float]] | None:
        """Return ranges of parameters that are not frozen, with their factors."""
        if not self.rate_factors:
            return None
        ranges: list[tuple[int, int, float]] = []
        stop = 0
        for name, array in self.model.params.items():
            start, stop = stop, stop + array.size
            factor = 1.0
            for key, value in self.rate_factors:
                factor = value if _covers(key, name) else factor
            if ranges and ranges[-1][1:] == (start, factor):
                start = ranges.pop()[0]
            if factor:
                ranges.append((start, stop, factor))
        return ranges

    def _settings_of_steps(self, count: int) -> dict[str, float | Sequence[float]]:
        """Return the kernel settings of the next `count` steps that are not attributes."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state: 'steps', an int, and copies of the state vectors."""
        return {"steps": self.steps} | {name: getattr(self, name).copy() for name in self.vectors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a `state_dict` of the same optimizer and model.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a value is invalid. Nothing is changed in this case.
        """
        names = {"steps", *self.vectors}
        if set(state) != names:
            raise ValueError(f"state must have the keys {sorted(names)}, got {sorted(state)}")
        steps = state["steps"]
        if type(steps) is bool or not isinstance(steps, Integral) or not 0 <= int(steps) < 2**53:
            raise ValueError(f"steps must be an integer of at least 0, got {steps!r}")
        vectors = {name: self._check_vector(name, state[name]) for name in self.vectors}
        # One call, which an interrupt cannot divide.
        vars(self).update(self._derive(vectors), steps=int(steps))

    def _check_vector(self, name: str, values: Any) -> Vector:
        """Return a copy of a state vector, or raise ValueError."""
        check_shape(name, values, self.model)
        vector = np.array(values)
        if vector.dtype != np.float32:
            raise ValueError(f"{name} must be float32, got {vector.dtype}")
        positive = name in self.not_negative
        if fault := find_fault(vector, self.model, 0 if positive else -np.inf):
            kind = "finite number of at least 0" if positive else "finite number"
            raise ValueError(f"the {name} of {fault[0]} must be a {kind}, got {fault[1]}")
        return vector

    def _derive(self, vectors: dict[str, Vector]) -> dict[str, Vector]:
        """Return these vectors together with those derived from them."""
        return vectors


@dataclass(frozen=True)
class OptimizerChoice:
    """An optimizer with the defaults used in recipes.

    Attributes
    ----------
    cls : type
    lr, weight_decay : float
        Defaults for the nets of this package.
    fixed : mapping
        Arguments fixed by the name, such as ``decoupled=True`` for 'adamw'.
    """

    cls: type[Optimizer]
    lr: float
    weight_decay: float = 0.0
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of all arguments after the model that are not fixed."""
        names = list(signature(self.cls).parameters)[1:]
        return tuple(name for name in names if name not in self.fixed)

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the arguments other than lr and weight_decay."""
        return tuple(name for name in self.arguments if name not in ("lr", "weight_decay"))

    def make(self, model: Layer, **arguments: Any) -> Optimizer:
        """Create the optimizer of a model, with default `lr` and `weight_decay` unless given.

        Raises
        ------
        TypeError
            If the optimizer does not have one of the arguments.
        """
        usual = {"lr": self.lr, "weight_decay": self.weight_decay}
        chosen = {name: value for name, value in usual.items() if name in self.arguments}
        return self.cls(model, **chosen | arguments | dict(self.fixed))


OPTIMIZERS: dict[str, OptimizerChoice] = {}
Kind = TypeVar("Kind", bound=type[Optimizer])


def register(
    name: str, *, lr: float, weight_decay: float = 0.0, **fixed: Any
) -> Callable[[Kind], Kind]:
    """Register a class in `OPTIMIZERS`, with default rate and decay and fixed arguments."""

    def enter(cls: Kind) -> Kind:
        OPTIMIZERS[name] = OptimizerChoice(cls, lr, weight_decay, fixed)
        return cls

    return enter


def _covers(key: str, name: str) -> bool:
    """Return True if a key of `Optimizer.scale_rates` applies to the parameter of this name."""
    return name == key or name.startswith(f"{key}.")


def is_real(value: Any) -> bool:
    """Return True if `value` is a Python or NumPy float or integer."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_not_negative(name: str, value: Any) -> float:
    """Return `value`, checked to be at least 0 and within float32."""
    return check_number(name, value, 0)


def check_positive(name: str, value: Any) -> float:
    """Return `value`, checked to be greater than 0 and within float32."""
    return check_number(name, value, float(np.finfo(np.float32).tiny))


def check_decay(name: str, value: Any) -> float:
    """Return `value`, checked to be a decay rate of at least 0 and less than 1."""
    if not (is_real(value) and 0 <= value < 1):
        raise ValueError(f"{name} must be at least 0 and less than 1, got {value!r}")
    return float(value)


def check_betas(betas: Any) -> tuple[float, float]:
    """Return two checked decay rates."""
    values = tuple(betas) if isinstance(betas, Iterable) else ()
    if len(values) != 2 or not all(is_real(beta) and 0 <= beta < 1 for beta in values):
        raise ValueError(f"betas must be two numbers of at least 0 and less than 1, got {betas!r}")
    return float(values[0]), float(values[1])


def check_shape(name: str, values: Any, model: Layer) -> None:
    """Raise ValueError if `values` do not have the shape of the parameter vector."""
    if np.shape(values) != model.vector.shape:
        raise ValueError(
            f"{name} must have shape {model.vector.shape}, as in the model, got {np.shape(values)}"
        )


def find_fault(vector: NDArray[Any], model: Layer, least: float) -> tuple[str, float] | None:
    """Return the first parameter whose value is less than `least` or not finite, with the value."""
    wrong = np.flatnonzero(~((vector >= least) & np.isfinite(vector)))
    if len(wrong) == 0:
        return None
    names = [name for name, array in model.params.items() for _ in range(array.size)]
    return names[wrong[0]], vector[wrong[0]]
