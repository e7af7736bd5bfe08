"""Elementwise activations."""

from typing import Any, ClassVar

from lenet5c.kernels.engine import ops
from lenet5c.nn.layer import Floats, check_number
from lenet5c.nn.tile_layer import Elementwise, Offset

__all__ = ["ACTIVATIONS", "GELU", "LeakyReLU", "ReLU", "ScaledTanh", "Sigmoid", "Tanh"]

#: Activation classes by kernel name, which is also the name used in recipes.
ACTIVATIONS: dict[str, type["Activation"]] = {}


class Activation(Elementwise):
    """Base class of elementwise functions, for arrays of any shape; see ops/activation.pxi."""

    kind = ""
    #: Default initializer of the preceding layer's weights.
    init: ClassVar[str] = "glorot_uniform"
    #: Names of the constructor arguments, which are also attributes.
    arguments: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            ACTIVATIONS[cls.kind] = cls

    @property
    def constants(self) -> tuple[float, ...]:
        """Constants passed to the kernel, at most two."""
        return ()

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Return d2x = f'(x)^2 d2y; Gauss-Newton drops the term f''(x) dy (eq. 27)."""
        return self.backward(self.backward(d2y))

    def settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.arguments}

    def tile_op(self, offset: Offset) -> ops.Op:
        return ops.Activation(self.kind, self.constants)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{each:g}' for each in self.constants)})"


class ReLU(Activation):
    """Rectified linear unit: y = max(x, 0), and dx = dy where y > 0, else 0.

    Reference: `lenet5c.reference.relu`.
    """

    kind = "relu"
    init = "he_normal"


class LeakyReLU(Activation):
    """Rectified linear unit with a slope for negative inputs (Maas et al., 2013).

    Parameters
    ----------
    negative_slope : float

    Notes
    -----
    y = x and dx = dy where x > 0, else y = negative_slope * x and dx = negative_slope * dy.

    Reference: `lenet5c.reference.leaky_relu`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> nn.LeakyReLU(0.25).forward(np.array([[-2, 0, 3]], np.float32))
    array([[-0.5,  0. ,  3. ]], dtype=float32)
    """

    kind = "leaky_relu"
    init = "he_normal"
    arguments = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = check_number("negative_slope", negative_slope)

    @property
    def constants(self) -> tuple[float, ...]:
        return (self.negative_slope,)


class GELU(Activation):
    """Gaussian error linear unit (Hendrycks and Gimpel, 2016), like `torch.nn.GELU`.

    Parameters
    ----------
    approximate : {'none', 'tanh'}
        Use the exact normal distribution function ('none') or its tanh approximation.

    Notes
    -----
    With the standard normal distribution function C(x), or with
    ``C(x) = (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2``, and its derivative C'::

        y = x * C(x)
        dx = dy * (C(x) + x * C'(x))

    Reference: `lenet5c.reference.gelu`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> nn.GELU().forward(np.array([[-1, 0, 1]], np.float32)).round(4)
    array([[-0.1587,  0.    ,  0.8413]], dtype=float32)
    """

    kind = "gelu"
    init = "he_normal"
    arguments = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    @property
    def constants(self) -> tuple[float, ...]:
        return (float(self.approximate == "tanh"),)

    def __repr__(self) -> str:
        return f"GELU({self.approximate!r})"


class Sigmoid(Activation):
    """Logistic function: y = 1 / (1 + exp(-x)), and dx = dy y (1 - y).

    Reference: `lenet5c.reference.sigmoid`.
    """

    kind = "sigmoid"


class Tanh(Activation):
    """Hyperbolic tangent: y = tanh(x), and dx = dy (1 - y^2).

    Reference: `lenet5c.reference.tanh`.
    """

    kind = "tanh"


class ScaledTanh(Activation):
    """Scaled hyperbolic tangent: amplitude * tanh(slope * x).

    The default is the squashing function of LeCun et al. (1998), appendix A, for which f(1) = 1 and
    f(-1) = -1 and the curvature is largest at these points.

    Parameters
    ----------
    amplitude, slope : float
        Magnitude from 1e-15 to 1e15, either sign.

    Notes
    -----
    ::

        y = amplitude * tanh(slope * x)
        dx = dy * amplitude * slope * (1 - (y / amplitude)^2)

    Reference: `lenet5c.reference.scaled_tanh`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> nn.ScaledTanh().forward(np.array([[-1, 0, 1]], np.float32)).round(4)
    array([[-1.,  0.,  1.]], dtype=float32)
    """

    kind = "scaled_tanh"
    arguments = ("amplitude", "slope")

    def __init__(self, amplitude: float = 1.7159, slope: float = 2 / 3) -> None:
        for name, value in (("amplitude", amplitude), ("slope", slope)):
            # Their products, quotients and squares must be representable in float32.
            if not 1e-15 <= abs(value) <= 1e15:
                raise ValueError(
                    f"{name} must be a number with a magnitude from 1e-15 to 1e15, got {value!r}"
                )
        self.amplitude, self.slope = float(amplitude), float(slope)

    @property
    def constants(self) -> tuple[float, ...]:
        return self.amplitude, self.slope
