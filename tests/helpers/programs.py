"""Programs to test: chains of layers, compiled and as a composition of reference functions.

If all ops consist of additions, multiplications by integers and comparisons, the data are small
integers: float32 is then exact, and so is the comparison, including ties.
"""

from importlib import import_module

import numpy as np
import pytest
from lenet5c.kernels.engine._program import Program

from lenet5c import reference
from lenet5c.kernels.engine import lowering, ops
from lenet5c.kernels.simd import _cpu, _peak, dispatch

EPS = np.finfo(np.float32).eps
TILES = {
    isa: import_module(f"lenet5c.kernels.simd._tiles_{isa}").kernels for isa in _cpu.supported()
}
FUSED = [isa for isa in TILES if _peak.instructions(TILES[isa]) in ("avx512", "avx2", "neon")]
each_isa = pytest.mark.parametrize("isa", TILES)

RELU, SIGMOID, TANH, FLATTEN = ({"kind": kind} for kind in ("relu", "sigmoid", "tanh", "flatten"))
SCALED_TANH = {"kind": "scaled_tanh", "amplitude": 1.7159, "slope": 2 / 3}
WINDOW = ("stride", "padding", "dilation", "groups")
CONNECTED = ("stride", "padding", "dilation", "table")

LAYERS = {
    "conv2d": ops.Conv2d,
    "linear": ops.Linear,
    "flatten": ops.Flatten,
    "max_pool2d": ops.MaxPool2d,
    "avg_pool2d": ops.AvgPool2d,
    "subsample2d": ops.Subsample2d,
    "rbf": ops.Rbf,
}


def op_of(layer):
    """Return the op that a layer of a `Model` describes to lowering."""
    fields = {name: layer[name] for name in layer if name not in ("kind", "table")}
    if layer["kind"] in LAYERS:
        return LAYERS[layer["kind"]](**fields)
    return ops.Activation(layer["kind"], tuple(fields.values()))


