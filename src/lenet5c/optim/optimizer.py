"""Optimisers. The arithmetic is in the compiled core, on whole vectors; here are its settings and its state."""

from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np

from lenet5c.kernels.engine import _vector
from lenet5c.kernels.simd import dispatch


@dataclass
class Update:
    """What a run of steps in the compiled core needs of an optimiser: vectors, settings, and of each step the learning
    rate and the corrections of Adam's means."""

    kind: str
    vectors: list[np.ndarray]
    lr: np.ndarray
    correction1: np.ndarray
    correction2: np.ndarray
    weight_decay: float
    momentum: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.0, 0.0)
    eps: float = 0.0
    decoupled: bool = False


def update_for(optimizer, model, rates):
    """The `Update` of as many steps of `model` as there are rates; who runs it adds the steps taken to `steps`.

    None if only `step` itself knows what it does: an optimiser of the user's own, a subclass, one of other parameters.
    """
    known = type(optimizer) in (SGD, Adam, SDLM, Adagrad, RMSprop) and "step" not in vars(optimizer)
    return optimizer._update_for(rates) if known and optimizer.model is model else None


class _Optimizer:
    """What optimisers share: the model they step, and state that can be saved."""

    # Vectors as long as the parameters, by name.
    vectors: tuple[str, ...] = ()

    def __init__(self, model, lr, weight_decay):
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not (value >= 0 and isfinite(value)):
                raise ValueError(f"{name} is {value!r}; it should be a number of at least 0")
        self.model = model
        self.lr = float(lr)
        self.weight_decay = float(weight_decay)
        self.steps = 0
        for name in self.vectors:
            setattr(self, name, np.zeros_like(model.vector))

    def step(self):
        """Move the model's parameters by one step along the gradients it holds."""
        self.steps += 1
        self._update(self.model.vector, self.model.grad_vector)

    def state_dict(self):
        """The state: 'steps', an int, and the optimiser's own vectors (copies)."""
        return {"steps": self.steps} | {name: getattr(self, name).copy() for name in self.vectors}

    def load_state_dict(self, state):
        """Take over a `state_dict` of the same optimiser and model.

        Raises
        ------
        ValueError
            A name is missing or too many, or a vector has another length.
        """
        if set(state) != {"steps", *self.vectors}:
            raise ValueError(
                f"state has {sorted(state)}; it should have {sorted(('steps', *self.vectors))}"
            )
        for name in self.vectors:
            if np.shape(state[name]) != self.model.vector.shape:
                raise ValueError(
                    f"{name} has the shape {np.shape(state[name])}; the model's is {self.model.vector.shape}"
                )
        self.steps = int(state["steps"])
        for name in self.vectors:
            getattr(self, name)[...] = state[name]


class SGD(_Optimizer):
    """Stochastic gradient descent, as `torch.optim.SGD`.

    With g = gradient + weight_decay * p, the velocity becomes v = momentum * v + g, and p falls by lr * v, or with
    Nesterov's form by lr * (g + momentum * v).

    Parameters
    ----------
    model : lenet5c.nn.Layer
    lr : float
    momentum : float
    nesterov : bool
    weight_decay : float

    Attributes
    ----------
    lr : float
        May be changed between steps.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, optim
    >>> model = nn.Linear(2, 1, rng=0)
    >>> before = model.vector.copy()
    >>> model.grad_vector[:] = 1
    >>> optim.SGD(model, lr=0.5).step()
    >>> before - model.vector
    array([0.5, 0.5, 0.5], dtype=float32)
    """

    vectors = ("velocity",)

    def __init__(self, model, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum!r}; it should be at least 0 and less than 1")
        if nesterov and momentum == 0:
            raise ValueError("nesterov is True and momentum is 0; Nesterov's form needs a momentum")
        super().__init__(model, lr, weight_decay)
        self.momentum = float(momentum)
        self.nesterov = bool(nesterov)

    def _update_for(self, rates):
        ones = np.ones(len(rates))
        return Update(
            "sgd",
            [self.velocity],
            np.array(rates, float),
            ones,
            ones,
            self.weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov,
        )

    def _update(self, params, grads):
        _vector.sgd(
            dispatch.tiles,
            params,
            grads,
            self.velocity,
            self.lr,
            self.momentum,
            self.nesterov,
            self.weight_decay,
        )


