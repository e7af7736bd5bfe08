"""Layers that run in the compiled core, and the chains of them that run as one program."""

from collections import OrderedDict
from contextlib import suppress
from math import prod

import numpy as np

from lenet5c.kernels import threads
from lenet5c.kernels.arrays import rows
from lenet5c.kernels.engine import lowering
from lenet5c.kernels.engine._program import Program
from lenet5c.kernels.simd import dispatch
from lenet5c.nn.layer import Layer, check_batch, check_gradient

# A chain keeps the programs of the input shapes it has met lately.
KEPT_PROGRAMS = 8


class TileLayer(Layer):
    """A layer that is one tile op: a program of its own, or in a model part of a longer one."""

    def tile_op(self, offset):
        """Return the layer's `ops.Op`; ``offset(name)`` is a parameter's place, or None."""
        raise NotImplementedError

    def output_shape(self, input_shape):
        raise NotImplementedError

    def moved(self):
        self._chain = None

    @property
    def chain(self):
        if self._chain is None:
            self._chain = TileChain([self], self.home)
        return self._chain

    def forward(self, x, training=False):
        """Return the layer's output.

        Parameters
        ----------
        x : ndarray of float32 (N, ...)
        training : bool
            Keep x (not a copy) for `backward`.

        Returns
        -------
        ndarray of float32 (N, ...)
        """
        return self.chain.forward(x, training)

    def backward(self, dy):
        """Set `grads`, and return the gradient of the x last given to ``forward(x,
        training=True)``.

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

    def __init__(self, layers, home):
        self.layers = layers
        self.home = home
        self.programs = OrderedDict()
        self.saved = None
        offsets = [home.offset(layer, name) for layer in layers for name in layer.params]
        self.start = min(offsets, default=0)
        self.stop = self.start + sum(layer.num_params for layer in layers)

    @property
    def params(self):
        return self.home.params[self.start : self.stop]

    @property
    def grads(self):
        return self.home.grads[self.start : self.stop]

    def forward(self, x, training=False):
        program = self.program(x)
        y = np.empty((len(x), *program.output_shape), np.float32)
        program.forward(rows(x), self.params, rows(y), threads.effective(), by_sample=True)
        self.saved = x if training else None
        return y

    def backward(self, dy, need_dx=True):
        x = self.saved_input("backward")
        program = self.program(x)
        check_gradient(dy, (len(x), *program.output_shape))
        dx = np.empty(x.shape, np.float32) if need_dx else None
        dx_rows = rows(dx) if need_dx else None
        program.backward(
            rows(x), rows(dy), self.params, self.grads, dx_rows, threads.effective(), by_sample=True
        )
        return dx

    def backward_second(self, d2y, dy=None):
        """Set the layers' `curvatures`, and return the second derivatives by the saved input: layer
        by layer.

        The squares of eq. 27 are taken between the layers, so a chain of several is not one program
        here.
        """
        x = self.saved_input("backward_second")
        for layer in self.layers:
            x = layer.forward(x, training=True)
        for layer in reversed(self.layers):
            d2y, dy = layer.backward_second(d2y, dy), None
        for layer in self.layers:
            layer.chain.saved = None  # whole activations of the batch
        return d2y

    def backward_squared(self, d2y, squared=None):
        """Of one layer whose outputs are sums of weight times input: `backward` with both squared,
        into `curvatures`.

        `squared` are the inputs squared, if not each by itself. The sums go by their definition:
        those of Winograd's algorithm could round below zero.
        """
        x = self.saved_input("backward_second")
        program = self.program_for(x.shape[1:], definition=True)
        check_gradient(d2y, (len(x), *program.output_shape), "d2y")
        d2x = np.empty(x.shape, np.float32)
        curvatures = self.home.curvatures[self.start : self.stop]
        squared = x * x if squared is None else squared
        program.backward(
            rows(squared), rows(d2y), self.params**2, curvatures, rows(d2x), threads.effective()
        )
        return d2x

    def saved_input(self, caller):
        if self.saved is None:
            raise RuntimeError(f"{caller} needs a forward(x, training=True) before it")
        return self.saved

    def run(self, samples):
        """Return the outputs of `Samples`."""
        program = self.program_for(samples.shape)
        y = np.empty((len(samples), *program.output_shape), np.float32)
        program.forward(samples, self.params, rows(y), threads.effective(), by_sample=True)
        return y

    def train_step(self, samples, labels, loss):
        """Return loss and correct answers of a batch, and set the gradients, in one sweep."""
        program = self.program_for(samples.shape)
        return program.train_step(
            samples,
            labels,
            self.params,
            self.grads,
            threads.effective(),
            **_loss_of(loss, labels, program),
        )

    def train_steps(self, samples, labels, loss, batch_size, update, record):
        """Take steps as `Sequential.train_steps` does."""
        program = self.program_for(samples.shape)
        program.train_steps(
            samples,
            labels,
            self.params,
            self.grads,
            threads.effective(),
            batch_size,
            update,
            record,
            **_loss_of(loss, labels, program),
        )

    def program(self, x):
        check_batch(x, type(self.layers[0]).__name__)
        return self.program_for(x.shape[1:])

    def program_for(self, input_shape, definition=False):
        # Other threads may do the same meanwhile: each step leaves the table usable, and the
        # program is in hand.
        key = (input_shape, definition)
        program = self.programs.get(key)
        if program is None:
            program = self.programs[key] = Program(
                self.plan(input_shape, definition), dispatch.tiles
            )
            if len(self.programs) > KEPT_PROGRAMS:
                with suppress(KeyError):
                    self.programs.popitem(last=False)
        return program

    def plan(self, input_shape, definition=False):
        shape, ops = input_shape, []
        for layer in self.layers:
            # Each layer checks what it gets, in its own words.
            shape = layer.output_shape(shape)
            ops.append(layer.tile_op(self.place(layer)))
        return lowering.lower(input_shape, ops, definition)

    def place(self, layer):
        def offset(name):
            at = self.home.offset(layer, name)
            return None if at is None else at - self.start

        return offset


def _loss_of(loss, labels, program):
    """The loss as a program takes it, sample by sample where there are few."""
    targets = loss.targets(labels, prod(program.output_shape))
    return {"loss": loss.kind, "setting": loss.setting, "targets": targets, "by_sample": True}
