"""A forward and a backward pass over NumPy arrays, with named parameters and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real
from operator import index
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lenet5c.kernels.arrays import plain_arrays, real_arrays
from lenet5c.kernels.shapes import paddings, setting
from lenet5c.nn.parameter_store import Array, Arrays, ParameterStore, keep_state

__all__ = ["Layer"]

Floats = NDArray[np.float32]
Shape = tuple[int, ...]
Pair = int | tuple[int, int]
Padding = Pair | tuple[tuple[int, int], tuple[int, int]] | str
# In quotes: importing numpy.random takes as long as all layers.
Rng: TypeAlias = "int | np.random.Generator | None"

#: The largest number of float32.
LARGEST = float(np.finfo(np.float32).max)
FLOAT32 = np.dtype(np.float32)

# Attributes that copies and pickles leave out: views, programs, and what backward needs.
TRANSIENT = ("_store", "_chain", "_segments", "accepted")


class Layer:
    """Base class of layers.

    A layer of your own, in NumPy, subclasses this, puts its parameters into ``self.params`` when it
    is made, and has a `forward` and a `backward`; it then works inside `Sequential` as any other:

    >>> import numpy as np
    >>> from lenet5c import nn
    >>> class Scale(nn.Layer):
    ...     def __init__(self):
    ...         self.params["factor"] = np.ones(1)
    ...     def forward(self, x, training=False):
    ...         self.x = x if training else None
    ...         return x * self.params["factor"]
    ...     def backward(self, dy):
    ...         self.grads["factor"] = np.sum(dy * self.x, keepdims=True).reshape(1)
    ...         return dy * self.params["factor"]
    >>> model = nn.Sequential(nn.Flatten(), Scale(), nn.Linear(4, 2, rng=0))
    >>> model.forward(np.ones((3, 1, 2, 2), np.float32)).shape
    (3, 2)

    Attributes
    ----------
    params : dict of str to ndarray of float32
        Trained. Assigning to an existing name copies the values in.
    grads : dict of str to ndarray of float32
        Gradient of the loss by each parameter, set (not added to) by `backward`.
    curvatures : dict of str to ndarray of float32
        Second derivative of the loss by each parameter, set (not added to) by `backward_second`:
        the diagonal of the Gauss-Newton approximation, summed over the samples and over the places
        that share the parameter.
    buffers : dict of str to ndarray
        Saved with the parameters, but not trained.
    """

    params: Arrays
    grads: Arrays
    buffers: Arrays
    _store: ParameterStore | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__, so that a subclass need not call it.
        layer = super().__new__(cls)
        layer.params, layer.grads, layer.buffers = Arrays(), Arrays(), Arrays()
        layer._store = None
        layer.moved()
        return layer

    def __init__(self) -> None:
        # Without it, any arguments would be taken: __new__ does.
        super().__init__()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in TRANSIENT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _store=None)
        self.moved()

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the output for a batch, float32 (N, ...).

        With `training`, save what `backward` needs.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Array) -> Array:
        """Set `grads`, and return the gradient by the last training input.

        `dy` is that by its output.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def input_gradient(self, x: Array, dy: Array) -> Array:
        """Return the gradient by the input of a pass outside training.

        `grads`, buffers and random generators stay as they are. A layer of one's own, which saves
        what `backward` needs in training alone, runs as in training, with the layers in its
        attributes.

        Parameters
        ----------
        x : ndarray of float32 (N, ...)
        dy : ndarray of float32, of the output's shape

        Returns
        -------
        ndarray of float32, of the shape of x

        Examples
        --------
        >>> import numpy as np
        >>> from lenet5c import nn
        >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.ReLU())
        >>> x, dy = np.array([[3, -1]], np.float32), np.ones((1, 2), np.float32)
        >>> model.input_gradient(x, dy).round(3)
        array([[1., 0.]], dtype=float32)
        """
        grads = {name: array.copy() for name, array in self.grads.items()}
        with keep_state(self):
            self.forward(x, training=True)
            dx = np.asarray(self.backward(dy), np.float32)
        self.grads.update(grads)
        return dx

    def backward_second(self, d2y: Array, dy: Array | None = None) -> Array:
        """Set `curvatures`, and return the second derivatives by the last training input.

        Eq. 25 and 27 of LeCun et al. (1998): the diagonal of the second derivatives alone, in the
        Gauss-Newton approximation, which drops the terms with the second derivative of an
        activation.

        Parameters
        ----------
        d2y : ndarray of float32, of the output's shape
            Second derivative of the loss by each element of the output.
        dy : ndarray of float32, of the output's shape, optional
            The first derivatives, for a layer whose second derivatives depend on them. Only the
            last layer of a model is given them.

        Returns
        -------
        ndarray of float32, of the input's shape

        Raises
        ------
        NotImplementedError
            The layer has no such method.
        RuntimeError
            There was no ``forward(x, training=True)`` before.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no backward_second; implement it, or use an optimizer "
            "other than SDLM"
        )

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of one sample's output, found by trying unless a layer knows it."""
        return self.forward(np.zeros((2, *input_shape), np.float32)).shape[1:]

    def settings(self) -> dict[str, Any]:
        """Return the arguments that make such a layer, but for initializers and generators.

        They are such as JSON has them: numbers, text, True, False, None, lists and dicts.
        ``type(layer)(**layer.settings())`` has the same shapes and the same behavior; its weights
        are not among them. Layers within a layer are as `lenet5c.nn.describe` has them.
        """
        kind = type(self).__name__
        raise NotImplementedError(
            f"{kind} has no settings; add a method settings() that returns its constructor "
            "arguments as a dict"
        )

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """Return a layer of such settings as `settings` returns, with layers made already.

        A layer with a name, within another one, is a pair ``(name, layer)``.
        """
        return cls(**settings)

    def connections(self, input_shape: Shape) -> int:
        """Return the number of connections: inputs and biases, for each unit that reads them."""
        return 0

    @property
    def rng_state(self) -> dict[str, Any] | None:
        """State of the random numbers that training draws, JSON-able; None if it draws none.

        That of an attribute `rng`, a numpy.random.Generator, unless a layer says otherwise.
        """
        rng = getattr(self, "rng", None)
        if rng is None or not isinstance(rng, np.random.Generator):
            return None
        return dict(rng.bit_generator.state)

    @rng_state.setter
    def rng_state(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state  # type: ignore[attr-defined]

    def random_layers(self) -> dict[str, Layer]:
        """Return the layers that draw random numbers in training, such as Dropout, by name."""
        return {name: layer for name, layer in self.named_layers() if layer.rng_state is not None}

    @property
    def compiled(self) -> bool:
        """True if the layer may be part of a compiled program."""
        return False

    def multiply_adds(self, input_shape: Shape) -> int:
        """Return the number of products of a weight and a value that a sample takes."""
        return 0

    @property
    def num_params(self) -> int:
        """Number of trained values."""
        return sum(array.size for array in self.params.values())

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield the layers that hold parameters themselves, with their dotted names, in order."""
        yield prefix.rstrip("."), self

    def all_layers(self) -> Iterator[Layer]:
        """Yield the layer itself and every layer within it."""
        yield self

    @property
    def store(self) -> ParameterStore:
        """The `ParameterStore` of the layer, or of the model that it is in."""
        return self._store or ParameterStore(self)

    @property
    def vector(self) -> Floats:
        """All parameters, contiguous float32; `params` are views into it."""
        return self.store.params[self.store.spans[id(self)]]

    @property
    def grad_vector(self) -> Floats:
        """All gradients, as `vector`."""
        return self.store.grads[self.store.spans[id(self)]]

    @property
    def curvature_vector(self) -> Floats:
        """All second derivatives, as `vector`; zeros at first."""
        return self.store.curvatures[self.store.spans[id(self)]]

    @property
    def curvatures(self) -> Arrays:
        """Second derivatives by parameter name."""
        store, views = self.store, Arrays()
        for layer_name, layer in self.named_layers():
            for name, array in layer.params.items():
                at = store.offsets[id(layer), name]
                view = store.curvatures[at : at + array.size].reshape(array.shape)
                views.bind(name if layer is self else f"{layer_name}.{name}", view)
        return views

    def moved(self) -> None:
        """Discard caches that depend on the memory of the parameters, which have a new store."""

    def gather(self) -> None:
        """Show the arrays of the layers within this one under their dotted names."""

    def __call__(self, x: Array, training: bool = False) -> Array:
        return self.forward(x, training)

    def __repr__(self) -> str:
        """Return the class with the arguments it was made with, as far as attributes hold them.

        The shapes of the parameters follow where no argument does.
        """
        arguments = _arguments(self)
        if not arguments:
            shapes = (f"{name}: {array.shape}" for name, array in self.params.items())
            return f"{type(self).__name__}({', '.join(shapes)})"
        return f"{type(self).__name__}({', '.join(arguments)})"


def check_gradient(dy: Any, shape: Shape, name: str = "dy") -> None:
    """Check that gradients or second derivatives have the shape of the output."""
    if not isinstance(dy, np.ndarray) or dy.dtype != np.float32 or dy.shape != shape:
        found = f"{dy.dtype} {dy.shape}" if isinstance(dy, np.ndarray) else type(dy).__name__
        raise ValueError(f"{name} must be float32 {shape}, the output's shape, got {found}")


def as_floats(x: Any, owner: str, name: str = "x") -> Floats:
    """Return x as an array of float32, for a layer or model: the dtype that nets compute in.

    Arrays of what float32 holds exactly, float16, bool, and integers of 8 and 16 bits, are
    converted, never scaled. Others are refused, since they would be rounded.
    """
    if type(x) is np.ndarray and x.dtype is FLOAT32:
        return x
    dtype, _, array = real_arrays(**{name: x})
    if dtype != np.float32:
        raise TypeError(
            f"{name} must be a NumPy array of float32 for {owner}, or of a dtype that float32 "
            f"holds exactly, such as uint8, got {getattr(x, 'dtype', type(x).__name__)}; use "
            f"np.asarray({name}, np.float32)"
        )
    (floats,) = plain_arrays(dtype, **{name: array})
    return floats


def as_batch(x: Any, owner: str, name: str = "x") -> Floats:
    """Return a batch of samples, as `as_floats`; raise an error for a single sample."""
    x = as_floats(x, owner, name)
    if x.ndim < 2:
        raise ValueError(f"{name} must be a batch, (N, C, H, W) or (N, features), got {x.shape}")
    return x


def check_padding(padding: Any) -> Any:
    """Return a padding as (vertical, horizontal), ((top, bottom), (left, right)) or "same"."""
    value = setting("padding", padding)
    (top, bottom), (left, right) = paddings(value, (1, 1), (1, 1), (1, 1))
    if value == "same":
        return value
    return (top, left) if (top, left) == (bottom, right) else ((top, bottom), (left, right))


def as_lists(value: Any) -> Any:
    """Return a setting as JSON has it: tuples, such as a size or a padding, as lists."""
    return [as_lists(each) for each in value] if isinstance(value, tuple) else value


def _arguments(layer: Layer) -> list[str]:
    """Return the arguments of a layer of one's own as text, without those at their defaults.

    They are its settings, or its attributes of the same names.
    """
    from inspect import signature  # not at import, for which commands wait

    has_settings = type(layer).settings is not Layer.settings
    values = layer.settings() if has_settings else vars(layer)
    found = []
    for name, parameter in signature(type(layer)).parameters.items():
        value = values.get(name)
        if name not in values or not _is_plain(value) or value == parameter.default:
            continue
        named = parameter.default is not parameter.empty
        found.append(f"{name}={value!r}" if named else f"{value!r}")
    return found


def _is_plain(value: Any) -> bool:
    """Return whether the text of an attribute is short, and that of an argument."""
    if isinstance(value, (tuple, list)):
        return len(value) <= 8 and all(_is_plain(each) for each in value)
    return value is None or isinstance(value, (bool, int, float, str, Layer))


def options(layer: Layer, **defaults: Any) -> str:
    """Return the settings of a layer that differ from these, as arguments for its repr."""
    given = {name: getattr(layer, name) for name in defaults}
    changed = (name for name, default in defaults.items() if given[name] != default)
    return "".join(f", {name}={given[name]!r}" for name in changed)


def positive(name: str, value: Any) -> int:
    """Return `value` as an int of at least 1."""
    return check_integer(name, value, 1)


def check_number(name: str, value: Any, least: float = -LARGEST, most: float = LARGEST) -> float:
    """Return `value` as a float from `least` to `most`."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least:.2g} to {most:.2g}, got {value!r}")
    return float(value)


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool; it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_integer(name: str, value: Any, least: int) -> int:
    """Return `value` as an int of at least `least`."""
    try:
        number = least - 1 if isinstance(value, bool) else index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return number
