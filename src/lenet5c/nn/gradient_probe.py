"""Evaluation of a layer at one input: gradients and finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import listing
from lenet5c.nn.float64 import Chain, Gradients
from lenet5c.nn.layer import TRANSIENT, Layer

Array = NDArray[Any]
Doubles = NDArray[np.float64]

INPUT = "input"
#: Numbers are considered equal within this many standard deviations of rounding error.
SPREAD = 6
#: Steps so small that differences are only rounding error; the last ones also in float32.
TINY = (1e-6, 1e-6, 1e-7, 1e-7)
#: Bounds of the rounding error of a loss, relative to its terms.
MINIMUM, MAXIMUM = 1e-16, 1e-4
#: Relative error of numbers in float32, and the number of neighboring points to try.
ROUNDING32, NEIGHBORS = 3e-7, 4


class Slope(NamedTuple):
    """One-sided slopes of the loss, and their rounding error.

    `direction` is the direction in which elements were moved; its largest component is 1.
    """

    left: float
    right: float
    rounding: float
    direction: Doubles

    @property
    def mean(self) -> float:
        """The central difference."""
        return (self.left + self.right) / 2


class Probe:
    """A layer at one input; its loss is the sum of its outputs times fixed numbers, `dy`.

    `arrays` has the parameters by name, and the input if it is floating-point. Changing an element
    in place changes the loss.
    """

    def __init__(
        self, layer: Layer, x: Array, dtype: type[np.floating], generator: np.random.Generator
    ) -> None:
        self.layer, self.dtype, self.generator = layer, dtype, generator
        self.x = x.astype(dtype) if x.dtype.kind == "f" else x
        self.notes: list[str] = []
        self._states = list(_find_states(layer))
        self._numbers = np.random.get_state()
        self._inputs: dict[str, Array] = {}  # of each layer in a chain
        self.y = self._run()
        if not np.isfinite(self.y).all():
            raise ValueError(
                "layer must have finite outputs, got NaN or infinity; pass a valid input as x"
            )
        drew = _position(np.random.get_state()) != _position(self._numbers)
        if not np.array_equal(self._run(), self.y):
            raise ValueError(
                "layer must have equal outputs for equal inputs, got different ones; draw random "
                "numbers from an attribute that is a numpy.random.Generator"
            )
        if isinstance(layer, Chain) and not drew:
            self._inputs = dict(layer.inputs)
        self.dy: Array = generator.standard_normal(self.y.shape, np.float32).astype(dtype)
        self.arrays = {INPUT: self.x} if self.x.dtype.kind == "f" else {}
        self.owners: dict[str, tuple[Layer, str]] = {}
        for prefix, each in layer.named_layers():
            for name, array in each.params.items():
                whole = f"{prefix}.{name}" if prefix else name
                self.arrays[whole], self.owners[whole] = array, (each, name)
        #: Contents of each gradient before `gradients` was called.
        self.marks: dict[str, Doubles] = {}

    def gradients(self) -> dict[str, Array | None]:
        """Return the gradients of `backward` by name, None for those that it does not set."""
        for whole, (layer, name) in self.owners.items():
            # Marks that show whether a gradient is set, unchanged or added to.
            mark = self.generator.standard_normal(layer.params[name].shape, np.float32)
            layer.grads[name] = mark
            self.marks[whole] = mark.astype(np.float64)
        self._run()
        dy = self.dy.copy()
        found: dict[str, Array | None] = {INPUT: self.layer.backward(dy)}
        self._remark(not np.array_equal(dy, self.dy), "backward writes into dy", "a copy of it")
        for whole, (layer, name) in self.owners.items():
            gradient = np.array(layer.grads[name], np.float64)
            found[whole] = None if np.array_equal(gradient, self.marks[whole]) else gradient
            strange = sorted(layer.grads.keys() - layer.params.keys())
            text = f"grads of {type(layer).__name__} has {listing(map(repr, strange))}"
            wrong = bool(strange) and isinstance(layer.grads, Gradients)
            self._remark(wrong, text, "the name of a parameter")
        return found

    def slope(self, name: str, places: Array, signs: Doubles, factor: float = 1.0) -> Slope:
        """Return the slopes when the elements at these flat indices are moved along `signs`.

        The step is `self.step` times the factor, and times the element if that is larger than 1.
        """
        array = self.arrays[name]
        before = array.flat[places].copy()
        h = self.step * factor * np.maximum(np.abs(before), 1) * signs
        losses, steps = [], []
        for step in (-h, h):
            array.flat[places] = before + step
            steps.append(array.flat[places].astype(np.float64) - before)  # after rounding
            losses.append(self._loss(name))
        array.flat[places] = before
        direction = (steps[1] - steps[0]) / 2
        unit = float(np.abs(direction).max()) or 1.0
        rounding = SPREAD * self.noise / unit
        return Slope(-losses[0] / unit, losses[1] / unit, rounding, direction / unit)

    def neighbors(self) -> Iterator[dict[str, Array | None]]:
        """Yield the gradients at neighboring points, within the rounding error of float32."""
        before = {name: array.copy() for name, array in self.arrays.items()}
        for _ in range(NEIGHBORS):
            for name, array in self.arrays.items():
                array[...] = before[name] + ROUNDING32 * self._direction(before[name])
            yield self.gradients()
        for name, array in self.arrays.items():
            array[...] = before[name]

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the rounding error of the loss.

        Fourth differences over tiny steps are only rounding error, since the loss is linear there.
        A kink would increase them, so the smallest of several estimates is used.
        """
        before = {name: array.copy() for name, array in self.arrays.items()}
        found = []
        for tiny in TINY:
            ways = {name: self._direction(array) for name, array in before.items()}
            losses = []
            for k in range(7):
                for name, array in self.arrays.items():
                    array[...] = before[name] + k * tiny * ways[name]
                losses.append(self._loss())
            found.append(float(np.sqrt(np.mean(np.diff(losses, 4) ** 2) / 70)))
        for name, array in self.arrays.items():
            array[...] = before[name]
        terms = float(np.linalg.norm(self.y * self.dy))
        return max(min(found), float(np.finfo(self.dtype).eps) * terms)

    @cached_property
    def rounding(self) -> float:
        """Rounding error of the loss relative to the size of its terms."""
        size = float(np.abs(self.y * self.dy).sum()) or 1.0
        return float(np.clip(self.noise / size, MINIMUM, MAXIMUM))

    @cached_property
    def step(self) -> float:
        """Difference step that balances the errors of rounding and curvature."""
        return float(np.cbrt(3 * self.rounding))

    def _loss(self, name: str = INPUT) -> float:
        """Return the change of the loss from the unperturbed point."""
        return float(np.vdot(self._run(name) - self.y, self.dy))

    def _run(self, name: str = INPUT) -> Doubles:
        """Return the training outputs, starting at the layer with the parameter `name`."""
        for state in self._states:
            state.restore()
        np.random.set_state(self._numbers)
        first = name.partition(".")[0]
        if first in self._inputs and name != INPUT and isinstance(self.layer, Chain):
            return np.array(self.layer.forward_from(first, self._inputs[first].copy()), np.float64)
        x = self.x.copy()
        y = np.array(self.layer.forward(x, training=True), np.float64)
        changed = not np.array_equal(x, self.x, equal_nan=True)
        self._remark(changed, "forward writes into its input", "a copy of it")
        return y

    def _direction(self, array: Array) -> Doubles:
        signs = self.generator.choice([-1.0, 1.0], array.shape)
        return np.asarray(signs * np.maximum(np.abs(array), 1))

    def _remark(self, is_so: bool, what: str, remedy: str) -> None:
        note = f"Note: {what}; use {remedy}."
        if is_so and note not in self.notes:
            self.notes.append(note)


