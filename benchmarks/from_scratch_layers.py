"""Layers in the style of textbooks, as they are and with four lines changed to lenet5c.kernels.

    python benchmarks/from_scratch_layers.py [--batch-size 100] [--threads 2] [--repeats 15]

`Convolution` and `Pooling` are written as introductions to deep learning write them: float64,
im2col to rows (N OH OW, C KH KW), a matrix product, and back. `ColumnConvolution` and
`ColumnPooling` are the same with their two calls of im2col and two of col2im changed;
`KernelConvolution` and `KernelPooling` call conv2d, conv2d_backward, max_pool2d and
max_pool2d_backward in place of the bodies. A row is one forward and one backward pass. Before
anything is timed, all results and all gradients are compared.
"""

import numpy as np
from common import (
    OURS,
    Comparison,
    check_agreement,
    interleaved,
    load_peers,
    make_parser,
    positive,
    print_header,
    set_threads,
)

from lenet5c import kernels

TOLERANCE = 1e-12
COLUMNS = "im2col, col2im"
AS_THEY_ARE = "as they are"


def im2col(x, filter_h, filter_w, stride=1, pad=0):
    """Return the windows of x (N, C, H, W) as rows."""
    N, C, H, W = x.shape
    out_h = (H + 2 * pad - filter_h) // stride + 1
    out_w = (W + 2 * pad - filter_w) // stride + 1
    image = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    col = np.zeros((N, C, filter_h, filter_w, out_h, out_w))
    for i in range(filter_h):
        for j in range(filter_w):
            rows = slice(i, i + stride * out_h, stride)
            columns = slice(j, j + stride * out_w, stride)
            col[:, :, i, j] = image[:, :, rows, columns]
    return col.transpose(0, 4, 5, 1, 2, 3).reshape(N * out_h * out_w, -1)


def col2im(col, x_shape, filter_h, filter_w, stride=1, pad=0):
    """Add rows back onto x (N, C, H, W)."""
    N, C, H, W = x_shape
    out_h = (H + 2 * pad - filter_h) // stride + 1
    out_w = (W + 2 * pad - filter_w) // stride + 1
    col = col.reshape(N, out_h, out_w, C, filter_h, filter_w).transpose(0, 3, 4, 5, 1, 2)
    image = np.zeros((N, C, H + 2 * pad + stride - 1, W + 2 * pad + stride - 1))
    for i in range(filter_h):
        for j in range(filter_w):
            rows = slice(i, i + stride * out_h, stride)
            columns = slice(j, j + stride * out_w, stride)
            image[:, :, rows, columns] += col[:, :, i, j]
    return image[:, :, pad : H + pad, pad : W + pad]


class Convolution:
    def __init__(self, W, b, stride=1, pad=0):
        self.W, self.b, self.stride, self.pad = W, b, stride, pad

    def forward(self, x):
        FN, _, FH, FW = self.W.shape
        N, _, H, W = x.shape
        out_h = (H + 2 * self.pad - FH) // self.stride + 1
        out_w = (W + 2 * self.pad - FW) // self.stride + 1
        self.x, self.col_W = x, self.W.reshape(FN, -1).T
        self.col = self.columns(x, FH, FW)
        out = np.dot(self.col, self.col_W) + self.b
        return out.reshape(N, out_h, out_w, -1).transpose(0, 3, 1, 2)

    def backward(self, dout):
        FN, C, FH, FW = self.W.shape
        dout = dout.transpose(0, 2, 3, 1).reshape(-1, FN)
        self.db = np.sum(dout, axis=0)
        self.dW = np.dot(self.col.T, dout).transpose(1, 0).reshape(FN, C, FH, FW)
        return self.image(np.dot(dout, self.col_W.T), FH, FW)

    def columns(self, x, FH, FW):
        return im2col(x, FH, FW, self.stride, self.pad)

    def image(self, dcol, FH, FW):
        return col2im(dcol, self.x.shape, FH, FW, self.stride, self.pad)


class Pooling:
    def __init__(self, pool_h, pool_w, stride=2, pad=0):
        self.pool_h, self.pool_w, self.stride, self.pad = pool_h, pool_w, stride, pad

    def forward(self, x):
        N, C, H, W = x.shape
        out_h = (H - self.pool_h) // self.stride + 1
        out_w = (W - self.pool_w) // self.stride + 1
        self.x = x
        col = self.columns(x).reshape(-1, self.pool_h * self.pool_w)
        self.arg_max = np.argmax(col, axis=1)
        return np.max(col, axis=1).reshape(N, out_h, out_w, C).transpose(0, 3, 1, 2)

    def backward(self, dout):
        N, _, out_h, out_w = dout.shape
        dout = dout.transpose(0, 2, 3, 1)
        dmax = np.zeros((dout.size, self.pool_h * self.pool_w))
        dmax[np.arange(self.arg_max.size), self.arg_max] = dout.flatten()
        return self.image(dmax.reshape(N * out_h * out_w, -1))

    def columns(self, x):
        return im2col(x, self.pool_h, self.pool_w, self.stride, self.pad)

    def image(self, dcol):
        return col2im(dcol, self.x.shape, self.pool_h, self.pool_w, self.stride, self.pad)


