"""Elementwise activations."""

from lenet5c.nn.tile_layer import TileLayer


class _Activation(TileLayer):
    kind = ""

    def output_shape(self, input_shape):
        if len(input_shape) not in (1, 3):
            raise ValueError(f"{type(self).__name__} takes samples (C, H, W) or (features,), got {tuple(input_shape)}")
        return tuple(input_shape)

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