class State:
    """State of a layer other than parameters and inner layers, saved to repeat a pass exactly.

    This includes numbers and strings, such as counters, as well as buffers and random generators.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        own = vars(layer).items()
        plain = (bool, int, float, str, type(None))
        self.plain = {
            name: value for name, value in own if isinstance(value, plain) and name not in TRANSIENT
        }
        self.buffers = {name: array.copy() for name, array in layer.buffers.items()}
        self.rng_state = layer.rng_state
        self.generators = [
            (value.bit_generator, value.bit_generator.state)
            for _, value in own
            if isinstance(value, np.random.Generator)
        ]

    def restore(self) -> None:
        """Restore the saved state of the layer."""
        vars(self.layer).update(self.plain)
        for name, array in self.buffers.items():
            self.layer.buffers[name][...] = array
        if self.rng_state is not None:
            self.layer.rng_state = self.rng_state
        for bits, state in self.generators:
            bits.state = state


def _find_states(value: Any) -> Iterator[State]:
    """Yield the states of a layer and of the layers in its attributes."""
    if isinstance(value, Layer):
        yield State(value)
        value = {name: each for name, each in vars(value).items() if name != "_store"}
    if isinstance(value, dict):
        for each in value.values():
            yield from _find_states(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _find_states(each)


def _position(state: Any) -> tuple[Any, ...]:
    """Return the part of the `numpy.random` state that changes when a number is drawn."""
    return state[2], state[3], state[1][:2].tolist()
