"""Compiled layers, and chains of layers that run as one program."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
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
from lenet5c.nn.layer import Floats, Layer, Shape, as_batch, as_floats, check_gradient
from lenet5c.nn.loss import Loss
from lenet5c.nn.parameter_store import ParameterStore

Labels = NDArray[Any]
# Maps a parameter name to its offset in the flat vector, or None if there is none.
Offset = Callable[[str], Any]
# Returns the `Offset` function of a layer.
Places = Callable[[Layer], Offset]

# Number of input shapes whose programs a chain caches.
CACHED_PROGRAMS = 8


class TileLayer(Layer):
    """A layer that is one tile op, run as a program of its own or as part of a model's program."""

    _chain: "TileChain | None"

    def tile_op(self, offset: Offset) -> ops.Op:
        """Return the layer's `ops.Op`; ``offset(name)`` is the offset of a parameter, or None."""
        raise NotImplementedError

    def training_op(self, offset: Offset) -> ops.Op:
        """Return the layer's `ops.Op` in training."""
        return self.tile_op(offset)

    @property
    def training_settings(self) -> Hashable:
        """Settings that `training_op` depends on, None if it equals `tile_op`."""
        return None

    def tile_ops(self, places: Places, training: bool = False) -> list[ops.Op]:
        """Return the ops that implement the layer in a program."""
        op_of = self.training_op if training else self.tile_op
        return [op_of(places(self))]

    def output_shape(self, input_shape: Shape) -> Shape:
        raise NotImplementedError

    @property
    def compiled(self) -> bool:
        return True

    def moved(self) -> None:
        self._chain = None

    @property
    def chain(self) -> "TileChain":
        """A chain that contains only this layer."""
        if self._chain is None:
            self._chain = TileChain([self], self.store)
        return self._chain

    def forward(self, x: Floats, training: bool = False) -> Floats:
        """Return the layer's output.

        Parameters
        ----------
        x : ndarray of float32 (N, ...)
            Or of a dtype that float32 represents exactly, such as uint8 or float16.
        training : bool
            Save x for `backward`, without copying it if it is float32.

        Returns
        -------
        ndarray of float32 (N, ...)
        """
        return self.chain.forward(as_batch(x, type(self).__name__), training)

    def backward(self, dy: Floats) -> Floats:
        """Set `grads` and return the gradient with respect to the x of the last training `forward`.

        Parameters
        ----------
        dy : ndarray of float32, same shape as the output

        Returns
        -------
        ndarray of float32, same shape as the input
        """
        return self.chain.backward(dy)

    def input_gradient(self, x: Floats, dy: Floats) -> Floats:
        return self.chain.input_gradient(as_batch(x, type(self).__name__), dy)


class Elementwise(TileLayer):
    """Base class of elementwise layers, for arrays of any shape."""

    _shape: Shape = ()  # of the last input

    def output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def forward(self, x: Floats, training: bool = False) -> Floats:
        """Return the output for each element.

        Parameters
        ----------
        x : ndarray of float32, of any shape
            Or of a dtype that float32 represents exactly, such as uint8 or float16.
        training : bool
            Save x for `backward`, without copying it if it is float32.

        Returns
        -------
        ndarray of float32, same shape as x
        """
        x = as_floats(x, type(self).__name__)
        self._shape = x.shape
        batch = _batch(self._shape)
        if batch is self._shape:
            return self.chain.forward(x, training)
        return self.chain.forward(x.reshape(batch), training).reshape(x.shape)

    def backward(self, dy: Floats) -> Floats:
        """Return the gradient with respect to the x of the last training `forward`."""
        self.chain.saved_input("backward")
        check_gradient(dy, self._shape)
        batch = _batch(self._shape)
        if batch is self._shape:
            return self.chain.backward(dy)
        return self.chain.backward(dy.reshape(batch)).reshape(dy.shape)

    def input_gradient(self, x: Floats, dy: Floats) -> Floats:
        x = as_floats(x, type(self).__name__)
        check_gradient(dy, x.shape)
        batch = _batch(x.shape)
        return self.chain.input_gradient(x.reshape(batch), dy.reshape(batch)).reshape(x.shape)