class Adam(_Optimizer):
    """Adam (Kingma and Ba, 2015), as `torch.optim.Adam`; with `decoupled`, as `torch.optim.AdamW`.

    Parameters
    ----------
    model : lenet5c.nn.Layer
    lr : float
    betas : (float, float)
        Decay of the running means of the gradient and of its square.
    eps : float
    weight_decay : float
        Times p, added to the gradient; or, decoupled, p falls by lr * weight_decay * p (Loshchilov and Hutter, 2019).
    decoupled : bool

    Attributes
    ----------
    lr : float
        May be changed between steps.
    """

    vectors = ("m", "v")

    def __init__(
        self, model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False
    ):
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"betas is {betas!r}; it should be two numbers of at least 0 and less than 1"
            )
        super().__init__(model, lr, weight_decay)
        self.betas = tuple(map(float, betas))
        self.eps = _positive("eps", eps)
        self.decoupled = bool(decoupled)

    def _update_for(self, rates):
        corrections = [self._corrections(self.steps + 1 + i) for i in range(len(rates))]
        return Update(
            "adam",
            [self.m, self.v],
            np.array(rates, float),
            *np.array(corrections).T.copy(),
            self.weight_decay,
            betas=self.betas,
            eps=self.eps,
            decoupled=self.decoupled,
        )

    def _corrections(self, steps):
        beta1, beta2 = self.betas
        return 1 - beta1**steps, sqrt(1 - beta2**steps)

    def _update(self, params, grads):
        _vector.adam(
            dispatch.tiles,
            params,
            grads,
            self.m,
            self.v,
            self.lr,
            *self.betas,
            self.eps,
            *self._corrections(self.steps),
            self.weight_decay,
            self.decoupled,
        )


class SDLM(_Optimizer):
    """Stochastic diagonal Levenberg-Marquardt (LeCun et al., 1998, appendix C): a step size for each parameter.

    A parameter p falls by lr / (mu + h) * gradient (eq. 18 and 21), h being the loss's second derivative by p: the
    diagonal alone, in the Gauss-Newton approximation, which is never negative. `estimate` measures h, the mean over
    some samples, and it stays until the next time; the paper does so on 500 before each pass, and takes one sample a
    step. Before the first estimate h is 0, and a step one of plain gradient descent with the rate lr / mu.

    Parameters
    ----------
    model : lenet5c.nn.Sequential
    lr : float
        The paper's eta.
    mu : float
        Keeps steps from getting large where the loss is flat: none is larger than lr / mu times the gradient.
    samples : int
        How many the `Trainer` takes for an estimate, new ones before each epoch.

    Attributes
    ----------
    lr : float
        May be changed between steps.
    curvature : ndarray of float32
        h of each parameter, in the order of ``model.vector``; read-only, see `set_curvature`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, optim
    >>> model = nn.Sequential(nn.Linear(2, 1, rng=0))
    >>> optimizer = optim.SDLM(model, lr=0.1, mu=0.02)
    >>> optimizer.estimate(np.array([[1, 2], [3, 0]], np.float32), np.zeros(2, int), nn.MSELoss())
    >>> optimizer.curvature
    array([10.,  4.,  2.], dtype=float32)
    >>> optimizer.step_sizes().round(4)
    array([0.01  , 0.0249, 0.0495], dtype=float32)
    """

    vectors = ("curvature",)

    def __init__(self, model, lr, mu=0.02, samples=500):
        if not 1e-30 <= mu <= 1e30:  # 1 / mu is a float32, too
            raise ValueError(f"mu is {mu!r}; it should be a number of more than 0, at least 1e-30")
        if not (isinstance(samples, int) and samples >= 1):
            raise ValueError(f"samples is {samples!r}; it should be an integer of at least 1")
        super().__init__(model, lr, 0.0)
        self.mu = float(mu)
        self.samples = samples
        self.set_curvature(self.curvature)

    def estimate(self, samples, labels, loss):
        """Measure the curvature, `Sequential.second_derivatives`, which takes the same; steps use it from now on.

        Raises
        ------
        ArithmeticError
            A second derivative is negative or not a finite number; the message names the parameter.
        """
        if not hasattr(self.model, "second_derivatives"):
            raise TypeError(
                f"model is a {type(self.model).__name__}; SDLM measures a Sequential, so put it into one"
            )
        measured = self.model.second_derivatives(samples, labels, loss)
        if fault := self._fault(measured):
            raise ArithmeticError(
                f"{fault}; lower the learning rate, it is {self.lr:g}, or check the loss"
            )
        self.set_curvature(measured)

    def set_curvature(self, curvature):
        """Take these second derivatives, as `estimate` measures them, (size,) like ``model.vector``.

        Raises
        ------
        ValueError
            The shape is another, or a value is negative or not a finite number.
        """
        if np.shape(curvature) != self.model.vector.shape:
            raise ValueError(
                f"curvature has the shape {np.shape(curvature)}; the model's is {self.model.vector.shape}"
            )
        if fault := self._fault(curvature):
            raise ValueError(f"{fault}; it should be a number of at least 0")
        self.curvature = np.array(curvature, np.float32)
        # Steps multiply by it; who could write to the curvature would be surprised that nothing changes.
        self.curvature.flags.writeable = False
        self._inverse = 1 / (np.float32(self.mu) + self.curvature)

    def step_sizes(self):
        """lr / (mu + h): what each parameter's gradient is multiplied by, ndarray of float32 like ``model.vector``."""
        return np.float32(self.lr) * self._inverse

    def load_state_dict(self, state):
        if set(state) == {"steps", "curvature"}:
            steps = int(state["steps"])
            self.set_curvature(state["curvature"])
            self.steps = steps
        else:
            super().load_state_dict(state)  # says what is missing

    def _fault(self, curvature):
        """Which parameter's curvature is none, in words; None if there is no such."""
        # A quantity that is not a number is not at least 0 either.
        wrong = np.flatnonzero(~((np.asarray(curvature) >= 0) & np.isfinite(curvature)))
        if len(wrong) == 0:
            return None
        names = [name for name, array in self.model.params.items() for _ in range(array.size)]
        return f"the curvature of {names[wrong[0]]} is {curvature[wrong[0]]}"

    def _update_for(self, rates):
        ones = np.ones(len(rates))
        return Update("sdlm", [self._inverse], np.array(rates, float), ones, ones, 0.0)

    def _update(self, params, grads):
        _vector.sdlm(dispatch.tiles, params, grads, self._inverse, self.lr)


