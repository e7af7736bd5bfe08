"""Registry of layers: conversion of layers to descriptions for JSON and back."""

from collections.abc import Callable, Mapping
from inspect import signature
from math import isfinite
from typing import Any, TypeVar, overload

import numpy as np

from lenet5c.nn.layer import Layer, Rng

__all__ = ["build", "describe", "register"]

Kind = TypeVar("Kind", bound=type[Layer])
Description = dict[str, Any]

#: Layer classes by the names used in descriptions.
TYPES: dict[str, type[Layer]] = {}
#: Maximum number of layers, and maximum nesting depth, of a description.
MAX_LAYERS, MAX_DEPTH = 4096, 64
LARGEST = 2**53  # the largest integer that other JSON readers represent exactly
MAX_NAME = 255  # characters
KEYS = ("name", "type", "settings")
NET = "the net"  # in messages


@overload
def register(kind: Kind, name: str | None = None) -> Kind: ...
@overload
def register(kind: str | None = None, name: str | None = None) -> Callable[[Kind], Kind]: ...
def register(kind: Any = None, name: str | None = None) -> Any:
    """Register a layer class under the name that model files and descriptions use.

    Import the module that registers a class before opening a model file that contains it.

    Parameters
    ----------
    kind : type of Layer
        A class with a method `settings` that returns its constructor arguments as JSON values.
        Arrays other than `params` and `buffers` are not saved.
    name : str, optional
        The name of the class by default. Names must be unique; a class that is defined again, as in
        a notebook, replaces the previous one.

    Returns
    -------
    type of Layer
        The class itself, so that ``@register`` and ``@register("name")`` work as decorators.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> @nn.register
    ... class Scale(nn.Layer):
    ...     def __init__(self, factor):
    ...         self.factor = float(factor)
    ...     def settings(self):
    ...         return {"factor": self.factor}
    ...     def forward(self, x, training=False):
    ...         return x * np.float32(self.factor)
    ...     def backward(self, dy):
    ...         return dy * np.float32(self.factor)
    >>> nn.describe(Scale(0.5))
    {'type': 'Scale', 'settings': {'factor': 0.5}}
    >>> nn.build({"type": "Scale", "settings": {"factor": 2}}).factor
    2.0
    """
    if kind is None or isinstance(kind, str):
        return lambda decorated: register(decorated, name or kind)
    if not (isinstance(kind, type) and issubclass(kind, Layer)):
        raise TypeError(f"kind must be a subclass of lenet5c.nn.Layer, got {kind!r}")
    name = kind.__name__ if name is None else name
    _check_name("name", name)
    there = TYPES.get(name, kind)
    if (there.__module__, there.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(
            f"name must be unique, got {name!r}, which is registered for "
            f"{there.__module__}.{there.__qualname__}; use register({kind.__name__}, name=...)"
        )
    for known in [known for known, each in TYPES.items() if each is kind]:
        del TYPES[known]
    TYPES[name] = kind
    return kind


def describe(layer: Layer, name: str | None = None) -> Description:
    """Return a description of a layer: its class and settings, without weights.

    Parameters
    ----------
    layer : Layer
        A layer of the package or of a registered class, and so must be its inner layers.
    name : str, optional
        Name of the layer in the layer that contains it.

    Returns
    -------
    dict
        JSON values: 'type', 'settings', and 'name' if there is one. Settings that are layers are
        described in the same way.

    Raises
    ------
    ValueError
        If the class is not registered, or its settings are not JSON values.

    Examples
    --------
    >>> from lenet5c import nn
    >>> nn.describe(nn.Linear(84, 10))
    {'type': 'Linear', 'settings': {'in_features': 84, 'out_features': 10, 'bias': True}}
    """
    kind, place = type(layer), "" if name is None else f" {name!r}"
    types = [known for known, each in TYPES.items() if each is kind]
    if not types:
        raise ValueError(
            f"layer{place} must be of a registered class, got {kind.__name__}; decorate the class "
            "with @nn.register, and add a method settings() that returns its arguments"
        )
    try:
        settings = layer.settings()
    except NotImplementedError as error:
        raise ValueError(f"layer{place} must have settings: {error}") from None
    if not isinstance(settings, dict):
        raise ValueError(
            f"settings of the layer{place}, {kind.__name__}, must be a dict of its arguments, got "
            f"{type(settings).__name__}"
        )
    described: Description = {} if name is None else {"name": name}
    described["type"] = types[0]
    described["settings"] = {
        key: _plain(value, f"setting {key!r} of {types[0]}") for key, value in settings.items()
    }
    return described


def build(description: Mapping[str, Any], rng: Rng = None) -> Layer:
    """Build a layer from a description, with newly initialized weights.

    Descriptions are not trusted: they are fully checked, and nothing in them is executed. Use
    `lenet5c.nn.limits.limit_values` to limit the memory of the layers.

    Parameters
    ----------
    description : mapping
        Description as returned by `describe`; 'settings', and settings with a default, may be
        omitted.
    rng : int or numpy.random.Generator, optional
        Seed or generator for the weights; by default they differ from run to run.

    Raises
    ------
    ValueError
        If the description is invalid; the message is one line with the reason.

    Examples
    --------
    >>> from lenet5c import nn
    >>> nn.build({"type": "MaxPool2d", "settings": {"kernel_size": 2}})
    MaxPool2d((2, 2), stride=(2, 2))
    """
    return _Builder(rng).layer(description, NET)


class _Builder:
    """Builder of the layers of one description, which counts them."""

    def __init__(self, rng: Rng) -> None:
        self.layers = 0
        self.rng = None if rng is None else np.random.default_rng(rng)

    def layer(self, description: Any, place: str, depth: int = 0) -> Any:
        """Build the layer of a description."""
        self.layers += 1
        if self.layers > MAX_LAYERS:
            raise ValueError(f"net must have at most {MAX_LAYERS:,} layers, got more")
        if not isinstance(description, Mapping) or not isinstance(description.get("type"), str):
            raise ValueError(
                f"{place} must be a mapping with the type of the layer, got {_short(description)}"
            )
        if unknown := [key for key in description if key not in KEYS]:
            raise ValueError(
                f"{place} must only have the keys {', '.join(KEYS)}, got {_short(unknown[0])}"
            )
        kind = TYPES.get(description["type"])
        if kind is None:
            raise ValueError(
                f"type of {place} must be one of {', '.join(TYPES)}, got "
                f"{_short(description['type'])}; a custom class must be imported first and "
                "decorated with @nn.register"
            )
        settings = description.get("settings", {})
        if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
            raise ValueError(f"settings of {place} must have str keys, got {_short(settings)}")
        made = {
            key: self.value(each, f"{_short(key)} of {place}", depth + 1, place)
            for key, each in settings.items()
        }
        if "rng" in made:
            raise ValueError(f"settings of {place} must not contain rng; pass it to build")
        if self.rng is not None and "rng" in signature(kind).parameters:
            made["rng"] = int(self.rng.integers(2**63))
        return _make(kind, made, place)

    def value(self, value: Any, place: str, depth: int, within: str, unnamed: str = "") -> Any:
        """Return the value of a setting, with descriptions replaced by layers.

        Parameters
        ----------
        value, place, depth
        within : str
            Place of the layer that has the setting.
        unnamed : str
            Name of an unnamed layer in messages; `place` by default.
        """
        if depth > MAX_DEPTH:
            raise ValueError(f"net must have at most {MAX_DEPTH} levels of nesting, got more")
        if isinstance(value, Mapping) and "type" in value:
            name = value.get("name")
            named = f"layer {_short(name)}" if name is not None else unnamed or place
            layer = self.layer(value, named, depth + 1)
            return layer if name is None else (name, layer)
        if isinstance(value, Mapping):
            return {key: self.value(each, place, depth + 1, within) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            of = "" if within == NET else f" of {within}"
            return [
                self.value(each, place, depth + 1, within, f"layer '{i}'{of}")
                for i, each in enumerate(value)
            ]
        return _plain(value, place)


def _make(kind: type[Layer], settings: dict[str, Any], place: str) -> Layer:
    """Create a layer of a class with the settings of a description."""
    try:
        layer = kind.from_settings(settings)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        reason = " ".join(str(error).replace(f"{kind.__name__}.__init__() ", "").split())
        reason = f"missing {reason}" if isinstance(error, KeyError) else reason
        raise ValueError(f"{place}, {kind.__name__}: {reason}") from None
    if not isinstance(layer, Layer):
        raise ValueError(f"{place} must be a layer, got {_short(layer)} from {kind.__name__}")
    return layer


def _plain(value: Any, place: str) -> Any:
    """Return a setting in JSON form, or raise a ValueError."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(each, place) for each in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(each, place) for key, each in value.items()}
    fits = value is None or isinstance(value, (bool, str))
    fits |= isinstance(value, int) and abs(value) <= LARGEST
    if not (fits or (isinstance(value, float) and isfinite(value))):
        raise ValueError(
            f"{place} must be a JSON value (a number, str, bool, None, or a list or dict of "
            f"these), got {_short(value)}"
        )
    return value


def _check_name(what: str, name: Any) -> None:
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MAX_NAME:
        raise ValueError(f"{what} must be a str of 1 to {MAX_NAME} characters, got {_short(name)}")


def _short(value: Any) -> str:
    """Return a value as one line of text, shortened if necessary."""
    if isinstance(value, (Mapping, list, tuple)):  # possibly nested a million levels deep
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and abs(value) > LARGEST:  # Python may refuse to print all digits
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