class TileChain:
    """Adjacent tile layers that run as one program.

    Activations are stored in the arenas of the program only during a call: `backward` recomputes
    them from the saved input, tile by tile, so memory does not grow with the batch, except with
    batch normalization. Small batches are processed one sample at a time, which is faster.
    """

    def __init__(self, layers: Sequence[TileLayer], store: ParameterStore) -> None:
        self.layers = layers
        self.store = store
        self.programs: OrderedDict[tuple[Shape, bool, Hashable], Program] = OrderedDict()
        self.saved: Floats | None = None
        # Of the pass that saved it: settings of its program, numbers of the dropout masks.
        self.saved_settings: Hashable = None
        self.saved_draws: NDArray[np.int64] | None = None
        within = [each for layer in layers for each in layer.all_layers()]
        self.changing = [
            layer
            for layer in within
            if isinstance(layer, TileLayer) and layer.training_settings is not None
        ]
        leaves = [leaf for layer in layers for _, leaf in layer.named_layers()]
        offsets = [store.offsets[id(leaf), name] for leaf in leaves for name in leaf.params]
        self.start = min(offsets, default=0)
        self.stop = self.start + sum(layer.num_params for layer in layers)

    @property
    def params(self) -> Floats:
        """Parameters of the chain."""
        return self.store.params[self.start : self.stop]

    @property
    def grads(self) -> Floats:
        """Gradients of the chain."""
        return self.store.grads[self.start : self.stop]

    @property
    def training_settings(self) -> Hashable:
        """Settings that distinguish the training program, None if it is the same."""
        return tuple(layer.training_settings for layer in self.changing) or None

    def forward(self, x: Floats, training: bool = False) -> Floats:
        """Return the output for a batch; if `training`, save x."""
        settings = self.training_settings if training and self.changing else None
        y, draws = self._run(self.program(x.shape[1:], settings=settings), rows(x))
        self.saved = x if training else None
        self.saved_settings, self.saved_draws = settings, draws
        return y

    def run(self, samples: Samples | Floats, shape: Shape) -> Floats:
        """Return the outputs for samples of this shape, or for their rows; save nothing."""
        return self._run(self.program(shape), samples)[0]

    def _run(
        self, program: Program, samples: Samples | Floats
    ) -> tuple[Floats, NDArray[np.int64] | None]:
        y = np.empty((len(samples), *program.output_shape), np.float32)
        count = threads.effective()
        return y, program.forward(samples, self.params, rows(y), count, by_sample=True)

    def backward(self, dy: Floats, need_dx: bool = True) -> Floats:
        """Set the gradients and return that of the saved input, empty if not `need_dx`."""
        x = self.saved_input("backward")
        program = self.program(x.shape[1:], settings=self.saved_settings)
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
            draws=self.saved_draws,
        )
        return dx

    def input_gradient(self, x: Floats, dy: Floats) -> Floats:
        """Return the gradient with respect to the input x in evaluation mode."""
        program = self.program(x.shape[1:])
        check_gradient(dy, (len(x), *program.output_shape))
        dx, unused = np.empty(x.shape, np.float32), np.empty_like(self.params)
        count = threads.effective()
        program.backward(rows(x), rows(dy), self.params, unused, rows(dx), count, by_sample=True)
        return dx

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Set `curvatures` and return the second derivatives with respect to the saved input.

        This runs layer by layer, because eq. 27 squares values between the layers.
        """
        x = self.saved_input("backward_second")
        with self.pass_again():
            for layer in self.layers:
                x = layer.forward(x, training=True)
            for layer in reversed(self.layers):
                d2y, dy = layer.backward_second(d2y, dy), None
        for layer in self.layers:
            layer.chain.saved = None  # frees the activations of the whole batch
        return d2y

    @contextmanager
    def pass_again(self) -> Iterator[None]:
        """Repeat the last training pass layer by layer, without counting it."""
        counters = self.program(
            self.saved_input("").shape[1:], settings=self.saved_settings
        ).counters
        changing = [array for layer in self.changing for array in layer.buffers.values()]
        before = [array.copy() for array in (*counters, *changing)]
        draws: Any = self.saved_draws if counters else ()
        for counter, number in zip(counters, draws, strict=True):
            counter[0] = number
        try:
            yield
        finally:
            for array, values in zip((*counters, *changing), before, strict=True):
                array[...] = values

    def backward_squared(self, d2y: Floats, squared: Floats | None = None) -> Floats:
        """Implement `backward_second` for one layer whose outputs are sums of weight times input.

        This is `backward` with squared weights and inputs; `squared` replaces the elementwise
        square of the inputs. The sums are computed directly, since Winograd's algorithm could round
        them below zero.
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
            raise RuntimeError(f"{caller} must be called after forward(x, training=True)")
        return self.saved

    def train_step(
        self, samples: Samples, labels: Labels, loss: Loss, sample_weight: ArrayLike | None = None
    ) -> tuple[float, int]:
        """Return the loss and number of correct predictions of a batch, and set the gradients."""
        program, step = self.prepare_step(samples, labels, loss, sample_weight)
        return program.train_step(**step)

    def prepare_step(
        self, samples: Samples, labels: Labels, loss: Loss, sample_weight: ArrayLike | None = None
    ) -> tuple[Program, dict[str, Any]]:
        """Return the program of training steps and its arguments by name."""
        program = self.program(samples.shape, settings=self.training_settings)
        outputs = len(samples), prod(program.output_shape)
        return program, {
            "samples": samples,
            "params": self.params,
            "grads": self.grads,
            "num_threads": threads.effective(),
            "by_sample": True,
            **loss.arguments(labels, outputs, sample_weight),
        }

    def program(
        self, input_shape: Shape, definition: bool = False, settings: Hashable = None
    ) -> Program:
        """Return the program for samples of this shape; `settings` selects a training program."""
        # Other threads may do the same at the same time: each step leaves the cache valid, and
        # this thread holds the program.
        key = (input_shape, definition, settings)
        program = self.programs.get(key)
        if program is None:
            plan = self.plan(input_shape, definition, training=settings is not None)
            program = self.programs[key] = Program(plan, dispatch.tiles)
            if len(self.programs) > CACHED_PROGRAMS:
                with suppress(KeyError):
                    self.programs.popitem(last=False)
        return program

    def plan(
        self, input_shape: Shape, definition: bool = False, training: bool = False
    ) -> lowering.Plan:
        """Return the plan of the program, after each layer has checked the shape of its input."""
        shape, described = input_shape, []
        for layer in self.layers:
            shape = layer.output_shape(shape)
            described += layer.tile_ops(self._places, training)
        return lowering.lower(input_shape, described, definition)

    def _places(self, layer: Layer) -> Offset:
        def offset(name: str) -> int | None:
            at = self.store.offset(layer, name)
            return None if at is None else at - self.start

        return offset


def make_segments(layers: Iterable[Layer], store: ParameterStore) -> list[TileChain | Layer]:
    """Return runs of compiled layers, each as a `TileChain`, and other layers, one by one."""
    segments: list[TileChain | Layer] = []
    for compiled, run in groupby(layers, lambda layer: layer.compiled):
        if compiled:
            tiles = [layer for layer in run if isinstance(layer, TileLayer)]
            segments.append(TileChain(tiles, store))
        else:
            segments += run
    return segments


def _batch(shape: Shape) -> Shape:
    """Return the shape of a batch with these elements, as one row if there is no batch axis."""
    if 0 in shape:
        return (0, 1)
    return shape if len(shape) > 1 else (1, prod(shape))
