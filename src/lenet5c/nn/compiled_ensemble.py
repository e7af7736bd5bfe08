"""A compiled ensemble: its members as compiled models, and the mean of their probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet5c.kernels.arrays import check_out, deliver

if TYPE_CHECKING:
    from lenet5c.nn.compiled import CompiledModel
    from lenet5c.nn.ensemble import Ensemble
    from lenet5c.nn.layer import Floats, Shape
    from lenet5c.nn.sequential import Sequential


class CompiledEnsemble:
    """The outputs of an ensemble for samples of one shape; `Sequential.compile` makes it.

    Called as a `CompiledModel`, with what holds for one: parameters are the members' own, and any
    number of threads may call it at once. Each member is a compiled model, one after the other; the
    logarithm of the mean of their probabilities is computed in NumPy.

    Attributes
    ----------
    model : Sequential
        The ensemble.
    members : dict of str to CompiledModel
    input_shape, output_shape : tuple of int
        Shapes of one sample.
    few : int
        Samples up to which all members take them one by one.
    """

    def __init__(
        self, model: Sequential, layer: Ensemble, input_shape: Shape, num_threads: int | None
    ) -> None:
        self.model, self.input_shape, self._num_threads = model, input_shape, num_threads
        self.output_shape = layer.output_shape(input_shape)
        self._layer = layer
        self.members: dict[str, CompiledModel] = {
            name: member.compile(input_shape, num_threads=num_threads)
            for name, member in layer.members.items()
        }
        self.few = min(member.few for member in self.members.values())

    def __call__(self, x: Any, out: Floats | None = None) -> Floats:
        y = self._layer.average([member(x) for member in self.members.values()])
        check_out("out", out, y.shape, np.dtype(np.float32))
        return deliver(y, out)

    def __reduce__(self) -> Any:
        return type(self), (self.model, self._layer, self.input_shape, self._num_threads)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.members)} members: {self.input_shape}>"
