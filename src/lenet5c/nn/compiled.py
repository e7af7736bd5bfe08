"""Models compiled for inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet5c.kernels.arrays import check_out, deliver
from lenet5c.kernels.engine._program import Inference
from lenet5c.kernels.threads import check_num_threads
from lenet5c.nn.inputs import check_sizes
from lenet5c.nn.layer import Floats, Shape, as_floats

if TYPE_CHECKING:
    from lenet5c.nn.compiled_ensemble import CompiledEnsemble
    from lenet5c.nn.sequential import Sequential


class CompiledModel(Inference):
    """A model compiled for inference on samples of one shape, created by `Sequential.compile`.

    ``compiled(x, out=None)`` returns the outputs for a batch, written to `out` if given: a
    writeable float32 array of the output shape. x is float32 (N, ...) or any other input that
    `forward` accepts, which is converted first. Up to `few` samples are processed one by one, and
    each result is bit-identical to ``model.forward`` of that sample alone; for
    a larger batch, the results are bit-identical to ``model.forward(x)``.

    **Parameters are shared with the model**, not copied: each call uses their current values,
    whether they were changed by an optimizer, by `load_state_dict` or by assignment into an array.
    Packed filters are cached between calls; each call compares the parameters bitwise with the
    values that were packed, and packs those that have changed again.

    **Thread safety.** Any number of Python threads may call the model at the same time: each
    running call has its own memory, which later calls reuse, and the GIL is released during the
    computation. As with `forward`, no thread may change parameters while another one is using them.

    Attributes
    ----------
    model : Sequential
    input_shape, output_shape : tuple of int
        Shapes of one sample.
    few : int
        Maximum number of samples to process one by one: 5 to 16, or 0 if the model does not support
        it.
    """

    def __init__(self, model: Sequential, input_shape: Shape, num_threads: int | None) -> None:
        check_compiled(model)
        self.model, self.input_shape = model, input_shape
        self._num_threads = 0 if num_threads is None else check_num_threads(num_threads)
        try:
            check_sizes(model, "x", (1, *input_shape))
        except ValueError as error:
            raise ValueError(
                f"input_shape must fit the model, got {input_shape}: {error}"
            ) from None
        self.bind()

    if TYPE_CHECKING:

        def __call__(self, x: Any, out: Floats | None = None) -> Floats: ...

    def bind(self) -> None:
        """Bind to the current program and parameters of the model."""
        chain = self.model.whole_chain()
        assert chain is not None  # a model of compiled layers has one
        program = chain.program(self.input_shape)
        self.output_shape: Shape = program.output_shape
        self.few: int = program.few if program.by_sample else 0
        self.bind_program(program, chain.store, chain.params, self._num_threads)

    def convert(self, x: Any, out: Any) -> Floats:
        """Return the outputs for an array that must be converted first."""
        x = as_floats(x, type(self.model).__name__)
        check_sizes(self.model, "x", x.shape)
        if x.shape[1:] != self.input_shape:
            raise ValueError(
                f"x must have shape (N, {', '.join(map(str, self.input_shape))}), for which "
                f"the model was compiled, got {x.shape}; compile the model for this shape"
            )
        shape = (len(x), *self.output_shape)
        check_out("out", out, shape, np.dtype(np.float32))
        y = np.empty(shape, np.float32)
        if len(x):
            self(np.require(x, np.float32, ("C", "A", "E")), y)
        return deliver(y, out)

    def __reduce__(self) -> Any:
        return type(self), (self.model, self.input_shape, self._num_threads or None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {type(self.model).__name__}: {self.input_shape}>"


def compile_model(
    model: Sequential, input_shape: Shape, num_threads: int | None
) -> CompiledModel | CompiledEnsemble:
    """Return a function of a model's outputs; an ensemble makes its own."""
    layers = list(model.flat_layers())
    if len(layers) == 1 and (own := getattr(layers[0], "compile", None)):
        compiled: CompiledEnsemble = own(model, input_shape, num_threads)
        return compiled
    return CompiledModel(model, input_shape, num_threads)


def check_compiled(model: Sequential) -> None:
    """Raise an error unless the model runs as one program."""
    for path, layer in model.flat_items():
        if not layer.compiled:
            kind = type(layer).__name__
            raise TypeError(
                f"model must consist of layers with a compiled form, got {path!r}, "
                f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind} written in NumPy; call model.forward"
            )
