"""Kinds of values of recipe settings, and additional settings of a class."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from inspect import Parameter, signature
from typing import Any

from lenet5c.nn.kind import FINITE, FLAG, TEXT, Kind, is_number, numbers, whole
from lenet5c.training import temperature
from lenet5c.training.weights import BALANCED, MAXIMUM, MINIMUM


def _parse_weight(text: str) -> str | dict[str, float]:
    name, sign, weight = text.rpartition("=")
    return {name: float(weight)} if sign else text


def _is_class_weight(value: object) -> bool:
    if not isinstance(value, dict):
        return value == BALANCED
    return all(
        isinstance(name, str) and is_number(weight) and MINIMUM <= weight <= MAXIMUM
        for name, weight in value.items()
    )


CLASS_WEIGHT = Kind(
    f"balanced, or class names with weights from {MINIMUM:g} to {MAXIMUM:g}",
    _is_class_weight,
    _parse_weight,
    "NAME=WEIGHT",
    many=True,
    optional=True,
)

TEMPERATURE = Kind(
    f"a number from {temperature.MINIMUM} to {temperature.MAXIMUM:g}",
    lambda value: is_number(value) and temperature.MINIMUM <= value <= temperature.MAXIMUM,
    float,
    "T",
    optional=True,
)

SHARE = Kind(
    "a number greater than 0 and at most 1",
    lambda value: is_number(value) and 0 < value <= 1,
    float,
    "F",
)


def arguments(kind: Any) -> Mapping[str, Parameter]:
    """Return the arguments of a class by name."""
    return _arguments(kind)


@cache
def _arguments(kind: Any) -> Mapping[str, Parameter]:
    return {} if kind.__init__ is object.__init__ else signature(kind).parameters


def further_settings(kind: Callable[..., Any], without: Iterable[str]) -> dict[str, Kind]:
    """Return the arguments of a class by name, except some, with the kind of their values.

    The kind is determined by the default of an argument, or else its annotation; the class itself
    checks the range.
    """
    left_out = set(without)
    return {
        name: _infer_kind(each) for name, each in arguments(kind).items() if name not in left_out
    }


def _infer_kind(parameter: Parameter) -> Kind:
    default = parameter.default
    if isinstance(default, tuple):
        return numbers(len(default))
    value = parameter.annotation if default is Parameter.empty else type(default)
    kinds = {bool: FLAG, str: TEXT, int: whole(0)}
    return kinds.get(value) or (numbers(None) if "tuple" in str(value) else FINITE)


def offer(names: Iterable[str], further: Callable[[str], Mapping[str, Kind]]) -> str:
    """Describe the additional settings accepted by each of some names."""
    return "; ".join(f"{name}: {', '.join(found)}" for name in names if (found := further(name)))


def check_further(name: str, given: Mapping[str, Any], known: Mapping[str, Kind], of: str) -> None:
    """Raise a ValueError unless these are settings accepted by `of`, with valid values."""
    for key, value in given.items():
        if key not in known:
            offered = ", ".join(known) or "none"
            raise ValueError(f"{name} must be settings of {of} ({offered}), got {key!r}")
        known[key].check(key, value)
