"""Batch normalisation (Ioffe and Szegedy, 2015)."""

import numpy as np

from lenet5c.nn.convolution import positive
from lenet5c.nn.layer import Layer, check_batch, check_gradient


class _BatchNorm(Layer):
    ndim = 0
    _kept = None

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.num_features = positive("num_features", num_features)
        self.eps, self.momentum = float(eps), float(momentum)
        self.params["weight"] = np.ones(num_features)
        self.params["bias"] = np.zeros(num_features)
        self.buffers["running_mean"] = np.zeros(num_features)
        self.buffers["running_var"] = np.ones(num_features)
        self.buffers["num_batches_tracked"] = np.array(0)

    def forward(self, x, training=False):
        check_batch(x, type(self).__name__)
        self.output_shape(x.shape[1:])
        axes = (0, *range(2, x.ndim))
        if training:
            count = x.size // x.shape[1]
            if count < 2:
                raise ValueError(
                    f"x has the shape {x.shape}; to train, a channel needs more than one value"
                )
            mean, var = x.mean(axes), x.var(axes)
            self._track(mean, var * (count / (count - 1)))
        else:
            mean, var = self.buffers["running_mean"], self.buffers["running_var"]
        scale = 1 / np.sqrt(var + np.float32(self.eps))
        normal = (x - self._spread(mean)) * self._spread(scale)
        self._kept = (normal, scale, axes) if training else None
        return normal * self._spread(self.params["weight"]) + self._spread(self.params["bias"])

    def backward(self, dy):
        if self._kept is None:
            raise RuntimeError("backward needs a forward(x, training=True) before it")
        normal, scale, axes = self._kept
        check_gradient(dy, normal.shape)
        self.grads["weight"] = (dy * normal).sum(axes)
        self.grads["bias"] = dy.sum(axes)
        count = np.float32(dy.size // dy.shape[1])
        # The mean and the variance depend on every sample: take their share of the gradient out again.
        shared = self._spread(self.grads["bias"] / count) + normal * self._spread(
            self.grads["weight"] / count
        )
        return (dy - shared) * self._spread(self.params["weight"] * scale)

    def backward_second(self, d2y, dy=None):
        """With mean and variance taken as constants, each channel is scaled and shifted: its slope, squared."""
        if self._kept is None:
            raise RuntimeError("backward_second needs a forward(x, training=True) before it")
        normal, scale, axes = self._kept
        check_gradient(d2y, normal.shape, "d2y")
        self.curvatures["weight"] = (d2y * normal**2).sum(axes)
        self.curvatures["bias"] = d2y.sum(axes)
        return d2y * self._spread(self.params["weight"] * scale) ** 2

    def _track(self, mean, var):
        for name, value in (("running_mean", mean), ("running_var", var)):
            self.buffers[name] += np.float32(self.momentum) * (value - self.buffers[name])
        self.buffers["num_batches_tracked"] += 1

    def _spread(self, values):
        """(C,) to the shape that meets the input's channel axis."""
        return np.asarray(values, np.float32).reshape(-1, *[1] * (self.ndim - 1))

    def output_shape(self, input_shape):
        if len(input_shape) != self.ndim or input_shape[0] != self.num_features:
            axes = "(C,)" if self.ndim == 1 else "(C, H, W)"
            raise ValueError(
                f"{type(self).__name__} takes samples {axes} of {self.num_features} channels, got {tuple(input_shape)}"
            )
        return tuple(input_shape)

    def __repr__(self):
        return f"{type(self).__name__}({self.num_features})"


class BatchNorm1d(_BatchNorm):
    """Bring each feature of a batch (N, C) to mean 0 and variance 1, then scale and shift it.

    Parameters
    ----------
    num_features : int
    eps : float
        Added to the variance.
    momentum : float
        Share of the newest batch in the running mean and variance, which take over outside training.

    Attributes
    ----------
    params : 'weight' and 'bias' (C,)
    buffers : 'running_mean', 'running_var' (unbiased) (C,), 'num_batches_tracked' ()

    Notes
    -----
    In training, with the mean and the variance of each channel over the M values that it has in the
    batch, and ``normal = (x - mean) / sqrt(var + eps)``::

        y = weight * normal + bias
        dweight = sum of dy * normal
        dbias = sum of dy
        dx = weight / sqrt(var + eps) * (dy - dbias / M - normal * dweight / M)

    Outside training the running mean and variance stand for those of the batch.

    Reference: `lenet5c.reference.batch_norm`.
    """

    ndim = 1


class BatchNorm2d(_BatchNorm):
    """As `BatchNorm1d`, for each channel of images (N, C, H, W).

    Reference: `lenet5c.reference.batch_norm`.
    """

    ndim = 3
