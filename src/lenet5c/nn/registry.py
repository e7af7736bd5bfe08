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

#: Classes of layers by the names that descriptions have.
TYPES: dict[str, type[Layer]] = {}
#: Layers of a description, and how deep its lists and descriptions are within one another.
MOST_LAYERS, MOST_DEPTH = 4096, 64
LARGEST = 2**53  # integer; JSON's readers elsewhere have no larger one
LONGEST_NAME = 255  # characters
KEYS = ("name", "type", "settings")
NET = "the net"  # in messages


@overload
def register(kind: Kind, name: str | None = None) -> Kind: ...
@overload
def register(kind: str | None = None, name: str | None = None) -> Callable[[Kind], Kind]: ...
def register(kind: Any = None, name: str | None = None) -> Any:
    """Register a layer class under the name that model files and descriptions use.

    A model file is opened where its classes are registered: import the module that has them before.

    Parameters
    ----------
    kind : type of Layer
        It has a method `settings`, which returns the arguments that a layer was made with, such as
        JSON has them. Values of arrays that are not among its `params` and `buffers` are lost.
    name : str, optional
        That of the class by default. No two classes can have one name; a class that is defined
        again, as in a notebook, replaces the one before.

    Returns
    -------
    type of Layer
        The class itself: a decorator, ``@register`` or ``@register("name")``.

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
        raise TypeError(f"kind must be a class of lenet5c.nn.Layer, got {kind!r}")
    name = kind.__name__ if name is None else name
    _check_name("name", name)
    there = TYPES.get(name, kind)
    if (there.__module__, there.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(
            f"name must be unique, got {name!r}, the name of "
            f"{there.__module__}.{there.__qualname__}; register({kind.__name__}, name=...) sets "
            "another name"
        )
    for known in [known for known, each in TYPES.items() if each is kind]:
        del TYPES[known]
    TYPES[name] = kind
    return kind


def describe(layer: Layer, name: str | None = None) -> Description:
    """Return a layer as a description: its class and its settings, without its weights.

    Parameters
    ----------
    layer : Layer
        Of the package, or of a class that is registered; so are the layers within it.
    name : str, optional
        The layer's name in the layer that it is in.

    Returns
    -------
    dict
        Such as JSON has it: the 'type', the 'settings', and the 'name' if there is one. Settings
        that are layers are described in the same way.

    Raises
    ------
    ValueError
        The class is not registered, or has no settings that JSON can hold; the message says what to
        do.

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
    """Return the layer of a description, with weights as its class initializes them.

    A description is not trusted: nothing in it is executed, and all of it is checked. Within
    `lenet5c.nn.limits.limit_values` so is the memory that the layers take.

    Parameters
    ----------
    description : mapping
        As of `describe`; 'settings' may be left out, and so may settings that have a default.
    rng : int or numpy.random.Generator, optional
        Draws a seed for each layer that takes one; without it weights differ from run to run.

    Raises
    ------
    ValueError
        It describes no layer; the message, of one line, says why.

    Examples
    --------
    >>> from lenet5c import nn
    >>> nn.build({"type": "MaxPool2d", "settings": {"kernel_size": 2}})
    MaxPool2d((2, 2), stride=(2, 2))
    """
    return _Builder(rng).layer(description, NET)


class _Builder:
    """Makes the layers of one description, and counts them."""

    def __init__(self, rng: Rng) -> None:
        self.layers = 0
        self.rng = None if rng is None else np.random.default_rng(rng)

    def layer(self, description: Any, place: str, depth: int = 0) -> Any:
        """Return the layer of a description."""
        self.layers += 1
        if self.layers > MOST_LAYERS:
            raise ValueError(f"a net must have at most {MOST_LAYERS:,} layers, got more")
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
            raise ValueError(f"settings of {place} must not have an rng, which descriptions omit")
        if self.rng is not None and "rng" in signature(kind).parameters:
            made["rng"] = int(self.rng.integers(2**63))
        return _make(kind, made, place)

    def value(self, value: Any, place: str, depth: int, within: str, unnamed: str = "") -> Any:
        """Return the value of a setting, with layers in the place of descriptions.

        Parameters
        ----------
        value, place, depth
        within : str
            The layer whose setting it is.
        unnamed : str
            What a layer without a name is called in messages; the place by default.
        """
        if depth > MOST_DEPTH:
            raise ValueError(f"a net must have at most {MOST_DEPTH} levels, got more")
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
    """Return a layer of a class, whose constructor is told what a description says."""
    try:
        layer = kind.from_settings(settings)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        reason = " ".join(str(error).replace(f"{kind.__name__}.__init__() ", "").split())
        reason = f"it lacks {reason}" if isinstance(error, KeyError) else reason
        raise ValueError(f"{place}, {kind.__name__}: {reason}") from None
    if not isinstance(layer, Layer):
        raise ValueError(f"{place} must be a layer, got {_short(layer)} from {kind.__name__}")
    return layer


def _plain(value: Any, place: str) -> Any:
    """Return a value of a setting as JSON has it, or raise a ValueError."""
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
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(
            f"{what} must be a str of 1 to {LONGEST_NAME} characters, got {_short(name)}"
        )


def _short(value: Any) -> str:
    """Return a value as text of one line, which may be much shorter."""
    if isinstance(value, (Mapping, list, tuple)):  # perhaps of a million levels
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and abs(value) > LARGEST:  # Python does not write all its digits
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
