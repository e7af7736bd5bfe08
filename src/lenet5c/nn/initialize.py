"""How weights start: functions ``(rng, shape, fan_in, fan_out) -> ndarray``, and their names."""

from collections.abc import Mapping
from math import isfinite, sqrt

import numpy as np


def normal(std):
    """Initialiser: a normal distribution of mean 0 and standard deviation `std`."""
    return lambda rng, shape, fan_in, fan_out: std * rng.standard_normal(shape, np.float32)


def uniform(bound):
    """Initialiser: a uniform distribution from -bound to bound."""
    return lambda rng, shape, fan_in, fan_out: _uniform(rng, shape, bound)


def he_normal(rng, shape, fan_in, fan_out):
    """Variance 2 / fan_in (He et al., 2015): for ReLU."""
    return sqrt(2 / fan_in) * rng.standard_normal(shape, np.float32)


def he_uniform(rng, shape, fan_in, fan_out):
    """Uniform, variance 2 / fan_in."""
    return _uniform(rng, shape, sqrt(6 / fan_in))


def glorot_normal(rng, shape, fan_in, fan_out):
    """Variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010): for tanh and sigmoid."""
    return sqrt(2 / (fan_in + fan_out)) * rng.standard_normal(shape, np.float32)


def glorot_uniform(rng, shape, fan_in, fan_out):
    """Uniform, variance 2 / (fan_in + fan_out)."""
    return _uniform(rng, shape, sqrt(6 / (fan_in + fan_out)))


def lecun_normal(rng, shape, fan_in, fan_out):
    """Variance 1 / fan_in (LeCun et al., 1998, "Efficient BackProp")."""
    return sqrt(1 / fan_in) * rng.standard_normal(shape, np.float32)


def lecun_uniform(rng, shape, fan_in, fan_out):
    """Uniform, variance 1 / fan_in."""
    return _uniform(rng, shape, sqrt(3 / fan_in))


def fan_in_uniform(gain, power=0.5):
    """Initialiser: uniform from -bound to bound, with bound = gain / fan_in ** power."""
    return lambda rng, shape, fan_in, fan_out: _uniform(rng, shape, gain / fan_in**power)


def constant(value):
    """Initialiser: all `value`."""
    return lambda rng, shape, fan_in, fan_out: np.full(shape, value, np.float32)


def _uniform(rng, shape, bound):
    return np.float32(bound) * (2 * rng.random(shape, np.float32) - 1)


def _of_one_number(init):
    name, number = next(iter(init.items())) if len(init) == 1 else (None, None)
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if name not in ONE_NUMBER or not is_number or not (number >= 0 and isfinite(number)):
        raise ValueError(
            f"init is {dict(init)!r}; it should have one of {', '.join(ONE_NUMBER)}, with a number from 0 on"
        )
    return ONE_NUMBER[name](number)


ONE_NUMBER = {"normal": normal, "uniform": uniform}
NAMED = {
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
}


def draw(init, rng, shape, fan_in, fan_out):
    """Weights of `shape` from an initialiser, its name, or for those of one number a mapping: ``{"normal": 0.01}``."""
    if isinstance(init, str):
        if init not in NAMED:
            raise ValueError(
                f"init is {init!r}; it should be one of {', '.join(NAMED)}, or such as {{'normal': 0.01}}, "
                f"or a function"
            )
        init = NAMED[init]
    elif isinstance(init, Mapping):
        init = _of_one_number(init)
    weights = np.asarray(init(np.random.default_rng(rng), shape, fan_in, fan_out), np.float32)
    if weights.shape != tuple(shape):
        raise ValueError(
            f"init gave weights of the shape {weights.shape}; they should be {tuple(shape)}"
        )
    return weights
