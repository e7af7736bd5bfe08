"""Models that are chains of layers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.kernels.arrays import rows, unmasked
from lenet5c.kernels.engine.samples import Samples
from lenet5c.nn.compiled import CompiledModel, compile_model
from lenet5c.nn.compiled_ensemble import CompiledEnsemble
from lenet5c.nn.composite import Composite, InOrder
from lenet5c.nn.curvatures import measure_curvatures
from lenet5c.nn.inputs import check_finite, check_shape, check_sizes, explain_error, take_samples
from lenet5c.nn.layer import Array, Floats, Layer, Shape, as_floats
from lenet5c.nn.linear import Flatten
from lenet5c.nn.loss import Loss
from lenet5c.nn.naming import name_layers
from lenet5c.nn.parameter_store import ParameterStore
from lenet5c.nn.rbf import RBF
from lenet5c.nn.registry import describe
from lenet5c.nn.steps import Steps, StepsTaken, take_each_step
from lenet5c.nn.summary import Summary, summary, to_notebook
from lenet5c.nn.tile_layer import TileChain, make_segments

__all__ = ["CompiledModel", "Samples", "Sequential"]

# Labels of the samples, or targets supported by the loss.
Labels = NDArray[np.integer[Any]] | Floats
# Samples per pass for a model that has layers in NumPy.
CHUNK = 256


class Sequential(InOrder, Composite):
    """A model of layers applied in sequence.

    All parameters are stored in one vector, all gradients in another (`vector`, `grad_vector`).
    Adjacent compiled layers run as one program, which a custom layer in NumPy divides.

    Parameters
    ----------
    *layers : Layer
        Layers; or one list of layers, or one mapping (or list of pairs) of names to layers. Unnamed
        layers are called '0', '1', ...
    input_shape : tuple of int, optional
        Shape of one sample, such as (1, 28, 28), if the model supports only one. Trainers then
        resize images to it, and `summary` and exports need no input shape.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> hidden, out = nn.Linear(4, 3, rng=0), nn.Linear(3, 2, rng=1)
    >>> model = nn.Sequential({"hidden": hidden, "relu": nn.ReLU(), "out": out})
    >>> list(model.params)
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    >>> y = model.forward(np.ones((5, 4), np.float32), training=True)
    >>> model.backward(np.ones_like(y)).shape
    (5, 4)
    """

    layers: dict[str, Layer]
    _segments: list[TileChain | Layer] | None
    input_shape: Shape | None = None
    accepted: Shape | None = None  # of samples, by `check_sizes`

    def __init__(
        self,
        *layers: Layer | Sequence[Layer] | Sequence[tuple[str, Layer]] | Mapping[str, Layer],
        input_shape: Shape | None = None,
    ) -> None:
        self.layers = name_layers(layers)
        self.input_shape = None if input_shape is None else check_shape(input_shape)
        ParameterStore(self)

    def moved(self) -> None:
        self._segments = None

    @property
    def compiled(self) -> bool:
        return all(layer.compiled for layer in self.flat_layers())

    @property
    def segments(self) -> list[TileChain | Layer]:
        """Runs of compiled layers, each as a `TileChain`, and other layers, one by one."""
        store = self.store
        if self._segments is None:
            # Assigned when complete, because another thread may read it.
            self._segments = make_segments(self.flat_layers(), store)
        return self._segments

    def forward(self, x: Floats, training: bool = False) -> Floats:
        """Return the outputs for a batch.

        Parameters
        ----------
        x : ndarray of float32 (N, C, H, W) or (N, features)
            Or of a dtype that float32 represents exactly, such as uint8 or float16; values are not
            scaled. float64 is rejected, because it would be rounded.
        training : bool
            Save the values needed by `backward`: the inputs of the segments, not all activations.

        Returns
        -------
        ndarray of float32 (N, ...)
            Fewer than six samples are processed one by one, which is faster; the results may differ
            from those in a larger batch by rounding.

        Raises
        ------
        ValueError
            If the layers do not accept this shape; the message has the expected one.
        """
        x = as_floats(x, type(self).__name__)
        shape = x.shape
        check_sizes(self, "x", shape)
        try:
            for segment in self.segments:
                # A layer in NumPy may return float64.
                x = np.asarray(segment.forward(x, training), np.float32)
        except ValueError:
            explain_error(self, "x", shape)
            raise
        return x

    def backward(self, dy: Floats) -> Floats:
        """Set `grads` and return the gradient with respect to the last training input."""
        return self._backward(dy, need_dx=True)

    def input_gradient(self, x: Floats, dy: Floats) -> Floats:
        if type(self).forward is not Sequential.forward:
            return super().input_gradient(x, dy)
        inputs = [as_floats(x, type(self).__name__)]
        for segment in self.segments[:-1]:
            x = inputs[-1]
            if isinstance(segment, TileChain):
                inputs.append(segment.run(rows(x), x.shape[1:]))
            else:
                inputs.append(np.asarray(segment.forward(x), np.float32))
        for segment, x in zip(reversed(self.segments), reversed(inputs), strict=False):
            dy = segment.input_gradient(x, dy)
        return dy

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Set `curvatures` and return the second derivatives for the last training input."""
        for segment in reversed(self.segments):
            d2y, dy = np.asarray(segment.backward_second(d2y, dy), np.float32), None
        return d2y

    def second_derivatives(
        self,
        samples: Samples | Floats,
        labels: Labels,
        loss: Loss,
        sample_weight: ArrayLike | None = None,
    ) -> Floats:
        """Return the second derivative of the loss with respect to each parameter.

        This is the diagonal in the Gauss-Newton approximation (LeCun et al., 1998, eq. 23 to 27).
        Running statistics and random generators of layers do not change; `backward` requires a new
        training `forward` afterwards.

        Parameters
        ----------
        samples, labels, loss, sample_weight
            See `train_step`; any number of samples is possible.

        Returns
        -------
        ndarray of float32 : `curvature_vector`

        Examples
        --------
        >>> import numpy as np
        >>> from lenet5c import nn
        >>> model = nn.Sequential(nn.Linear(2, 1, rng=0))
        >>> x = np.array([[1, 2], [3, 0]], np.float32)
        >>> model.second_derivatives(x, np.zeros(2, int), nn.MSELoss())  # 2 x^2 and 2, averaged
        array([10.,  4.,  2.], dtype=float32)
        """
        samples = take_samples(self, samples)
        labels = loss.check_target(labels, len(samples))
        return measure_curvatures(self, samples, labels, loss, sample_weight)

    def train_step(
        self,
        samples: Samples | Floats,
        labels: Labels,
        loss: Loss,
        sample_weight: ArrayLike | None = None,
    ) -> tuple[float, int]:
        """Run forward, loss and backward for one batch, bit-identical to separate calls.

        Parameters
        ----------
        samples : Samples, or ndarray (N, ...) of float32
        labels : ndarray of int (N,), or of float (N, ...)
            True labels; or probabilities or other targets, if the loss supports them.
        loss : CrossEntropyLoss, NLLLoss, MSELoss, MLELoss or MAPLoss
        sample_weight : ndarray (N,), optional
            See `Loss.__call__`.

        Returns
        -------
        loss : float
            Loss of the batch; its gradient is stored in `grad_vector`.
        correct : int
            Number of samples of nonzero weight whose predicted label (see `classes`) is the true
            label, or the class with the largest target.
        """
        samples = take_samples(self, samples)
        labels = loss.check_target(labels, len(samples))
        if chain := self.whole_chain():
            return chain.train_step(samples, labels, loss, sample_weight)
        logits = self.forward(samples.values(), training=True)
        value, dy = loss(logits, labels, sample_weight)
        self._backward(dy, need_dx=False)
        return value, loss.count_correct(self.classes(logits), labels, sample_weight)

    def train_steps(
        self,
        samples: Samples | Floats,
        labels: Labels,
        loss: Loss,
        optimizer: Steps,
        rates: Sequence[float],
        *,
        batch_size: int,
        sample_weight: ArrayLike | None = None,
        record: StepsTaken | None = None,
        ranks: Any = None,
    ) -> tuple[NDArray[np.float64], int, int]:
        """Run several training steps in one parallel region, bit-identical to single steps.

        Parameters
        ----------
        samples, labels, loss, sample_weight
            See `train_step`; the batches of all steps, one after the other. The last batch may be
            smaller.
        optimizer : lenet5c.optim.Optimizer of this model
            Or any object with `lr` and `step`, which is then called for each step.
        rates : sequence of float
            Learning rate of each step.
        batch_size : int
        record : StepsTaken, optional
            Receives the results, even if a KeyboardInterrupt ends the run.
        ranks : lenet5c.training.parallel.Ranks, optional
            Processes that take the same steps and divide the work of compiled layers among them.

        Returns
        -------
        losses : ndarray of float64 (len(rates),)
            Loss of each step. A loss that is not finite ends the run before the parameters are
            updated.
        taken : int
            Number of finished steps.
        correct : int
            Number of correctly predicted samples in these steps.
        """
        samples = take_samples(self, samples)
        labels = loss.check_target(labels, len(samples))
        weights = None if sample_weight is None else unmasked("sample_weight", sample_weight)
        record = StepsTaken(len(rates)) if record is None else record
        chain, update = self.compile_steps(optimizer, rates)
        if chain and update:
            try:
                program, job = chain.prepare_step(samples, labels, loss, weights)
                steps = {"batch_size": batch_size, "record": record, "ranks": ranks}
                program.train_steps(**job, **steps, update=update)
            finally:
                optimizer.steps += record.taken  # type: ignore[attr-defined]
                if record.taken:
                    optimizer.lr = float(rates[record.taken - 1])
            return record.losses, record.taken, record.correct
        take_each_step(self, samples, labels, loss, optimizer, rates, batch_size, weights, record)
        return record.losses, record.taken, record.correct

    def compile_steps(self, optimizer: Steps, rates: Sequence[float]) -> tuple[Any, Any]:
        """Return the model as one chain and the compiled update, each None if not compiled."""
        chain = self.whole_chain() if type(self).train_step is Sequential.train_step else None
        describe_steps = getattr(optimizer, "describe_steps", None)
        return chain, describe_steps(self, rates) if describe_steps else None

    def _backward(self, dy: Floats, need_dx: bool) -> Floats:
        first, *others = self.segments
        for segment in reversed(others):
            dy = np.asarray(segment.backward(dy), np.float32)
        if isinstance(first, TileChain):
            return first.backward(dy, need_dx)
        return np.asarray(first.backward(dy), np.float32)

    def whole_chain(self) -> TileChain | None:
        """Return the model as one chain, None if it has layers in NumPy."""
        first, *others = self.segments
        return first if isinstance(first, TileChain) and not others else None

    def outputs(self, samples: Samples | Floats) -> Floats:
        """Return the outputs (N, ...) for samples as in `train_step`.

        Apart from the result, memory does not depend on N.
        """
        samples = take_samples(self, samples)
        if chain := self.whole_chain():
            return chain.run(samples, samples.shape)
        # Parts of nearly equal size: a few remaining samples would be processed one by one, with
        # different rounding.
        chunks = np.array_split(np.arange(len(samples)), max(1, -(-len(samples) // CHUNK)))
        return np.concatenate([self.forward(samples[chunk].values()) for chunk in chunks])

    def compile(
        self, input_shape: Shape | None = None, *, num_threads: int | None = None
    ) -> CompiledModel | CompiledEnsemble:
        """Compile the model for fast inference on samples of one shape.

        Parameters
        ----------
        input_shape : tuple of int, optional
            Shape of one sample; may be omitted if the model defines it.
        num_threads : int, optional
            Number of threads of each call. If not given, it is the current default, and up to
            `CompiledModel.few` samples are processed on one thread each; if given, several threads
            also share a sample if it is large enough.

        Returns
        -------
        CompiledModel or, of an Ensemble, CompiledEnsemble

        Raises
        ------
        TypeError
            If a layer has no compiled form, or the class overrides `forward`.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet5c.nn import LeNet5
        >>> model, image = LeNet5(rng=0), np.ones((1, 1, 32, 32), np.float32)
        >>> outputs = model.compile()
        >>> model.params["fc3.bias"][:] += 1  # the current parameters are used
        >>> bool((outputs(image) == model.forward(image)).all())
        True
        """
        if type(self).forward is not Sequential.forward:
            raise TypeError(
                f"model must use Sequential.forward, got a {type(self).__name__}, which overrides "
                "it; call model.forward"
            )
        return compile_model(self, self._own_shape(input_shape), num_threads)

    def predict(self, x: Floats) -> NDArray[np.int64]:
        """Return the predicted label of each sample of x (N, ...), ndarray of int64 (N,).

        Raises a ValueError if x is not finite.
        """
        check_finite("x", x)
        return self.classes(self.forward(x))

    def classes(self, outputs: Floats) -> NDArray[np.int64]:
        """Return the predicted labels: the argmax of outputs (N, K), or the argmin after `RBF`."""
        return self.logits(outputs).argmax(axis=1)

    def logits(self, outputs: Floats) -> Floats:
        """Return outputs (N, K) as logits; after an `RBF` layer, the negated penalties."""
        last = [layer for layer in self.flat_layers() if not isinstance(layer, Flatten)][-1:]
        return -outputs if last and isinstance(last[0], RBF) else outputs

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers by name, such as 'conv1.weight'."""
        return {name: array.copy() for name, array in self._state().items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Load the values of a `state_dict`.

        Raises
        ------
        ValueError
            If names are missing or unknown, or a shape differs. Nothing is changed in this case.
        """
        own = self._state()
        missing, unknown = own.keys() - state.keys(), state.keys() - own.keys()
        if missing or unknown:
            raise ValueError(
                "state must have the names of the model, got "
                f"missing: {', '.join(sorted(missing)) or 'none'}, "
                f"unknown: {', '.join(sorted(unknown)) or 'none'}"
            )
        for name, array in own.items():
            if np.shape(state[name]) != array.shape:
                raise ValueError(
                    f"{name} must have shape {array.shape}, as in the model, "
                    f"got {np.shape(state[name])}"
                )
        values = {name: np.asarray(state[name], array.dtype) for name, array in own.items()}
        for name, array in own.items():
            array[...] = values[name]

    def settings(self) -> dict[str, Any]:
        if type(self).__init__ is not Sequential.__init__:
            return super().settings()  # a subclass has other constructor arguments
        layers = [describe(layer, name) for name, layer in self.layers.items()]
        shape = {} if self.input_shape is None else {"input_shape": list(self.input_shape)}
        return {"layers": layers, **shape}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        if cls.__init__ is not Sequential.__init__:
            return super().from_settings(settings)
        others = {name: value for name, value in settings.items() if name != "layers"}
        return cls(settings["layers"], **others)

    def summary(self, input_shape: Shape | None = None) -> Summary:
        """Return a table of the shape, neurons, parameters and connections of each layer.

        `input_shape` may be omitted if the model defines it.
        """
        return summary(self, self._own_shape(input_shape))

    def _own_shape(self, input_shape: Shape | None) -> Shape:
        shape = self.input_shape if input_shape is None else check_shape(input_shape)
        if shape is None:
            raise ValueError(
                "input_shape must be given for a model without one, got None; pass a shape such as "
                "(1, 32, 32)"
            )
        return shape

    def _state(self) -> dict[str, Array]:
        """Return parameters and buffers by name, layer by layer, after checking the store."""
        assert self.store
        state: dict[str, Array] = {}
        for layer_name, layer in self.named_layers():
            for arrays in (layer.params, layer.buffers):
                state |= {f"{layer_name}.{name}": array for name, array in arrays.items()}
        return state

    def flat_layers(self) -> Iterator[Layer]:
        """Yield the layers, with each inner Sequential replaced by its layers."""
        return (layer for _, layer in self.flat_items())

    def flat_items(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield the layers of `flat_layers` with dotted names."""
        for name, layer in self.layers.items():
            if isinstance(layer, Sequential):
                yield from layer.flat_items(f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", layer

    def _repr_html_(self) -> str:
        return to_notebook(self)