class Adagrad(_Optimizer):
    """AdaGrad (Duchi, Hazan and Singer, 2011), as `torch.optim.Adagrad`.

    With g = gradient + weight_decay * p, the sum of squares s grows by g^2, and p falls by lr * g / (sqrt(s) + eps).

    Parameters
    ----------
    model : lenet5c.nn.Layer
    lr : float
    weight_decay : float
    initial_accumulator_value : float
        What the sums of squares start from.
    eps : float

    Attributes
    ----------
    lr : float
        May be changed between steps.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, optim
    >>> model = nn.Linear(2, 1, rng=0)
    >>> before = model.vector.copy()
    >>> model.grad_vector[:] = 3, -2, 1
    >>> optim.Adagrad(model, lr=0.5).step()  # the first step is lr, whatever the gradient's size
    >>> before - model.vector
    array([ 0.5, -0.5,  0.5], dtype=float32)
    """

    vectors = ("squares",)

    def __init__(self, model, lr=1e-2, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
        super().__init__(model, lr, weight_decay)
        if not (initial_accumulator_value >= 0 and isfinite(initial_accumulator_value)):
            raise ValueError(
                f"initial_accumulator_value is {initial_accumulator_value!r}; it should be a number of at least 0"
            )
        self.eps = _positive("eps", eps)
        self.squares[:] = initial_accumulator_value

    def _update_for(self, rates):
        ones = np.ones(len(rates))
        return Update(
            "adagrad",
            [self.squares],
            np.array(rates, float),
            ones,
            ones,
            self.weight_decay,
            eps=self.eps,
        )

    def _update(self, params, grads):
        _vector.adagrad(
            dispatch.tiles, params, grads, self.squares, self.lr, self.eps, self.weight_decay
        )


class RMSprop(_Optimizer):
    """RMSprop (Tieleman and Hinton, 2012), as `torch.optim.RMSprop`.

    With g = gradient + weight_decay * p, the mean square becomes s = alpha * s + (1 - alpha) * g^2, the velocity
    v = momentum * v + g / (sqrt(s) + eps), and p falls by lr * v.

    Parameters
    ----------
    model : lenet5c.nn.Layer
    lr : float
    alpha : float
        Decay of the running mean.
    eps : float
    weight_decay : float
    momentum : float

    Attributes
    ----------
    lr : float
        May be changed between steps.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, optim
    >>> model = nn.Linear(2, 1, rng=0)
    >>> before = model.vector.copy()
    >>> model.grad_vector[:] = 3, -2, 1
    >>> optim.RMSprop(model, lr=0.5, alpha=0.75).step()  # the first mean square is a quarter of the gradient's
    >>> before - model.vector
    array([ 1., -1.,  1.], dtype=float32)
    """

    vectors = ("squares", "velocity")

    def __init__(self, model, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0):
        super().__init__(model, lr, weight_decay)
        for name, value in (("alpha", alpha), ("momentum", momentum)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value!r}; it should be at least 0 and less than 1")
        self.alpha, self.momentum = float(alpha), float(momentum)
        self.eps = _positive("eps", eps)

    def _update_for(self, rates):
        ones = np.ones(len(rates))
        return Update(
            "rmsprop",
            [self.squares, self.velocity],
            np.array(rates, float),
            ones,
            ones,
            self.weight_decay,
            momentum=self.momentum,
            betas=(0.0, self.alpha),
            eps=self.eps,
        )

    def _update(self, params, grads):
        _vector.rmsprop(
            dispatch.tiles,
            params,
            grads,
            self.squares,
            self.velocity,
            self.lr,
            self.alpha,
            self.eps,
            self.momentum,
            self.weight_decay,
        )


def _positive(name, value):
    if not (value > 0 and isfinite(value)):
        raise ValueError(f"{name} is {value!r}; it should be more than 0")
    return float(value)
