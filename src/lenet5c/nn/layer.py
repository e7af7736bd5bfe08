"""What every layer is: a forward and a backward pass over NumPy arrays, with named parameters and gradients."""

from collections import UserDict
from functools import cached_property

import numpy as np

# Attributes that copies and pickles leave out: views, programs, and what was kept for a backward pass.
TRANSIENT = ("_home", "_chain", "_segments", "_kept", "_mask")


class Arrays(UserDict):
    """Named arrays. Assigning to a name that is there copies the values in: views into a larger vector stay views."""

    def __setitem__(self, name, value):
        if name in self:
            value = np.asarray(value)
            if value.shape != self[name].shape:
                raise ValueError(f"{name} has the shape {self[name].shape}, got {value.shape}")
            self[name][...] = value
        else:
            dtype = np.int64 if np.asarray(value).dtype.kind in "iu" else np.float32
            self.data[name] = np.array(value, dtype)

    def __ior__(self, other):  # type: ignore[misc]
        self.update(other)
        return self

    def __delitem__(self, name):
        raise TypeError(f"{name} cannot be removed from its layer")

    def bind(self, name, array):
        """Make `array` itself the one behind this name."""
        self.data[name] = array

    def bind_all(self, arrays):
        """Make these the only ones."""
        self.data = dict(arrays)


class Layer:
    """A step of a network.

    A layer of your own, in NumPy, subclasses this, puts its parameters into ``self.params`` when it is made, and has
    a `forward` and a `backward`; it then works inside `Sequential` as any other:

    >>> import numpy as np
    >>> from lenet5c import nn
    >>> class Scale(nn.Layer):
    ...     def __init__(self):
    ...         self.params["factor"] = np.ones(1)
    ...     def forward(self, x, training=False):
    ...         self.x = x if training else None
    ...         return x * self.params["factor"]
    ...     def backward(self, dy):
    ...         self.grads["factor"] = np.sum(dy * self.x, keepdims=True).reshape(1)
    ...         return dy * self.params["factor"]
    >>> model = nn.Sequential(nn.Flatten(), Scale(), nn.Linear(4, 2, rng=0))
    >>> model.forward(np.ones((3, 1, 2, 2), np.float32)).shape
    (3, 2)

    Attributes
    ----------
    params : dict of str to ndarray of float32
        Trained. Assigning to an existing name copies the values in.
    grads : dict of str to ndarray of float32
        The loss's gradient for each parameter, set (not added to) by `backward`.
    curvatures : dict of str to ndarray of float32
        The loss's second derivative by each parameter, set (not added to) by `backward_second`: the diagonal of the
        Gauss-Newton approximation, summed over the samples and over the places that share the parameter.
    buffers : dict of str to ndarray
        Kept with the parameters, but not trained.
    """

    def __new__(cls, *args, **kwargs):
        # Here and not in __init__, so that a subclass need not call it.
        layer = super().__new__(cls)
        layer.params, layer.grads, layer.buffers = Arrays(), Arrays(), Arrays()
        layer._home = None
        layer.moved()
        return layer

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name not in TRANSIENT}

    def __setstate__(self, state):
        self.__dict__.update(state, _home=None)
        self.moved()

    def forward(self, x, training=False):
        """Return the output for a batch, float32 (N, ...); with `training`, keep what `backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy):
        """Set `grads` from the gradient of the last training output, and return the gradient of its input."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def backward_second(self, d2y, dy=None):
        """Set `curvatures` from the second derivatives by the last training output; return those by its input.

        What eq. 25 and 27 of LeCun et al. (1998) do: the diagonal of the second derivatives alone, in the Gauss-Newton
        approximation, which drops the terms with the second derivative of an activation.

        Parameters
        ----------
        d2y : ndarray of float32, of the output's shape
            Second derivative of the loss by each element of the output.
        dy : ndarray of float32, of the output's shape, optional
            The first derivatives, for a layer whose second derivatives depend on them. Only the last layer of a
            model is given them.

        Returns
        -------
        ndarray of float32, of the input's shape

        Raises
        ------
        NotImplementedError
            The layer has no such method.
        RuntimeError
            There was no ``forward(x, training=True)`` before.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no backward_second; give it one, or use an optimiser other than SDLM"
        )

    def output_shape(self, input_shape):
        """The shape of one sample's output, found out by trying unless a layer knows."""
        return self.forward(np.zeros((2, *input_shape), np.float32)).shape[1:]

    def connections(self, input_shape):
        """How many connections the layer has: inputs and biases, counted for each unit that reads them."""
        return 0

    @property
    def num_params(self):
        """Trained values."""
        return sum(array.size for array in self.params.values())

    def named_layers(self, prefix=""):
        """The layers that hold parameters themselves, with their dotted names, in order."""
        yield prefix.rstrip("."), self

    def all_layers(self):
        """The layer itself and every layer within it."""
        yield self

    @property
    def home(self):
        """The `Home` of the parameters."""
        if self._home is None:
            Home(self)
        return self._home

    @property
    def vector(self):
        """ndarray of float32 : all parameters, contiguous; the arrays in `params` are views into it."""
        home = self.home
        return home.params[home.spans[id(self)]]

    @property
    def grad_vector(self):
        """ndarray of float32 : all gradients, as `vector`."""
        home = self.home
        return home.grads[home.spans[id(self)]]

    @property
    def curvature_vector(self):
        """ndarray of float32 : all second derivatives, as `vector`; zeros before they are first asked for."""
        home = self.home
        return home.curvatures[home.spans[id(self)]]

    @property
    def curvatures(self):
        home, views = self.home, Arrays()
        for layer_name, layer in self.named_layers():
            for name, array in layer.params.items():
                at = home.offset(layer, name)
                view = home.curvatures[at : at + array.size].reshape(array.shape)
                views.bind(name if layer is self else f"{layer_name}.{name}", view)
        return views

    def moved(self):
        """Called when the parameters have moved to another vector."""

    def gather(self):
        """Show the arrays of the layers within this one, if there are any, under their dotted names."""

    def __call__(self, x, training=False):
        return self.forward(x, training)


