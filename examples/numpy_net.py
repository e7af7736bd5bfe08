"""A small net written by hand in NumPy, before and after it calls `lenet5c.kernels`.

    python examples/numpy_net.py [--images 2000] [--epochs 2]

Trains on digits of MNIST, first with the convolution and pooling in `NumpyOps`, then with those in
`FastOps`, from the same weights and in the same order; nothing else in the net knows which. Prints
the loss of each epoch, the accuracy and the seconds.
"""

import argparse
import time

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lenet5c import kernels
from lenet5c.datasets import mnist


class NumpyOps:
    """Before: windows and `tensordot`, in other words im2col and a matrix product."""

    @staticmethod
    def conv2d(x, weight, bias):
        windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))
        return (
            np.tensordot(windows, weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
            + bias[:, None, None]
        )

    @staticmethod
    def conv2d_backward(dy, x, weight):
        windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))
        dweight = np.tensordot(dy, windows, ((0, 2, 3), (0, 2, 3)))
        KH, KW = weight.shape[2:]
        padded = np.pad(dy, ((0, 0), (0, 0), (KH - 1, KH - 1), (KW - 1, KW - 1)))
        windows = sliding_window_view(padded, (KH, KW), axis=(2, 3))
        dx = np.tensordot(windows, weight[:, :, ::-1, ::-1], ((1, 4, 5), (0, 2, 3))).transpose(
            0, 3, 1, 2
        )
        return dx, dweight, dy.sum((0, 2, 3))

    @staticmethod
    def max_pool2d(x):
        N, C, H, W = x.shape
        return x.reshape(N, C, H // 2, 2, W // 2, 2).max((3, 5))

    @staticmethod
    def max_pool2d_backward(dy, x):
        N, C, H, W = x.shape
        windows = (
            x.reshape(N, C, H // 2, 2, W // 2, 2)
            .transpose(0, 1, 2, 4, 3, 5)
            .reshape(N, C, H // 2, W // 2, 4)
        )
        dwindows = np.zeros_like(windows)
        np.put_along_axis(dwindows, windows.argmax(-1)[..., None], dy[..., None], -1)
        return (
            dwindows.reshape(N, C, H // 2, W // 2, 2, 2)
            .transpose(0, 1, 2, 4, 3, 5)
            .reshape(x.shape)
        )


class FastOps:
    """After."""

    conv2d = staticmethod(kernels.conv2d)
    conv2d_backward = staticmethod(kernels.conv2d_backward)

    @staticmethod
    def max_pool2d(x):
        return kernels.max_pool2d(x, 2)

    @staticmethod
    def max_pool2d_backward(dy, x):
        return kernels.max_pool2d_backward(dy, x, 2)


class Net:
    """Two blocks of 5 x 5 convolution, ReLU and 2 x 2 max pooling, and a fully connected layer."""

    def __init__(self, ops, seed=0):
        rng = np.random.default_rng(seed)
        self.ops = ops
        self.weights = [
            (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
            for shape in ((6, 1, 5, 5), (16, 6, 5, 5), (10, 256))
        ]
        self.biases = [np.zeros(len(weight), np.float32) for weight in self.weights]

    def forward(self, x):
        self.steps = []
        for weight, bias in zip(self.weights[:2], self.biases[:2], strict=True):
            z = np.maximum(self.ops.conv2d(x, weight, bias), 0)
            self.steps.append((x, z))
            x = self.ops.max_pool2d(z)
        self.features = x.reshape(len(x), -1)
        return self.features @ self.weights[2].T + self.biases[2]

    def train_step(self, x, labels, lr):
        logits = self.forward(x)
        logits -= logits.max(1, keepdims=True)
        log_sums = np.log(np.exp(logits).sum(1))
        loss = float(np.mean(log_sums - logits[np.arange(len(x)), labels]))
        dlogits = np.exp(logits - log_sums[:, None]) / len(x)
        dlogits[np.arange(len(x)), labels] -= 1 / len(x)

        grads = [(dlogits.T @ self.features, dlogits.sum(0))]
        dy = (dlogits @ self.weights[2]).reshape(len(x), 16, 4, 4)
        for (x, z), weight in zip(reversed(self.steps), reversed(self.weights[:2]), strict=True):
            dz = self.ops.max_pool2d_backward(np.ascontiguousarray(dy), z) * (z > 0)
            dy, dweight, dbias = self.ops.conv2d_backward(dz, x, weight)
            grads.insert(0, (dweight, dbias))
        for weight, bias, (dweight, dbias) in zip(self.weights, self.biases, grads, strict=True):
            weight -= lr * dweight
            bias -= lr * dbias
        return loss


def train(ops, train_set, test_set, epochs, batch_size=50, lr=0.05):
    """Losses of the epochs, accuracy in percent, seconds of training."""
    net, losses = Net(ops), []
    images, test_images = (data.images.astype(np.float32) / 255 for data in (train_set, test_set))
    start = time.perf_counter()
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(images))
        batches = np.split(order, range(batch_size, len(order), batch_size))
        losses.append(
            np.mean(
                [net.train_step(images[batch], train_set.labels[batch], lr) for batch in batches]
            )
        )
    seconds = time.perf_counter() - start
    return losses, 100 * np.mean(net.forward(test_images).argmax(1) == test_set.labels), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    train_set, test_set = (data.take(np.arange(options.images)) for data in mnist())
    seconds = {}
    for name, ops in (("before", NumpyOps), ("after", FastOps)):
        losses, accuracy, seconds[name] = train(ops, train_set, test_set, options.epochs)
        print(
            f"{name:6}  losses {' '.join(f'{loss:.4f}' for loss in losses)}  "
            f"{accuracy:.1f} %  {seconds[name]:.2f} s"
        )
    print(f"{seconds['before'] / seconds['after']:.1f} times as fast")


if __name__ == "__main__":
    main()
