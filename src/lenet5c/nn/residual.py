"""Residual connections."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, Self

import numpy as np

from lenet5c.kernels.engine import branches, ops
from lenet5c.nn.composite import Composite
from lenet5c.nn.layer import Floats, Layer, Shape, as_batch, check_gradient
from lenet5c.nn.parameter_store import ParameterStore
from lenet5c.nn.registry import describe
from lenet5c.nn.sequential import Sequential
from lenet5c.nn.tile_layer import Places, TileChain, TileLayer

__all__ = ["Residual"]


class Residual(Composite, TileLayer):
    """Add the input, or the output of a shortcut, to the output of a chain of layers.

    Compiled layers run as part of one program, without copying any values; if a layer is written in
    NumPy, the branches run separately.

    Parameters
    ----------
    *layers : Layer
        Layers of the main branch, see `Sequential`.
    shortcut : Layer, optional
        A layer or `Sequential` applied to the input of the shortcut branch, such as a 1 by 1
        convolution if the main branch changes the number or size of the maps. By default, the input
        itself is added.

    Attributes
    ----------
    layers : Sequential
    shortcut : Layer or None
    params : parameters of both branches, such as 'layers.0.weight' and 'shortcut.weight'

    Raises
    ------
    ValueError
        In `forward` and `output_shape`, if the outputs of the branches differ in shape.

    Notes
    -----
    With ``s(x) = x`` if there is no shortcut::

        y = layers(x) + s(x)
        dx = dy through the layers + dy through s

    After He et al. (2016), Deep residual learning for image recognition.

    Reference: `lenet5c.reference.residual`.

    Examples
    --------
    >>> from lenet5c import nn
    >>> block = nn.Residual(
    ...     nn.Conv2d(16, 32, 3, stride=2, padding=1, rng=0),
    ...     nn.ReLU(),
    ...     nn.Conv2d(32, 32, 3, padding=1, rng=1),
    ...     shortcut=nn.Conv2d(16, 32, 1, stride=2, rng=2),
    ... )
    >>> block.output_shape((16, 8, 8))
    (32, 4, 4)
    >>> list(block.params)[::2]
    ['layers.0.weight', 'layers.2.weight', 'shortcut.weight']
    """

    def __init__(
        self,
        *layers: Layer | Sequence[Layer] | Sequence[tuple[str, Layer]] | Mapping[str, Layer],
        shortcut: Layer | None = None,
    ) -> None:
        if shortcut is not None and not isinstance(shortcut, Layer):
            raise TypeError(
                f"shortcut must be a lenet5c.nn.Layer or None, got {type(shortcut).__name__}"
            )
        self.layers = Sequential(*layers)
        self.shortcut = shortcut
        ids = [id(each) for branch in self.branches() for each in branch.all_layers()]
        if len(set(ids)) < len(ids):
            raise ValueError(
                "shortcut must not share layers with the main branch, got a shared layer; use a "
                "separate layer"
            )
        ParameterStore(self)

    @property
    def compiled(self) -> bool:
        return all(branch.compiled for branch in self.branches())

    @property
    def chain(self) -> TileChain:
        assert self.store  # raises if a layer belongs to another model
        return super().chain

    def forward(self, x: Floats, training: bool = False) -> Floats:
        """Return the sum of both branches.

        Parameters
        ----------
        x : ndarray of float32 (N, ...)
            Or of a dtype that float32 represents exactly, such as uint8 or float16.
        training : bool
            Save the values needed by `backward`.

        Returns
        -------
        ndarray of float32 (N, ...)
        """
        if self.compiled:
            return super().forward(x, training)
        x = as_batch(x, "Residual")
        y, added = self.layers.forward(x, training), x
        if self.shortcut is not None:
            added = np.asarray(self.shortcut.forward(x, training), np.float32)
        self._check_shapes(x.shape[1:], y.shape[1:], added.shape[1:])
        return y + added

    def backward(self, dy: Floats) -> Floats:
        """Set `grads` and return the sum of the gradients of both branches."""
        if self.compiled:
            return super().backward(dy)
        dx = self.layers.backward(dy)
        return dx + (dy if self.shortcut is None else self.shortcut.backward(dy))

    def input_gradient(self, x: Floats, dy: Floats) -> Floats:
        if self.compiled:
            return super().input_gradient(x, dy)
        dx = self.layers.input_gradient(x, dy)
        return dx + (dy if self.shortcut is None else self.shortcut.input_gradient(x, dy))

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Return the sum of the second derivatives of both branches.

        The branches are treated as separate connections whose weights are squared individually (eq.
        27), without the Gauss-Newton terms that mix them.
        """
        if self.compiled:
            x = self.chain.saved_input("backward_second")
            check_gradient(d2y, (len(x), *self.output_shape(x.shape[1:])), "d2y")
            with self.chain.pass_again():
                for branch in self.branches():
                    branch.forward(x, training=True)
        d2x = self.layers.backward_second(d2y)
        return d2x + (d2y if self.shortcut is None else self.shortcut.backward_second(d2y))

    def tile_ops(self, places: Places, training: bool = False) -> list[ops.Op]:
        found: list[list[ops.Op]] = [[], []]
        for branch, described in zip(self.branches(), found, strict=False):
            leaves = branch.flat_layers() if isinstance(branch, Sequential) else [branch]
            for leaf in leaves:
                assert isinstance(leaf, TileLayer)
                described += leaf.tile_ops(places, training)
        return [branches.Residual(*found)]

    def settings(self) -> dict[str, Any]:
        shortcut = None if self.shortcut is None else describe(self.shortcut)
        return {"layers": self.layers.settings()["layers"], "shortcut": shortcut}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        others = {name: value for name, value in settings.items() if name != "layers"}
        return cls(settings["layers"], **others)

    def output_shape(self, input_shape: Shape) -> Shape:
        y = self.layers.output_shape(input_shape)
        added = input_shape if self.shortcut is None else self.shortcut.output_shape(input_shape)
        self._check_shapes(tuple(input_shape), tuple(y), tuple(added))
        return y

    def connections(self, input_shape: Shape) -> int:
        """Return the connections of both branches, plus two for each sum."""
        within = sum(branch.connections(input_shape) for branch in self.branches())
        return within + 2 * prod(self.output_shape(input_shape))

    def multiply_adds(self, input_shape: Shape) -> int:
        return sum(branch.multiply_adds(input_shape) for branch in self.branches())

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        yield from self.layers.named_layers(f"{prefix}layers.")
        if self.shortcut is not None:
            yield from self.shortcut.named_layers(f"{prefix}shortcut.")

    def all_layers(self) -> Iterator[Layer]:
        yield self
        for branch in self.branches():
            yield from branch.all_layers()

    def branches(self) -> list[Layer]:
        """Return the main branch, and the shortcut if there is one."""
        return [self.layers] if self.shortcut is None else [self.layers, self.shortcut]

    def _check_shapes(self, x: Shape, y: Shape, added: Shape) -> None:
        if y == added:
            return
        remedy = ""
        if self.shortcut is None and len(x) == len(y) == 3:
            stride = tuple(-(-a // b) for a, b in zip(x[1:], y[1:], strict=True))
            if tuple(-(-a // s) for a, s in zip(x[1:], stride, strict=True)) == y[1:]:
                stride_text = stride[0] if stride[0] == stride[1] else stride
                remedy = f"; use shortcut=nn.Conv2d({x[0]}, {y[0]}, 1, stride={stride_text})"
            elif all(a > b for a, b in zip(x[1:], y[1:], strict=True)):
                remedy = "; pad the convolutions of the main branch"
                if x[0] != y[0]:
                    remedy += f", and use shortcut=nn.Conv2d({x[0]}, {y[0]}, 1)"
        elif self.shortcut is None and len(x) == len(y) == 1:
            remedy = f"; use shortcut=nn.Linear({x[0]}, {y[0]})"
        raise ValueError(
            f"shortcut must have the output shape of the main branch, {y}, got {added}{remedy}"
        )

    def __repr__(self) -> str:
        def indent(text: str) -> str:
            return text.replace("\n", "\n  ")

        inner = "".join(
            f"\n  {name}: {indent(repr(layer))}" for name, layer in self.layers.layers.items()
        )
        if self.shortcut is not None:
            inner += f"\n  shortcut: {indent(repr(self.shortcut))}"
        return f"Residual({inner}\n)"
