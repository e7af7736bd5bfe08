"""LeNet-5 and its training step in optimized float32 NumPy.

The sample axis comes last, (C, H, W, N): windows are copied in long runs, a convolution of the
batch is one matrix product (BLAS), and pooling works on whole vectors. ReLU comes after the
pooling, on a quarter of the values, because the maximum of rectified values is the rectified
maximum. The gradient of the image is not computed.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

KERNEL = 5


class NumpyLeNet5:
    """Weights by their names in `lenet5c.nn.LeNet5`, forward, and loss with gradient."""

    def __init__(self, state):
        self.params = {name: array.copy() for name, array in state.items()}

    def loss_and_gradient(self, images, labels):
        """Mean cross-entropy of images (N, 1, 32, 32), and its gradient by name."""
        p, g = self.params, {}
        x = np.ascontiguousarray(np.moveaxis(images, 0, -1))

        conv1, columns1 = conv2d(x, p["conv1.weight"], p["conv1.bias"])
        pool1 = max_pool2d(conv1)
        act1 = np.maximum(pool1, 0)
        conv2, columns2 = conv2d(act1, p["conv2.weight"], p["conv2.bias"])
        pool2 = max_pool2d(conv2)
        act2 = np.maximum(pool2, 0)
        flat = act2.reshape(-1, len(labels))
        act3 = np.maximum(p["fc1.weight"] @ flat + p["fc1.bias"][:, None], 0)
        act4 = np.maximum(p["fc2.weight"] @ act3 + p["fc2.bias"][:, None], 0)
        logits = p["fc3.weight"] @ act4 + p["fc3.bias"][:, None]

        loss, dy = cross_entropy(logits, labels)
        for name, x_in in (("fc3", act4), ("fc2", act3), ("fc1", flat)):
            g[f"{name}.weight"], g[f"{name}.bias"] = dy @ x_in.T, dy.sum(axis=1)
            # What is rectified to 0 has no gradient.
            dy = (p[f"{name}.weight"].T @ dy) * (x_in > 0)
        dy = max_pool2d_backward(dy.reshape(act2.shape), conv2, pool2)
        dcolumns = conv2d_backward(dy, columns2, p["conv2.weight"], g, "conv2")
        dy = col2im(dcolumns, act1.shape) * (act1 > 0)
        dy = max_pool2d_backward(dy, conv1, pool1)
        conv2d_backward(dy, columns1, p["conv1.weight"], g, "conv1", need_dx=False)
        return loss, {name: g[name] for name in p}


class NumpyAdam:
    """Adam (Kingma and Ba, 2015) on a dictionary of arrays, in place."""

    def __init__(self, params, lr, beta1=0.9, beta2=0.999, eps=1e-8):
        self.params, self.lr, self.beta1, self.beta2, self.eps = params, lr, beta1, beta2, eps
        self.m = {name: np.zeros_like(array) for name, array in params.items()}
        self.v = {name: np.zeros_like(array) for name, array in params.items()}
        self.steps = 0

    def step(self, grads):
        self.steps += 1
        rate = self.lr / (1 - self.beta1**self.steps)
        root = np.float32(np.sqrt(1 - self.beta2**self.steps))
        for name, grad in grads.items():
            m, v = self.m[name], self.v[name]
            m += np.float32(1 - self.beta1) * (grad - m)
            v += np.float32(1 - self.beta2) * (grad * grad - v)
            self.params[name] -= np.float32(rate) * m / (np.sqrt(v) / root + np.float32(self.eps))


def conv2d(x, weight, bias):
    """Return y (O, OH, OW, N) of x (C, H, W, N), and the columns (C * KH * KW, OH * OW * N)."""
    windows = sliding_window_view(x, (KERNEL, KERNEL), axis=(1, 2))  # (C, OH, OW, N, KH, KW)
    _, height, width, n = windows.shape[:4]
    columns = windows.transpose(0, 4, 5, 1, 2, 3).reshape(-1, height * width * n)
    y = weight.reshape(len(weight), -1) @ columns
    y += bias[:, None]
    return y.reshape(len(weight), height, width, n), columns


def conv2d_backward(dy, columns, weight, grads, name, need_dx=True):
    """Set the gradients of weight and bias; return that of the columns."""
    dy = dy.reshape(len(weight), -1)
    grads[f"{name}.weight"] = (dy @ columns.T).reshape(weight.shape)
    grads[f"{name}.bias"] = dy.sum(axis=1)
    return weight.reshape(len(weight), -1).T @ dy if need_dx else None


def col2im(columns, shape):
    """Add columns back onto x of this shape (C, H, W, N), one place of the window at a time."""
    channels, height, width, n = shape
    oh, ow = height - KERNEL + 1, width - KERNEL + 1
    columns = columns.reshape(channels, KERNEL, KERNEL, oh, ow, n)
    x = np.zeros(shape, columns.dtype)
    for i in range(KERNEL):
        for j in range(KERNEL):
            x[:, i : i + oh, j : j + ow] += columns[:, i, j]
    return x


def quarters(x):
    """Return the four views of x (C, H, W, N) at the places of a 2 by 2 window."""
    return [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]


def max_pool2d(x):
    a, b, c, d = quarters(x)
    return np.maximum(np.maximum(a, b), np.maximum(c, d))


def max_pool2d_backward(dy, x, y):
    """Return dx: the gradient goes to the first maximum of each window."""
    dx = np.empty_like(x)
    free = np.ones(y.shape, bool)
    for value, gradient in zip(quarters(x), quarters(dx), strict=True):
        first = (value == y) & free
        np.multiply(dy, first, out=gradient)
        free ^= first
    return dx


def cross_entropy(logits, labels):
    """Mean loss of logits (classes, N), and its gradient."""
    n = len(labels)
    shifted = logits - logits.max(axis=0)
    powers = np.exp(shifted)
    sums = powers.sum(axis=0)
    loss = float((np.log(sums) - shifted[labels, np.arange(n)]).mean())
    dy = powers / sums
    dy[labels, np.arange(n)] -= 1
    dy /= np.float32(n)
    return loss, dy