def conv(out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
    return {
        "kind": "conv2d",
        "out_channels": out_channels,
        "kernel_size": reference.pair(kernel_size),
        "stride": reference.pair(stride),
        "padding": reference.pair(padding),
        "dilation": reference.pair(dilation),
        "groups": groups,
        "has_bias": bias,
    }


def connected(table, kernel_size, **options):
    """Describe a convolution with a connection table (in_channels, out_channels)."""
    table = np.array(table, bool)
    connections = np.flatnonzero(table.T).astype(np.intp)
    return conv(table.shape[1], kernel_size, **options) | {
        "table": table,
        "connections": connections,
    }


def some(in_channels, out_channels):
    """Return a table of two thirds of all connections."""
    table = np.random.default_rng(2).random((in_channels, out_channels)) < 2 / 3
    table[0] |= ~table.any(axis=0)
    return table


def subsample(kernel_size=2):
    return {"kind": "subsample2d", "kernel_size": reference.pair(kernel_size), "has_bias": True}


def rbf(classes, features, integer=False):
    rng = np.random.default_rng(5)
    codes = (
        rng.integers(-2, 3, (classes, features))
        if integer
        else rng.standard_normal((classes, features))
    )
    return {"kind": "rbf", "codes": codes.astype(np.float32)}


def linear(out_features, bias=True):
    return {"kind": "linear", "out_features": out_features, "has_bias": bias}


def pool(kind, kernel_size=2, stride=None, padding=0, **options):
    stride = kernel_size if stride is None else stride
    options = {"count_include_pad": True} | options if kind == "avg" else options
    return {
        "kind": f"{kind}_pool2d",
        "kernel_size": reference.pair(kernel_size),
        "stride": reference.pair(stride),
        "padding": reference.pair(padding),
        **options,
    }


class Model:
    """A chain of layers; `params` holds weights and biases, and floats between that are unused."""

    def __init__(self, input_shape, layers):
        self.input_shape, self.layers = input_shape, []
        self.views = []  # of each layer: slice and shape of its weight, slice of its bias
        end = 3
        for i, layer in enumerate(layers):
            shape = lowering.lower(input_shape, map(op_of, self.layers)).output_shape
            layer, weight, bias = dict(layer), None, None
            if "has_bias" in layer:
                if layer["kind"] == "linear":
                    outputs, weight_shape = layer["out_features"], (layer["out_features"], *shape)
                elif layer["kind"] == "subsample2d":
                    outputs, weight_shape = shape[0], shape[:1]
                elif "table" in layer:
                    outputs, weight_shape = (
                        layer["out_channels"],
                        (len(layer["connections"]), *layer["kernel_size"]),
                    )
                else:
                    outputs = layer["out_channels"]
                    weight_shape = (outputs, shape[0] // layer["groups"], *layer["kernel_size"])
                spans = [
                    (int(np.prod(weight_shape)), "weight"),
                    (outputs * layer.pop("has_bias"), "bias"),
                ]
                layer["bias"] = None
                for size, name in spans if i % 2 else spans[::-1]:  # either may come first
                    if size:
                        layer[name] = end
                        end += size + 3
                weight = (np.s_[layer["weight"] : layer["weight"] + spans[0][0]], weight_shape)
                bias = (
                    None
                    if layer["bias"] is None
                    else np.s_[layer["bias"] : layer["bias"] + spans[1][0]]
                )
            self.layers.append(layer)
            self.views.append((weight, bias))
        self.num_params = end
        self.plan = lowering.lower(input_shape, map(op_of, self.layers))
        self.output_shape = self.plan.output_shape

    def program(self, isa=dispatch.isa):
        return Program(self.plan, TILES[isa])

    def draw(self, batch, integer=False, seed=0):
        """params, x and dy, as rows: small integers, or numbers whose scale each layer keeps."""
        rng = np.random.default_rng(seed)
        sizes = (batch, self.plan.input_size), (batch, self.plan.output_size)
        if integer:
            params = rng.integers(-1, 2, self.num_params)
            x, dy = (rng.integers(-2, 3, size) for size in sizes)
        else:
            params = 0.1 * rng.standard_normal(self.num_params)
            for layer, (weight, _) in zip(self.layers, self.views, strict=True):
                if weight:
                    at, shape = weight
                    inputs = (
                        len(layer["connections"]) / layer["out_channels"] if "table" in layer else 1
                    )
                    params[at] = rng.standard_normal(shape).ravel() / np.sqrt(
                        inputs * np.prod(shape[1:])
                    )
            x, dy = (rng.standard_normal(size) for size in sizes)
        return [a.astype(np.float32) for a in (params, x, dy)]

    def _weights(self, i, params):
        (at, shape), bias = self.views[i]
        return params[at].reshape(shape), None if bias is None else params[bias]

    def reference_forward(self, params, x):
        """Input and output of every layer."""
        values = [x.reshape(len(x), *self.input_shape).astype(np.float64)]
        for i, layer in enumerate(self.layers):
            kind, x = layer["kind"], values[-1]
            if "table" in layer:
                options = {name: layer[name] for name in CONNECTED}
                x = reference.connected_conv2d(x, *self._weights(i, params), **options)
            elif kind == "conv2d":
                x = reference.conv2d(
                    x, *self._weights(i, params), **{name: layer[name] for name in WINDOW}
                )
            elif kind == "subsample2d":
                x = reference.subsample2d(x, *self._weights(i, params), layer["kernel_size"])
            elif kind == "linear":
                x = reference.linear(x, *self._weights(i, params))
            elif kind == "flatten":
                x = x.reshape(len(x), -1)
            else:
                x = getattr(reference, kind)(
                    x, **{name: layer[name] for name in layer if name != "kind"}
                )
            values.append(x)
        return values

    def reference_backward(self, params, values, dy):
        """Dx and the gradient of params."""
        dparams = np.zeros(self.num_params)
        dy = dy.reshape(values[-1].shape)
        for i, layer in reversed(list(enumerate(self.layers))):
            kind, x, y = layer["kind"], values[i], values[i + 1]
            options = {name: layer[name] for name in layer if name != "kind"}
            if kind in ("conv2d", "linear", "subsample2d"):
                weight = self._weights(i, params)[0]
                names = {"subsample2d": ["kernel_size"]}.get(
                    kind, CONNECTED if "table" in layer else WINDOW
                )
                options = {name: layer[name] for name in names if name in layer}
                counterpart = "connected_conv2d" if "table" in layer else kind
                dy, dweight, dbias = getattr(reference, f"{counterpart}_backward")(
                    dy, x, weight, **options
                )
                dparams[self.views[i][0][0]] = dweight.ravel()
                if self.views[i][1]:
                    dparams[self.views[i][1]] = dbias
            elif kind == "flatten":
                dy = dy.reshape(x.shape)
            elif kind == "max_pool2d":
                dy = reference.max_pool2d_backward(dy, x, **options)
            elif kind == "avg_pool2d":
                dy = reference.avg_pool2d_backward(dy, x.shape, **options)
            elif kind == "rbf":
                dy = reference.rbf_backward(dy, x, layer["codes"])
            else:
                dy = getattr(reference, f"{kind}_backward")(dy, y, **options)
        return dy.reshape(len(dy), -1), dparams


def forward(program, params, samples, threads=1, **options):
    out = np.full((len(samples), int(np.prod(program.output_shape))), np.nan, np.float32)
    program.forward(samples, params, out, threads, **options)
    return out


def backward(program, params, x, dy, threads=1, need_dx=True, by_sample=False):
    grads = np.full_like(params, np.nan)
    dx = np.full_like(x, np.nan) if need_dx else None
    program.backward(x, dy, params, grads, dx, threads, by_sample=by_sample)
    return dx, grads[: program.param_extent]


def train_step(program, params, samples, labels, threads=1, **options):
    """Return loss, number of correct predictions, and a dict of all resulting arrays."""
    count = len(labels)
    grads = np.full_like(params, np.nan)
    out = np.full((count, int(np.prod(program.output_shape))), np.nan, np.float32)
    loss, correct = program.train_step(samples, labels, params, grads, threads, out=out, **options)
    return loss, correct, out, grads[: program.param_extent]


def answers(model, out):
    """Return the predicted classes of outputs."""
    return (-out if model.plan.penalties else out).argmax(axis=1)


def draw_labels(model, batch):
    return np.random.default_rng(1).integers(model.plan.output_size, size=batch).astype(np.int32)


def bits(*results):
    return [np.asarray(result).tobytes() for result in results if result is not None]


EXACT = {
    "lenet5 of three maps": Model(
        (1, 12, 12),
        [
            conv(3, 5, padding=2),
            RELU,
            pool("max"),
            conv(16, 5),
            RELU,
            pool("max"),
            FLATTEN,
            linear(13),
            RELU,
            linear(10),
        ],
    ),
    "conv": Model((2, 5, 7), [conv(3, 3)]),
    "conv without bias, strided, padded, dilated": Model(
        (3, 9, 8),
        [
            conv(4, (2, 3), stride=(2, 1), padding=(1, 2), dilation=(3, 2), bias=False),
            RELU,
            conv(5, 2, stride=3),
        ],
    ),
    "groups": Model(
        (4, 6, 5), [conv(6, 3, groups=2, padding=1), RELU, conv(6, 2, groups=6), pool("max", 2, 1)]
    ),
    "conv as wide as the image": Model(
        (2, 4, 3), [conv(7, (4, 3)), RELU, conv(5, 1), FLATTEN, RELU, linear(3)]
    ),
    "padded conv as wide as the image": Model((2, 2, 3), [RELU, conv(7, (4, 5), padding=1), RELU]),
    "max pool takes the mask, overlapping": Model(
        (2, 9, 8), [conv(3, 2), RELU, pool("max", 3, 2, 1), RELU, pool("max", (2, 1), 1)]
    ),
    "max pool first": Model((3, 7, 6), [pool("max", (3, 2), (2, 3), 1), conv(4, 2), RELU]),
    "max pool last": Model((3, 6, 6), [conv(4, 3), pool("max", (2, 4))]),
    "avg pool": Model(
        (2, 6, 8), [conv(3, 3, padding=1), RELU, pool("avg"), RELU, pool("avg", (1, 2), 1)]
    ),
    "avg pool, padded": Model(
        (2, 5, 6),
        [
            conv(3, 2),
            pool("avg", 2, 2, 1),
            conv(2, 1),
            pool("avg", 2, 1, 1, count_include_pad=False),
        ],
    ),
    "relu": Model((2, 3, 5), [RELU]),
    "relu twice, then a pool": Model(
        (2, 4, 5), [RELU, RELU, pool("avg"), RELU, RELU, FLATTEN, linear(3), RELU, RELU]
    ),
    "relu before and after a max pool": Model(
        (2, 6, 6), [conv(3, 3), RELU, RELU, pool("max"), RELU, RELU, conv(2, 2)]
    ),
    "linear": Model((5,), [linear(1)]),
    "linear, many": Model((17,), [linear(33, bias=False), RELU, linear(49), RELU, linear(2)]),
    "relu on features": Model((19,), [RELU, linear(7), RELU]),
    "flatten": Model((2, 3, 5), [FLATTEN]),
    "nothing": Model((2, 3), []),
    "connection table": Model(
        (5, 6, 7),
        [
            connected(some(5, 4), (3, 2), padding=(1, 0)),
            RELU,
            connected([[1, 0, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1]], 3, bias=False),
        ],
    ),
    "table of neighbors, strided, dilated": Model(
        (4, 9, 8),
        [
            connected(
                [[1, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 1]], (2, 3), stride=(2, 1), dilation=(1, 2)
            ),
            pool("max", 2),
        ],
    ),
    "table as wide as the image": Model(
        (3, 2, 3), [connected(some(3, 4), (2, 3)), RELU, FLATTEN, linear(3)]
    ),
    "subsampling": Model((3, 7, 5), [subsample(), RELU, conv(4, 2), subsample((1, 1))]),
    "subsampling last": Model((2, 6, 8), [conv(3, 3, bias=False), subsample((2, 3))]),
    "distances": Model((7,), [rbf(3, 7, integer=True)]),
    "distances of a table": Model(
        (3, 6, 6),
        [
            connected(some(3, 5), 3),
            subsample(),
            RELU,
            FLATTEN,
            linear(6, bias=False),
            rbf(4, 6, integer=True),
        ],
    ),
}

# 3 x 3 filters over enough channels go by winograd3x3.pxi, which is exact for small integers.
EXACT |= {
    "squares, odd": Model((8, 7, 10), [conv(9, 3, padding=1), RELU, conv(17, 3, bias=False), RELU]),
    "squares, pooled": Model(
        (9, 8, 12), [conv(35, 3, padding=1), RELU, pool("max"), conv(8, 3), pool("max")]
    ),
    "squares, groups": Model(
        (16, 6, 5), [conv(34, 3, padding=1, groups=2), conv(9, 3, padding=(1, 0)), pool("max", 3)]
    ),
    "squares of a table": Model((8, 4, 6), [connected(some(8, 10), 3, padding=1), pool("max")]),
}

# Rows of five taps over enough channels go by winograd.pxi, which is not exact.
SMOOTH = {
    "lenet5": Model(
        (1, 12, 12),
        [
            conv(6, 5, padding=2),
            RELU,
            pool("max"),
            conv(16, 5),
            RELU,
            pool("max"),
            FLATTEN,
            linear(13),
            RELU,
            linear(10),
        ],
    ),
    "five taps, groups": Model(
        (8, 9, 11),
        [
            conv(14, (3, 5), padding=(1, 0), groups=2),
            SIGMOID,
            conv(5, (7, 5), padding=(0, 2), dilation=(1, 1), bias=False),
        ],
    ),
    "squares": Model((8, 11, 9), [conv(20, 3, padding=1), TANH, conv(8, 3), SIGMOID, conv(16, 3)]),
    "squares of many channels": Model(
        (33, 7, 8), [conv(70, 3, padding=1), TANH, pool("avg"), conv(67, 3), FLATTEN, linear(10)]
    ),
    "squares, pooled": Model((8, 4, 6), [conv(10, 3, padding=1), RELU, pool("max"), conv(9, 2)]),
    "five taps, dilated rows, pooled": Model(
        (5, 13, 8),
        [conv(7, (2, 5), dilation=(3, 1)), pool("max"), TANH, conv(9, (1, 5), padding=(0, 2))],
    ),
    "lenet5, tanh": Model(
        (1, 12, 12),
        [
            conv(6, 5, padding=2),
            TANH,
            pool("avg"),
            conv(16, 5),
            TANH,
            pool("avg"),
            FLATTEN,
            linear(13),
            TANH,
            linear(10),
        ],
    ),
    "sigmoid": Model((2, 3, 5), [SIGMOID]),
    "tanh": Model((2, 3, 5), [TANH]),
    "activations in a row": Model(
        (3, 6, 5),
        [
            conv(4, 3),
            TANH,
            SIGMOID,
            TANH,
            pool("avg"),
            SIGMOID,
            SIGMOID,
            FLATTEN,
            TANH,
            linear(3),
            SIGMOID,
            TANH,
        ],
    ),
    "activations first": Model((7,), [TANH, SIGMOID, linear(9), TANH, linear(4)]),
    "all linear": Model(
        (3, 9, 7),
        [
            conv(5, (3, 2), stride=(2, 1), padding=(0, 1), bias=False),
            conv(4, 3, dilation=(1, 2)),
            pool("avg", 2, 1, 1),
            FLATTEN,
            linear(11),
            linear(6, bias=False),
        ],
    ),
    "max pool of tanh": Model(
        (2, 8, 8), [conv(3, 3), TANH, pool("max"), SIGMOID, conv(5, 3), TANH]
    ),
    "lenet5 of 1998": Model(
        (1, 16, 16),
        [
            conv(6, 5),
            SCALED_TANH,
            subsample(),
            SCALED_TANH,
            connected(some(6, 16), 3),
            SCALED_TANH,
            subsample(),
            SCALED_TANH,
            conv(19, (2, 2)),
            SCALED_TANH,
            FLATTEN,
            linear(11),
            SCALED_TANH,
            rbf(10, 11),
        ],
    ),
    "five taps of a table": Model(
        (5, 8, 9), [connected(some(5, 7), (2, 5), padding=(0, 2)), SCALED_TANH, subsample((3, 1))]
    ),
    "scaled tanh": Model(
        (5,), [SCALED_TANH, {"kind": "scaled_tanh", "amplitude": -0.5, "slope": 3.0}]
    ),
}

BATCHES = [1, 15, 16, 17, 33, 257]  # 257: more tiles than gradient shards

exact_model = pytest.mark.parametrize("model", EXACT.values(), ids=EXACT)
smooth_model = pytest.mark.parametrize("model", SMOOTH.values(), ids=SMOOTH)
any_model = pytest.mark.parametrize("model", (EXACT | SMOOTH).values(), ids=EXACT | SMOOTH)


def assert_close(actual, expected, eps=16):
    """Within 16 eps of the array's norm.

    A sum of n terms of random sign errs by less than sqrt(n) eps / 2 of its norm, 10 eps for the
    400 terms that are the most here; each lane and tile sums for itself, which makes it less. The
    largest error seen is 4 eps. A term lost or doubled shows at thousands of eps.
    """
    assert actual.shape == expected.shape
    error, norm = np.linalg.norm(actual - expected), np.linalg.norm(expected)
    assert error <= eps * EPS * norm, f"error {error / norm / EPS:.3g} eps of the norm"


WIDE = Model(
    (35, 9, 8),
    [
        conv(33, 3, padding=1),
        RELU,
        pool("max", 3, 2, 1),
        TANH,
        conv(17, (2, 3), stride=(1, 2), dilation=(2, 1)),
        SIGMOID,
        pool("avg", 2, 1, 1),
        conv(16, 2),
        RELU,
        FLATTEN,
        linear(21),
        RELU,
        linear(18),
    ],
)


WIDE_1998 = Model(
    (35, 9, 8),
    [
        connected(some(35, 33), 3, padding=1),
        SCALED_TANH,
        subsample((2, 2)),
        SCALED_TANH,
        connected(some(33, 17), (2, 3), stride=(1, 2), dilation=(2, 1), bias=False),
        TANH,
        subsample((2, 1)),
        FLATTEN,
        linear(21),
        SCALED_TANH,
        rbf(18, 21),
    ],
)

STRIDED = Model(
    (17, 11, 12),
    [
        conv(18, (3, 2), stride=(3, 2), padding=(2, 1), dilation=(1, 3)),
        RELU,
        conv(3, 2, stride=(2, 3), bias=False),
        TANH,
        conv(35, (1, 2)),
        pool("max", (2, 1), 1),
        pool("avg", 1),
    ],
)
FEW = EXACT | SMOOTH | {"wide": WIDE, "wide, of 1998": WIDE_1998, "strided": STRIDED}
trained_model = pytest.mark.parametrize("model", FEW.values(), ids=FEW)
few = pytest.mark.parametrize("batch", [1, 2, 3, 4])
LOSSES = {
    "cross entropy": {},
    "smoothed": {"setting": 0.1},
    "squared error": {"loss": "mse"},
    "mle": {"loss": "mle"},
    "map": {"loss": "map", "setting": 3.0},
}
