"""A model compiled for inference: one call from array to array."""

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
    """The outputs of a model for samples of one shape; `Sequential.compile` makes it.

    ``compiled(x, out=None)`` returns the outputs for a batch, in `out` if there is one: a writeable
    array of float32 of their shape. x is float32 (N, ...) or what `forward` takes beside that,
    which is converted first. Up to `few` samples go one by one, on several threads, and each has
    the bits of ``model.forward`` for it alone; a larger batch has those of ``model.forward(x)``.

    **The parameters are the model's own**, not a copy: a call computes with what they are at the
    time, however they were changed, by an optimizer, by `load_state_dict` or by an assignment into
    an array. Packed filters are kept from call to call; each call compares what they were packed
    from with the parameters, to the bit, and packs those again that were changed.

    **Threads.** Any number of Python threads may call it at once: each call in progress has memory
    of its own, which later calls use again, and the interpreter's lock is released meanwhile. As
    with `forward`, no thread may change parameters while another one computes with them.

    Attributes
    ----------
    model : Sequential
    input_shape, output_shape : tuple of int
        Shapes of one sample.
    few : int
        Samples up to which they go one by one; 5 to 16, and 0 for models that cannot.
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
        """Take the program and the parameters that the model has now."""
        chain = self.model.whole_chain()
        assert chain is not None  # of compiled layers alone there is one
        program = chain.program(self.input_shape)
        self.output_shape: Shape = program.output_shape
        self.few: int = program.few if program.by_sample else 0
        self.bind_program(program, chain.store, chain.params, self._num_threads)

    def convert(self, x: Any, out: Any) -> Floats:
        """Return the outputs for arrays that the program cannot take as they are."""
        x = as_floats(x, type(self.model).__name__)
        check_sizes(self.model, "x", x.shape)
        if x.shape[1:] != self.input_shape:
            raise ValueError(
                f"x must have the shape (N, {', '.join(map(str, self.input_shape))}), for which "
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
