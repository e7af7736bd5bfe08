"""Elementwise activations."""

from lenet5c.nn.tile_layer import TileLayer


class _Activation(TileLayer):
    kind = ""

    def output_shape(self, input_shape):
        if len(input_shape) not in (1, 3):
            raise ValueError(f"{type(self).__name__} takes samples (C, H, W) or (features,), got {tuple(input_shape)}")
        return tuple(input_shape)

    def backward_second(self, d2y, dy=None):
        """d2x = f'(x)^2 d2y; the exact second derivative has a term f''(x) dy, which Gauss-Newton drops (eq. 27)."""
        return self.backward(self.backward(d2y))

    def tile_op(self, offset):
        return {"kind": self.kind}

    def __repr__(self):
        return f"{type(self).__name__}()"


class ReLU(_Activation):
    """max(x, 0)."""

    kind = "relu"


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    kind = "sigmoid"


class Tanh(_Activation):
    """The hyperbolic tangent."""

    kind = "tanh"