class Home:
    """Where the parameters of a layer, or of all layers of a model, lie: one vector, and one of gradients.

    A third one, of second derivatives, is made when it is asked for.
    """

    def __init__(self, owner):
        layers = list(owner.named_layers())
        size = sum(layer.num_params for _, layer in layers)
        self.params = np.zeros(size, np.float32)
        self.grads = np.zeros(size, np.float32)
        self.offsets = {}  # where each parameter of each layer begins
        self.spans = {}  # the part that a layer and the layers within it take
        at = 0
        for _, layer in layers:
            for name, array in layer.params.items():
                view = self.params[at : at + array.size].reshape(array.shape)
                view[...] = array
                layer.params.bind(name, view)
                grad = self.grads[at : at + array.size].reshape(array.shape)
                grad[...] = layer.grads.get(name, 0)
                layer.grads.bind(name, grad)
                self.offsets[id(layer), name] = at
                at += array.size
        for layer in owner.all_layers():
            layer._home = self
            layer.moved()
            layer.gather()
            self.spans[id(layer)] = self._span(layer)

    @cached_property
    def curvatures(self):
        return np.zeros_like(self.params)

    def offset(self, layer, name):
        """Where a layer's own parameter begins, None if it has none of this name."""
        return self.offsets.get((id(layer), name))

    def _span(self, layer):
        starts = (
            self.offset(leaf, name) for _, leaf in layer.named_layers() for name in leaf.params
        )
        start = min(starts, default=0)
        return slice(start, start + layer.num_params)


def check_gradient(dy, shape, name="dy"):
    """Refuse a gradient, or second derivatives, not of the output's shape."""
    if not isinstance(dy, np.ndarray) or dy.dtype != np.float32 or dy.shape != shape:
        found = f"{dy.dtype} {dy.shape}" if isinstance(dy, np.ndarray) else type(dy).__name__
        raise ValueError(f"{name} is {found}; it should be float32 {shape}, the output's shape")


def check_batch(x, owner):
    """Refuse what is no batch of float32 samples."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x is a {type(x).__name__}; {owner} takes a NumPy array of float32")
    if x.dtype != np.float32:
        raise TypeError(
            f"x has the dtype {x.dtype}; {owner} takes float32, so use x.astype(np.float32)"
        )
    if x.ndim < 2:
        raise ValueError(
            f"x has the shape {x.shape}; it should be a batch, (N, C, H, W) or (N, features)"
        )
