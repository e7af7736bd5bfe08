"""Layers that run in the compiled core, and the chains of them that run as one program."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.kernels import threads
from lenet5c.kernels.arrays import rows
from lenet5c.kernels.engine import lowering, ops
from lenet5c.kernels.engine._program import Program
from lenet5c.kernels.engine.samples import Samples
from lenet5c.kernels.simd import dispatch
from lenet5c.nn.layer import Floats, Layer, ParameterStore, Shape, as_batch, check_gradient
from lenet5c.nn.loss import Loss

Labels = NDArray[Any]
# The place of a parameter in the flat vector by its name: an int, or None if there is none.
Offset = Callable[[str], Any]
# That function of a layer.
Places = Callable[[Layer], Offset]

# A chain caches the programs of the input shapes it has met lately.
CACHED_PROGRAMS = 8


class TileLayer(Layer):
    """A layer that is one tile op: a program of its own, or in a model part of a longer one."""

    _chain: "TileChain | None"

    def tile_op(self, offset: Offset) -> ops.Op:
        """Return the layer's `ops.Op`; ``offset(name)`` is a parameter's place, or None."""
        raise NotImplementedError

    def tile_ops(self, places: Places) -> list[ops.Op]:
        """Return the ops of a program that do what the layer does."""
        return [self.tile_op(places(self))]

    def output_shape(self, input_shape: Shape) -> Shape:
        raise NotImplementedError

    @property
    def compiled(self) -> bool:
        return True

    def moved(self) -> None:
        self._chain = None

    @property
    def chain(self) -> "TileChain":
        """The layer as a chain of one."""
        if self._chain is None:
            self._chain = TileChain([self], self.store)
        return self._chain

    def forward(self, x: Floats, training: bool = False) -> Floats:
        """Return the layer's output.

        Parameters
        ----------
        x : ndarray of float32 (N, ...)
            Or of a dtype that float32 holds exactly, such as uint8 or float16.
        training : bool
            Save x (not a copy, if it is of float32) for `backward`.

        Returns
        -------
        ndarray of float32 (N, ...)
        """
        return self.chain.forward(as_batch(x, type(self).__name__), training)

    def backward(self, dy: Floats) -> Floats:
        """Set `grads`, and return the gradient of the last x of ``forward(x, training=True)``.

        Parameters
        ----------
        dy : ndarray of float32, of the output's shape

        Returns
        -------
        ndarray of float32, of the input's shape
        """
        return self.chain.backward(dy)


class TileChain:
    """Neighboring tile layers that run as one program.

    Activations live in the arenas of the program and are gone after a call: `backward` computes
    them anew from the saved input, tile by tile, so memory does not grow with the batch. A few
    samples go one by one, which is faster.
    """

    def __init__(self, layers: Sequence[TileLayer], store: ParameterStore) -> None:
        self.layers = layers
        self.store = store
        self.programs: OrderedDict[tuple[Shape, bool], Program] = OrderedDict()
        self.saved: Floats | None = None
        leaves = [leaf for layer in layers for _, leaf in layer.named_layers()]
        offsets = [store.offsets[id(leaf), name] for leaf in leaves for name in leaf.params]
        self.start = min(offsets, default=0)
        self.stop = self.start + sum(layer.num_params for layer in layers)

    @property
    def params(self) -> Floats:
        """The parameters of the chain."""
        return self.store.params[self.start : self.stop]

    @property
    def grads(self) -> Floats:
        """The gradients of the chain."""
        return self.store.grads[self.start : self.stop]

    def forward(self, x: Floats, training: bool = False) -> Floats:
        """Return the output for a batch; with `training`, save x."""
        y = self.run(x, x.shape[1:])
        self.saved = x if training else None
        return y

    def run(self, samples: Samples | Floats, shape: Shape) -> Floats:
        """Return the outputs for samples of this shape."""
        program = self.program(shape)
        y = np.empty((len(samples), *program.output_shape), np.float32)
        batch = rows(samples) if isinstance(samples, np.ndarray) else samples
        program.forward(batch, self.params, rows(y), threads.effective(), by_sample=True)
        return y

    def backward(self, dy: Floats, need_dx: bool = True) -> Floats:
        """Set the gradients, and return that of the saved input, if needed (else it is empty)."""
        x = self.saved_input("backward")
        program = self.program(x.shape[1:])
        check_gradient(dy, (len(x), *program.output_shape))
        dx = np.empty(x.shape if need_dx else 0, np.float32)
        program.backward(
            rows(x),
            rows(dy),
            self.params,
            self.grads,
            rows(dx) if need_dx else None,
            threads.effective(),
            by_sample=True,
        )
        return dx

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Set `curvatures`, and return the second derivatives by the saved input.

        Layer by layer, since the squares of eq. 27 are taken between the layers.
        """
        x = self.saved_input("backward_second")
        for layer in self.layers:
            x = layer.forward(x, training=True)
        for layer in reversed(self.layers):
            d2y, dy = layer.backward_second(d2y, dy), None
        for layer in self.layers:
            layer.chain.saved = None  # whole activations of the batch
        return d2y

    def backward_squared(self, d2y: Floats, squared: Floats | None = None) -> Floats:
        """Do `backward_second` of one layer whose outputs are sums of weight times input.

        That is `backward` with weights and inputs squared; `squared` are the latter, if not each by
        itself. The sums go by their definition: those of Winograd's algorithm could round below
        zero.
        """
        x = self.saved_input("backward_second")
        program = self.program(x.shape[1:], definition=True)
        check_gradient(d2y, (len(x), *program.output_shape), "d2y")
        d2x = np.empty(x.shape, np.float32)
        curvatures = self.store.curvatures[self.start : self.stop]
        squared = x * x if squared is None else squared
        program.backward(
            rows(squared), rows(d2y), self.params**2, curvatures, rows(d2x), threads.effective()
        )
        return d2x

    def saved_input(self, caller: str) -> Floats:
        """Return the input of the last training `forward`."""
        if self.saved is None:
            raise RuntimeError(f"{caller} needs a forward(x, training=True) before it")
        return self.saved

    def train_step(
        self, samples: Samples, labels: Labels, loss: Loss, sample_weight: ArrayLike | None = None
    ) -> tuple[float, int]:
        """Return loss and correct answers of a batch, and set the gradients, in one sweep."""
        program, step = self.prepare_step(samples, labels, loss, sample_weight)
        return program.train_step(**step)

    def prepare_step(
        self, samples: Samples, labels: Labels, loss: Loss, sample_weight: ArrayLike | None = None
    ) -> tuple[Program, dict[str, Any]]:
        """Return the program of training steps, and its arguments by name."""
        program = self.program(samples.shape)
        outputs = len(samples), prod(program.output_shape)
        return program, {
            "samples": samples,
            "params": self.params,
            "grads": self.grads,
            "num_threads": threads.effective(),
            "by_sample": True,
            **loss.arguments(labels, outputs, sample_weight),
        }

    def program(self, input_shape: Shape, definition: bool = False) -> Program:
        """Return the program for samples of this shape."""
        # Other threads may do the same meanwhile: each step leaves the cache usable, and the
        # program is in hand.
        key = (input_shape, definition)
        program = self.programs.get(key)
        if program is None:
            plan = self.plan(input_shape, definition)
            program = self.programs[key] = Program(plan, dispatch.tiles)
            if len(self.programs) > CACHED_PROGRAMS:
                with suppress(KeyError):
                    self.programs.popitem(last=False)
        return program

    def plan(self, input_shape: Shape, definition: bool = False) -> lowering.Plan:
        """Return the plan of the program, after each layer has checked its input's shape."""
        shape, described = input_shape, []
        for layer in self.layers:
            shape = layer.output_shape(shape)
            described += layer.tile_ops(self._places)
        return lowering.lower(input_shape, described, definition)

    def _places(self, layer: Layer) -> Offset:
        def offset(name: str) -> int | None:
            at = self.store.offset(layer, name)
            return None if at is None else at - self.start

        return offset