class ColumnConvolution(Convolution):
    def columns(self, x, FH, FW):
        return kernels.im2col(x, (FH, FW), self.stride, self.pad, layout="rows")

    def image(self, dcol, FH, FW):
        size = self.x.shape[2:]
        return kernels.col2im(dcol, size, (FH, FW), self.stride, self.pad, layout="rows")


class ColumnPooling(Pooling):
    def columns(self, x):
        window = (self.pool_h, self.pool_w)
        return kernels.im2col(x, window, self.stride, self.pad, layout="rows")

    def image(self, dcol):
        window, size = (self.pool_h, self.pool_w), self.x.shape[2:]
        return kernels.col2im(dcol, size, window, self.stride, self.pad, layout="rows")


class KernelConvolution(Convolution):
    def forward(self, x):
        self.x = x
        return kernels.conv2d(x, self.W, self.b, self.stride, self.pad)

    def backward(self, dout):
        dx, self.dW, self.db = kernels.conv2d_backward(dout, self.x, self.W, self.stride, self.pad)
        return dx


class KernelPooling(Pooling):
    def forward(self, x):
        self.x = x
        return kernels.max_pool2d(x, (self.pool_h, self.pool_w), self.stride, self.pad)

    def backward(self, dout):
        window = (self.pool_h, self.pool_w)
        return kernels.max_pool2d_backward(dout, self.x, window, self.stride, self.pad)


CONVOLUTIONS = {OURS: KernelConvolution, COLUMNS: ColumnConvolution, AS_THEY_ARE: Convolution}
POOLINGS = {OURS: KernelPooling, COLUMNS: ColumnPooling, AS_THEY_ARE: Pooling}
# x without the batch, and the filters (FN, FH, padding) of a convolution; None: 2 x 2 max pooling
LAYERS = {
    "convolution": ((1, 28, 28), (30, 5, 0)),
    "pooling": ((30, 24, 24), None),
    "convolution 2": ((16, 14, 14), (32, 3, 1)),
    "pooling 2": ((16, 14, 14), None),
}


def make_layers(shape, filters):
    """Return name -> layer, all with the same weights."""
    if filters is None:
        return {name: layer(2, 2) for name, layer in POOLINGS.items()}
    rng = np.random.default_rng(0)
    count, size, pad = filters
    W, b = rng.standard_normal((count, shape[0], size, size)), rng.standard_normal(count)
    return {name: layer(W, b, pad=pad) for name, layer in CONVOLUTIONS.items()}


def make_runs(shape, filters, batch):
    """Return name -> forward and backward pass of a layer, which returns what it computes."""
    layers = make_layers(shape, filters)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, *shape))
    dout = rng.standard_normal(layers[AS_THEY_ARE].forward(x).shape)

    def both(layer):
        out = layer.forward(x)
        dx = layer.backward(dout)
        return [out, dx, layer.dW, layer.db] if hasattr(layer, "dW") else [out, dx]

    return {name: (lambda layer=layer: both(layer)) for name, layer in layers.items()}


def main():
    parser = make_parser(__doc__, repeats=15, seconds=0.05)
    parser.add_argument(
        "--batch-size", type=positive, default=100, metavar="N", help="(default: %(default)s)"
    )
    options = parser.parse_args()
    peers = load_peers()
    set_threads(options.threads, peers)
    print_header(
        options.threads,
        peers,
        f"float64, batches of {options.batch_size}; {options.repeats} timings each, in turns, of "
        f"at least {options.seconds} s. {Comparison.NOTE}",
        f"Checked before: all results agree within {TOLERANCE:.0e} of the largest value.",
    )
    table = Comparison({"layer": 13, "input": 12}, list(CONVOLUTIONS), left=2)
    totals = {name: [0.0] * options.repeats for name in CONVOLUTIONS}
    for layer, (shape, filters) in LAYERS.items():
        runs = make_runs(shape, filters, options.batch_size)
        check_agreement(layer, {name: run() for name, run in runs.items()}, TOLERANCE)
        times = interleaved(runs, options.repeats, options.seconds)
        for name, total in totals.items():
            totals[name] = [a + b for a, b in zip(total, sorted(times[name]), strict=True)]
        table.row([layer, "x".join(map(str, shape))], times)
    table.row(["all of them", "-"], totals)


if __name__ == "__main__":
    main()
