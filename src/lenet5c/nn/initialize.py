"""Initializers: functions ``(rng, shape, fan_in, fan_out) -> ndarray``, and their names."""

from __future__ import annotations  # numpy.random is not imported for its names

from collections.abc import Callable, Mapping
from contextlib import suppress
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.nn.layer import LARGEST, Floats, Rng, Shape, check_number

Initializer = Callable[["np.random.Generator", Shape, int, int], NDArray[Any]]
Init = str | Mapping[str, float] | Initializer

# Normally distributed numbers drawn in float32 are within ten standard deviations.
MAXIMUM = LARGEST / 10


def normal(std: float) -> Initializer:
    """Return an initializer that draws from N(0, std^2)."""
    check_number("std", std, 0, MAXIMUM)
    return lambda rng, shape, fan_in, fan_out: std * rng.standard_normal(shape, np.float32)


def uniform(bound: float) -> Initializer:
    """Return an initializer that draws uniformly from -bound to bound."""
    check_number("bound", bound, 0, MAXIMUM)
    return lambda rng, shape, fan_in, fan_out: _uniform(rng, shape, bound)


def he_normal(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Floats:
    """Draw with variance 2 / fan_in, for ReLU (He et al., 2015)."""
    return sqrt(2 / fan_in) * rng.standard_normal(shape, np.float32)


def he_uniform(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Floats:
    """Draw uniformly with variance 2 / fan_in."""
    return _uniform(rng, shape, sqrt(6 / fan_in))


def glorot_normal(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Floats:
    """Draw with variance 2 / (fan_in + fan_out), for tanh and sigmoid (Glorot and Bengio, 2010)."""
    return sqrt(2 / (fan_in + fan_out)) * rng.standard_normal(shape, np.float32)


def glorot_uniform(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Floats:
    """Draw uniformly with variance 2 / (fan_in + fan_out)."""
    return _uniform(rng, shape, sqrt(6 / (fan_in + fan_out)))


def lecun_normal(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Floats:
    """Draw with variance 1 / fan_in (LeCun et al., 1998, "Efficient BackProp")."""
    return sqrt(1 / fan_in) * rng.standard_normal(shape, np.float32)


def lecun_uniform(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Floats:
    """Draw uniformly with variance 1 / fan_in."""
    return _uniform(rng, shape, sqrt(3 / fan_in))


def fan_in_uniform(gain: float, power: float = 0.5) -> Initializer:
    """Return a uniform initializer from -bound to bound, with bound = gain / fan_in ** power."""
    check_number("gain", gain, 0, MAXIMUM)
    check_number("power", power, 0, 30)
    return lambda rng, shape, fan_in, fan_out: _uniform(rng, shape, gain / fan_in**power)


def constant(value: float) -> Initializer:
    """Return an initializer that sets all weights to `value`."""
    check_number("value", value)
    return lambda rng, shape, fan_in, fan_out: np.full(shape, value, np.float32)


def _uniform(rng: np.random.Generator, shape: Shape, bound: float) -> Floats:
    return np.float32(bound) * (2 * rng.random(shape, np.float32) - 1)


ONE_NUMBER = {"normal": normal, "uniform": uniform}
NAMED: dict[str, Initializer] = {
    each.__name__: each
    for each in (he_normal, he_uniform, glorot_normal, glorot_uniform, lecun_normal, lecun_uniform)
}


def draw(init: Init, rng: Rng, shape: Shape, fan_in: int, fan_out: int) -> Floats:
    """Draw weights with an initializer, its name, or a mapping such as ``{"normal": 0.01}``."""
    initializer = _find(init)
    weights = np.asarray(initializer(np.random.default_rng(rng), shape, fan_in, fan_out))
    if weights.shape != tuple(shape):
        raise ValueError(f"init must return weights of shape {tuple(shape)}, got {weights.shape}")
    try:
        with np.errstate(over="raise"):
            return weights.astype(np.float32, copy=False)
    except FloatingPointError:
        raise ValueError(
            f"init must return weights from -{LARGEST:.2g} to {LARGEST:.2g}, the range of float32, "
            f"got {weights.flat[np.abs(weights).argmax()]}"
        ) from None


def _find(init: Init) -> Initializer:
    if isinstance(init, str) and init in NAMED:
        return NAMED[init]
    if callable(init):
        return init
    if not isinstance(init, Mapping):
        raise ValueError(
            f"init must be one of {', '.join(NAMED)}, or a mapping such as {{'normal': 0.01}}, "
            f"or a function, got {init!r}"
        )
    for name, number in init.items():
        if len(init) == 1 and name in ONE_NUMBER:
            with suppress(ValueError):
                return ONE_NUMBER[name](number)
    raise ValueError(
        f"init must be one of {', '.join(ONE_NUMBER)} with a number from 0 to {MAXIMUM:.2g}, "
        f"got {dict(init)!r}"
    )
