"""Base class of layers."""

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
# Quoted, because importing numpy.random takes as long as importing all layers.
Rng: TypeAlias = "int | np.random.Generator | None"

#: Largest float32 number.
LARGEST = float(np.finfo(np.float32).max)
FLOAT32 = np.dtype(np.float32)

# Attributes omitted from copies and pickles: views, programs and saved inputs.
TRANSIENT = ("_store", "_chain", "_segments", "accepted")


class Layer:
    """Base class of layers.

    A custom layer subclasses this class, stores its parameters in ``self.params`` in its
    constructor, and defines `forward` and `backward` in NumPy; it then works inside `Sequential`
    like any other layer:

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
        Trained parameters. Assigning to an existing name copies the values.
    grads : dict of str to ndarray of float32
        Gradient of the loss with respect to each parameter, set (not accumulated) by `backward`.
    curvatures : dict of str to ndarray of float32
        Second derivative of the loss with respect to each parameter, set (not accumulated) by
        `backward_second`: the diagonal of the Gauss-Newton approximation, summed over the samples
        and over the positions that share the parameter.
    buffers : dict of str to ndarray
        Arrays saved with the parameters but not trained.
    """

    params: Arrays
    grads: Arrays
    buffers: Arrays
    _store: ParameterStore | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # In __new__, so that subclasses need not call super().__init__().
        layer = super().__new__(cls)
        layer.params, layer.grads, layer.buffers = Arrays(), Arrays(), Arrays()
        layer._store = None
        layer.moved()
        return layer

    def __init__(self) -> None:
        # Rejects arguments, which __new__ would accept.
        super().__init__()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in TRANSIENT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _store=None)
        self.moved()

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the output for a batch, float32 (N, ...).

        If `training`, save the values needed by `backward`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Array) -> Array:
        """Set `grads` and return the gradient with respect to the last training input.

        `dy` is the gradient with respect to the output.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def input_gradient(self, x: Array, dy: Array) -> Array:
        """Return the gradient with respect to the input, in evaluation mode.

        `grads`, buffers and random generators are not changed. A custom layer, and the layers in
        its attributes, run in training mode, because it saves the values needed by `backward` only
        there.

        Parameters
        ----------
        x : ndarray of float32 (N, ...)
        dy : ndarray of float32, same shape as the output

        Returns
        -------
        ndarray of float32, same shape as x

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
        """Set `curvatures` and return the second derivatives for the last training input.

        Only the diagonal of the second derivatives is computed, in the Gauss-Newton approximation,
        which drops terms with the second derivative of an activation (LeCun et al., 1998, eq. 25
        and 27).

        Parameters
        ----------
        d2y : ndarray of float32, same shape as the output
            Second derivative of the loss with respect to each element of the output.
        dy : ndarray of float32, same shape as the output, optional
            First derivatives, for a layer whose second derivatives depend on them. They are passed
            only to the last layer of a model.

        Returns
        -------
        ndarray of float32, same shape as the input

        Raises
        ------
        NotImplementedError
            If the layer does not implement this method.
        RuntimeError
            If ``forward(x, training=True)`` was not called before.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no backward_second; implement it, or use an optimizer "
            "other than SDLM"
        )

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output shape for one sample, by default found by running the layer."""
        return self.forward(np.zeros((2, *input_shape), np.float32)).shape[1:]

    def settings(self) -> dict[str, Any]:
        """Return the constructor arguments, except initializers and generators.

        Values are JSON types: numbers, str, bool, None, lists and dicts.
        ``type(layer)(**layer.settings())`` has the same shapes and behavior, but not the same
        weights. Inner layers are in the form of `lenet5c.nn.describe`.
        """
        kind = type(self).__name__
        raise NotImplementedError(
            f"{kind} has no settings; add a method settings() that returns its constructor "
            "arguments as a dict"
        )

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """Create a layer from its `settings`, in which descriptions have been replaced with layers.

        A named inner layer is a pair ``(name, layer)``.
        """
        return cls(**settings)

    def connections(self, input_shape: Shape) -> int:
        """Return the number of connections: inputs and bias of each unit."""
        return 0

    @property
    def rng_state(self) -> dict[str, Any] | None:
        """JSON-serializable state of the random numbers drawn in training, None if there are none.

        By default, the state of the attribute `rng`, a numpy.random.Generator.
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
        """True if the layer can be part of a compiled program."""
        return False

    def multiply_adds(self, input_shape: Shape) -> int:
        """Return the number of multiplications by a weight for one sample."""
        return 0

    @property
    def num_params(self) -> int:
        """Number of trained values."""
        return sum(array.size for array in self.params.values())

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield the layers that directly hold parameters, with their dotted names, in order."""
        yield prefix.rstrip("."), self

    def all_layers(self) -> Iterator[Layer]:
        """Yield the layer and all its inner layers."""
        yield self

    @property
    def store(self) -> ParameterStore:
        """`ParameterStore` of the layer or of the model that contains it."""
        return self._store or ParameterStore(self)

    @property
    def vector(self) -> Floats:
        """All parameters, contiguous float32; `params` are views into it."""
        return self.store.params[self.store.spans[id(self)]]

    @property
    def grad_vector(self) -> Floats:
        """All gradients, in the order of `vector`."""
        return self.store.grads[self.store.spans[id(self)]]

    @property
    def curvature_vector(self) -> Floats:
        """All second derivatives, in the order of `vector`; initially zeros."""
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
        """Discard caches of parameter addresses, after the store has changed."""

    def gather(self) -> None:
        """Collect the arrays of the inner layers under their dotted names."""

    def __call__(self, x: Array, training: bool = False) -> Array:
        return self.forward(x, training)

    def __repr__(self) -> str:
        """Return the class name with the constructor arguments that are stored as attributes.

        If there are none, the shapes of the parameters are shown.
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
        raise ValueError(
            f"{name} must be float32 with the shape of the output, {shape}, got {found}"
        )


def as_floats(x: Any, owner: str, name: str = "x") -> Floats:
    """Return x as a float32 array, for a layer or model.

    Arrays of float16, bool, and integers of 8 or 16 bits, which float32 represents exactly, are
    converted but not scaled. Other dtypes are rejected, because values would be rounded.
    """
    if type(x) is np.ndarray and x.dtype is FLOAT32:
        return x
    dtype, _, array = real_arrays(**{name: x})
    if dtype != np.float32:
        raise TypeError(
            f"{name} must be a NumPy array of float32 for {owner}, or of a dtype that float32 "
            f"represents exactly, such as uint8, got {getattr(x, 'dtype', type(x).__name__)}; use "
            f"np.asarray({name}, np.float32)"
        )
    (floats,) = plain_arrays(dtype, **{name: array})
    return floats


def as_batch(x: Any, owner: str, name: str = "x") -> Floats:
    """Return a batch of samples as float32, see `as_floats`; raise an error for a single sample."""
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
    """Return a setting in JSON form, with tuples, such as a size or a padding, as lists."""
    return [as_lists(each) for each in value] if isinstance(value, tuple) else value


def _arguments(layer: Layer) -> list[str]:
    """Return the arguments of a custom layer that differ from their defaults, as text.

    The values are taken from its settings, or from attributes of the same names.
    """
    from inspect import signature  # imported here to keep the start of commands fast

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
    """Return True if the repr of an attribute is short and valid as an argument."""
    if isinstance(value, (tuple, list)):
        return len(value) <= 8 and all(_is_plain(each) for each in value)
    return value is None or isinstance(value, (bool, int, float, str, Layer))


def options(layer: Layer, **defaults: Any) -> str:
    """Return the settings of a layer that differ from `defaults`, as arguments for its repr."""
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
    """Return `value` as a bool; it must be True or False."""
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
