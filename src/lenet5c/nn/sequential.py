"""A chain of layers as one model."""

from collections.abc import Mapping

import numpy as np

from lenet5c.kernels.engine.samples import Samples
from lenet5c.nn.layer import Home, Layer, check_batch
from lenet5c.nn.linear import Flatten
from lenet5c.nn.loss import check_labels
from lenet5c.nn.rbf import RBF
from lenet5c.nn.summary import summary
from lenet5c.nn.tile_layer import TileChain, TileLayer
from lenet5c.optim.optimizer import update_for

# Samples at a time through a model that has layers outside the compiled core.
CHUNK = 256
# And for second derivatives, where the activations of all layers are kept.
SECOND_CHUNK = 100


class StepsTaken:
    """What a run of steps has come to: `losses` of each, finished steps (`taken`), and correct answers in these."""

    def __init__(self, steps):
        self.losses = np.zeros(steps)
        self.taken = self.correct = 0


class Sequential(Layer):
    """Layers that feed one another.

    All parameters lie in one vector, all gradients in another (`vector`, `grad_vector`). Neighbouring compiled layers
    run as one program; a layer in NumPy, such as `BatchNorm2d` or one of your own, stands between two of them.

    Parameters
    ----------
    *layers : Layer
        Or one list of layers, or one mapping (or list of pairs) of names to layers. Unnamed ones are called '0',
        '1', ...

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> model = nn.Sequential({"hidden": nn.Linear(4, 3, rng=0), "relu": nn.ReLU(), "out": nn.Linear(3, 2, rng=1)})
    >>> list(model.params)
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    >>> y = model.forward(np.ones((5, 4), np.float32), training=True)
    >>> model.backward(np.ones_like(y)).shape
    (5, 4)
    """

    def __init__(self, *layers):
        self.layers = _named(layers)
        seen = set()
        for name, layer in self.layers.items():
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"layer {name!r} is a {type(layer).__name__}; it should be a lenet5c.nn.Layer"
                )
            within = {id(each) for each in layer.all_layers()}
            if seen & within:
                raise ValueError(
                    f"layer {name!r} is in the model twice; each place needs a layer of its own"
                )
            seen |= within
        Home(self)

    def __setstate__(self, state):
        super().__setstate__(state)
        Home(self)

    def moved(self):
        self._segments = None

    def gather(self):
        for kind in ("params", "grads", "buffers"):
            getattr(self, kind).bind_all(
                (f"{layer_name}.{name}", array)
                for layer_name, layer in self.named_layers()
                for name, array in getattr(layer, kind).items()
            )

    @property
    def home(self):
        if any(layer._home is not self._home for layer in self.all_layers()):
            raise RuntimeError(
                "a layer of this model was put into another model; give it a copy.deepcopy of the layer"
            )
        return self._home

    @property
    def segments(self):
        """The layers as runs of compiled ones, each a `TileChain`, and others, one by one."""
        home = self.home
        segments = self._segments
        if segments is None:
            segments, run = [], []
            for layer in self._flat():
                if isinstance(layer, TileLayer):
                    run.append(layer)
                    continue
                if run:
                    segments.append(TileChain(run, home))
                segments.append(layer)
                run = []
            if run:
                segments.append(TileChain(run, home))
            self._segments = segments  # when it is whole: another thread may be looking
        return segments

    def forward(self, x, training=False):
        """Return the outputs for a batch.

        Parameters
        ----------
        x : ndarray of float32 (N, C, H, W) or (N, features)
        training : bool
            Keep what `backward` needs: the inputs of the segments, not their activations.

        Returns
        -------
        ndarray of float32 (N, ...)
            Fewer than six samples go one by one, which is faster; their last digits may differ from what a larger batch
            gives.
        """
        check_batch(x, type(self).__name__)
        for segment in self.segments:
            # A layer in NumPy easily ends in float64.
            x = np.asarray(segment.forward(x, training), np.float32)
        return x

    def backward(self, dy):
        """Set `grads` of every layer, and return the gradient of the x last given to ``forward(x, training=True)``."""
        return self._backward(dy)

    def backward_second(self, d2y, dy=None):
        """Set `curvatures` of every layer; return the second derivatives by the x of the last training `forward`."""
        for segment in reversed(self.segments):
            d2y, dy = np.asarray(segment.backward_second(d2y, dy), np.float32), None
        return d2y

    def second_derivatives(self, samples, labels, loss):
        """The mean loss's second derivative by each parameter: diagonal, in the Gauss-Newton approximation.

        Eq. 23 to 27 of LeCun et al. (1998). Running statistics and random generators of layers are as before; what
        `backward` needs of a training `forward` is not: it wants a new one.

        Parameters
        ----------
        samples, loss
            As in `train_step`; but any number of samples, at least one.
        labels : ndarray of int (N,)

        Returns
        -------
        ndarray of float32
            `curvature_vector`, which has the mean over the samples.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet5c import nn
        >>> model = nn.Sequential(nn.Linear(2, 1, rng=0))
        >>> x = np.array([[1, 2], [3, 0]], np.float32)
        >>> model.second_derivatives(x, np.zeros(2, int), nn.MSELoss())  # 2 x^2 and 2, averaged
        array([10.,  4.,  2.], dtype=float32)
        """
        samples = Samples.of(samples)
        labels = check_labels(labels, len(samples))
        if len(samples) == 0:
            raise ValueError(
                "there are no samples; second derivatives are a mean over at least one"
            )
        total = np.zeros(self.num_params)
        before = [(layer, _changing(layer)) for layer in self._flat()]
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # seen in the result
                for chunk in np.array_split(
                    np.arange(len(samples)), -(-len(samples) // SECOND_CHUNK)
                ):
                    y = self.forward(samples[chunk].values(), training=True)
                    dy, d2y = loss.second(y, labels[chunk])
                    self.backward_second(d2y, dy)
                    total += self.curvature_vector * float(len(chunk))
        finally:
            for layer, (buffers, random) in before:
                layer.buffers.update(buffers)
                if random:
                    layer.rng.bit_generator.state = random
        self.curvature_vector[:] = total / len(samples)
        return self.curvature_vector

    def train_step(self, samples, labels, loss):
        """Forward, loss and backward for one batch: what one would do by hand, to the bit, in one sweep.

        Parameters
        ----------
        samples : Samples, or ndarray (N, ...) of float32
        labels : ndarray of int (N,)
        loss : CrossEntropyLoss, MSELoss, MLELoss or MAPLoss

        Returns
        -------
        loss : float
            The mean over the batch; `grad_vector` becomes its gradient.
        correct : int
            Samples of which `classes` says their label.
        """
        samples = Samples.of(samples)
        labels = check_labels(labels, len(samples))
        if chain := self._whole_chain():
            return chain.train_step(samples, labels, loss)
        logits = self.forward(samples.values(), training=True)
        value, dy = loss(logits, labels)
        self._backward(dy, need_dx=False)
        return value, int((self.classes(logits) == labels).sum())

    def train_steps(self, samples, labels, loss, optimizer, rates, *, batch_size, record=None):
        """Several steps of `train_step` and `optimizer.step` in one go, to the bit: threads need not meet in between.

        Parameters
        ----------
        samples, labels, loss
            As in `train_step`: those of all steps, one batch after the other; the last one may be
            shorter.
        optimizer : lenet5c.optim optimiser of this model
            Or anything with `lr` and `step`, which is asked step by step then.
        rates : sequence of float
            The learning rate of each step.
        batch_size : int
        record : StepsTaken, optional
            Is told what is returned, also when a KeyboardInterrupt keeps this from returning.

        Returns
        -------
        losses : ndarray of float64 (len(rates),)
            The mean loss of each step. One that is not finite ends the run, before it has moved a parameter.
        taken : int
            Finished steps.
        correct : int
            Samples of those of which `classes` said their label.
        """
        samples = Samples.of(samples)
        labels = check_labels(labels, len(samples))
        chain = self._whole_chain() if type(self).train_step is Sequential.train_step else None
        update = update_for(optimizer, self, rates) if chain else None
        record = StepsTaken(len(rates)) if record is None else record
        if update:
            try:
                chain.train_steps(samples, labels, loss, batch_size, update, record)
            finally:
                optimizer.steps += record.taken
                if record.taken:
                    optimizer.lr = float(rates[record.taken - 1])
            return record.losses, record.taken, record.correct
        for step, rate in enumerate(rates):
            batch = slice(step * batch_size, (step + 1) * batch_size)
            record.losses[step], right = self.train_step(samples[batch], labels[batch], loss)
            if not np.isfinite(record.losses[step]):
                break
            optimizer.lr = rate
            optimizer.step()
            record.taken += 1
            record.correct += right
        return record.losses, record.taken, record.correct

    def _whole_chain(self):
        """The model as one chain, None if it has layers outside the compiled core."""
        segments = self.segments
        return segments[0] if len(segments) == 1 and isinstance(segments[0], TileChain) else None

    def _backward(self, dy, need_dx=True):
        first, *rest = self.segments
        for segment in reversed(rest):
            dy = np.asarray(segment.backward(dy), np.float32)
        if isinstance(first, TileChain):
            return first.backward(dy, need_dx)
        return np.asarray(first.backward(dy), np.float32)

    def outputs(self, samples):
        """Return the outputs (N, ...) for samples given as to `train_step`.

        Memory does not grow with N beyond the result.
        """
        samples = Samples.of(samples)
        if chain := self._whole_chain():
            return chain.run(samples)
        # Of nearly equal size: a few samples left over would go one by one, and have other last
        # digits.
        chunks = np.array_split(np.arange(len(samples)), max(1, -(-len(samples) // CHUNK)))
        return np.concatenate([self.forward(samples[chunk].values()) for chunk in chunks])

    def predict(self, x):
        """The class of each sample of x (N, ...) float32. ndarray of int64 (N,)."""
        return self.classes(self.forward(x))

    def classes(self, outputs):
        """The classes that outputs (N, K) mean: where they are largest, or, behind an `RBF` layer, smallest."""
        return self.logits(outputs).argmax(axis=1)

    def logits(self, outputs):
        """The outputs (N, K) as logits: themselves, or, behind an `RBF` layer, the penalties negated."""
        last = [layer for layer in self._flat() if not isinstance(layer, Flatten)][-1:]
        return -outputs if last and isinstance(last[0], RBF) else outputs

    def output_shape(self, input_shape):
        for layer in self.layers.values():
            input_shape = layer.output_shape(input_shape)
        return input_shape

    def connections(self, input_shape):
        total = 0
        for layer in self.layers.values():
            total += layer.connections(input_shape)
            input_shape = layer.output_shape(input_shape)
        return total

    def named_layers(self, prefix=""):
        for name, layer in self.layers.items():
            yield from layer.named_layers(f"{prefix}{name}.")

    def all_layers(self):
        yield self
        for layer in self.layers.values():
            yield from layer.all_layers()

    def state_dict(self):
        """Copies of all parameters and buffers by name, such as 'conv1.weight'."""
        return {name: array.copy() for name, array in self._state().items()}

    def load_state_dict(self, state):
        """Take over the values of a `state_dict`; its names and shapes must be this model's.

        Raises
        ------
        ValueError
            Names are missing or too many, or a shape differs. Nothing is changed then.
        """
        own = self._state()
        missing, unknown = own.keys() - state.keys(), state.keys() - own.keys()
        if missing or unknown:
            raise ValueError(
                f"state does not fit the model; missing: {', '.join(sorted(missing)) or 'none'}, "
                f"unknown: {', '.join(sorted(unknown)) or 'none'}"
            )
        for name, array in own.items():
            if np.shape(state[name]) != array.shape:
                raise ValueError(
                    f"{name} has the shape {np.shape(state[name])}; the model's is {array.shape}"
                )
        values = {name: np.asarray(state[name], array.dtype) for name, array in own.items()}
        for name, array in own.items():
            array[...] = values[name]

    def summary(self, input_shape):
        """A table of the layers as text: output shape, neurons, parameters and connections of each, and the sums."""
        return summary(self, tuple(input_shape))

    def _state(self):
        """Parameters and buffers by name, layer by layer."""
        self.home
        state = {}
        for layer_name, layer in self.named_layers():
            for arrays in (layer.params, layer.buffers):
                state |= {f"{layer_name}.{name}": array for name, array in arrays.items()}
        return state

    def _flat(self):
        """The layers, those of a Sequential within this one in its place."""
        for layer in self.layers.values():
            if isinstance(layer, Sequential):
                yield from layer._flat()
            else:
                yield layer

    def __getitem__(self, name):
        """The layer of this name or position."""
        return list(self.layers.values())[name] if isinstance(name, int) else self.layers[name]

    def __repr__(self):
        inner = "".join(f"\n  {name}: {layer!r}" for name, layer in self.layers.items())
        return f"{type(self).__name__}({inner}\n)"


def _changing(layer):
    """What a training `forward` of a layer may change for good: its buffers, and the state of its random generator."""
    rng = getattr(layer, "rng", None)
    random = rng.bit_generator.state if isinstance(rng, np.random.Generator) else None
    return {name: array.copy() for name, array in layer.buffers.items()}, random


def _named(layers):
    if len(layers) == 1 and not isinstance(layers[0], Layer):
        layers = layers[0]
    if isinstance(layers, Mapping):
        pairs = list(layers.items())
    else:
        pairs = [
            pair if isinstance(pair, tuple) else (str(i), pair) for i, pair in enumerate(layers)
        ]
    if not pairs:
        raise ValueError("layers is empty; a model should have at least one layer")
    names = [name for name, _ in pairs]
    for name in names:
        if not isinstance(name, str) or not name or "." in name or names.count(name) > 1:
            raise ValueError(
                f"layer name {name!r}; names should be different, not empty, and without a dot"
            )
    return dict(pairs)
