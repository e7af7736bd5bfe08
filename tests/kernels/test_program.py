"""Whole programs: forward, backward and training step against the float64 reference, and what must not change a bit.

A `Model` is a chain of layers with parameters, both as a program and as a composition of reference functions. Where
every op is made of additions, multiplications by integers and choices, the data are small integers: float32 is exact
then, and so is the comparison, ties included. Chains with exponentials are compared with a tolerance.
"""

import os
import subprocess
import sys
import threading
from importlib import import_module

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lenet5c import reference
from lenet5c.kernels.engine import _vector, lowering
from lenet5c.kernels.simd import _cpu, dispatch
from lenet5c.kernels.engine._program import Program
from lenet5c.nn.sequential import StepsTaken
from lenet5c.optim import optimizer

EPS = np.finfo(np.float32).eps
TILES = {
    isa: import_module(f"lenet5c.kernels.simd._tiles_{isa}").kernels for isa in _cpu.supported()
}
FUSED = [isa for isa in TILES if _vector.instructions(TILES[isa]) in ("avx512", "avx2", "neon")]
each_isa = pytest.mark.parametrize("isa", TILES)

RELU, SIGMOID, TANH, FLATTEN = ({"kind": kind} for kind in ("relu", "sigmoid", "tanh", "flatten"))
SCALED_TANH = {"kind": "scaled_tanh", "amplitude": 1.7159, "slope": 2 / 3}
WINDOW = ("stride", "padding", "dilation", "groups")
CONNECTED = ("stride", "padding", "dilation", "table")


def conv(out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
    return {"kind": "conv2d", "out_channels": out_channels, "kernel_size": reference.pair(kernel_size),
            "stride": reference.pair(stride), "padding": reference.pair(padding),
            "dilation": reference.pair(dilation), "groups": groups, "has_bias": bias}  # fmt: skip


def connected(table, kernel_size, **options):
    """A convolution with a connection table (in_channels, out_channels)."""
    table = np.array(table, bool)
    connections = np.flatnonzero(table.T).astype(np.intp)
    return conv(table.shape[1], kernel_size, **options) | {
        "table": table,
        "connections": connections,
    }


def some(in_channels, out_channels):
    """A table of two thirds of all connections."""
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
    return {"kind": f"{kind}_pool2d", "kernel_size": reference.pair(kernel_size), "stride": reference.pair(stride),
            "padding": reference.pair(padding), **options}  # fmt: skip


class Model:
    """A chain of layers; `params` holds each weight and bias, with some floats between them that belong to none."""

    def __init__(self, input_shape, layers):
        self.input_shape, self.layers = input_shape, []
        self.views = []  # of each layer: slice and shape of its weight, slice of its bias
        end = 3
        for i, layer in enumerate(layers):
            shape = lowering.lower(input_shape, self.layers).output_shape
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
        self.plan = lowering.lower(input_shape, self.layers)
        self.output_shape = self.plan.output_shape

    def program(self, isa=dispatch.isa):
        return Program(self.plan, TILES[isa])

    def draw(self, batch, integer=False, seed=0):
        """params, x and dy, as rows: small integers, or normal numbers of which each layer keeps the scale."""
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
        """dx and the gradient of params."""
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
                twin = "connected_conv2d" if "table" in layer else kind
                dy, dweight, dbias = getattr(reference, f"{twin}_backward")(
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
    count = len(options["index"]) if options.get("index") is not None else len(samples)
    out = np.full((count, int(np.prod(program.output_shape))), np.nan, np.float32)
    program.forward(samples, params, out, threads, **options)
    return out


def backward(program, params, x, dy, threads=1, need_dx=True, by_sample=False):
    grads = np.full_like(params, np.nan)
    dx = np.full_like(x, np.nan) if need_dx else None
    program.backward(x, dy, params, grads, dx, threads, by_sample=by_sample)
    return dx, grads[: program.param_extent]


def train_step(program, params, samples, labels, threads=1, **options):
    """Loss, correct answers, and a dict of all arrays that come out."""
    count = len(labels)
    grads = np.full_like(params, np.nan)
    out = np.full((count, int(np.prod(program.output_shape))), np.nan, np.float32)
    loss, correct = program.train_step(samples, labels, params, grads, threads, out=out, **options)
    return loss, correct, out, grads[: program.param_extent]


def answers(model, out):
    """The classes that outputs mean."""
    return (-out if model.plan.penalties else out).argmax(axis=1)


def draw_labels(model, batch):
    return np.random.default_rng(1).integers(model.plan.output_size, size=batch).astype(np.int32)


def bits(*results):
    return [np.asarray(result).tobytes() for result in results if result is not None]


EXACT = {
    "lenet5 of three maps": Model((1, 12, 12), [
        conv(3, 5, padding=2), RELU, pool("max"), conv(16, 5), RELU, pool("max"), FLATTEN,
        linear(13), RELU, linear(10)]),
    "conv": Model((2, 5, 7), [conv(3, 3)]),
    "conv without bias, strided, padded, dilated": Model((3, 9, 8), [
        conv(4, (2, 3), stride=(2, 1), padding=(1, 2), dilation=(3, 2), bias=False), RELU, conv(5, 2, stride=3)]),
    "groups": Model((4, 6, 5), [conv(6, 3, groups=2, padding=1), RELU, conv(6, 2, groups=6), pool("max", 2, 1)]),
    "conv as wide as the image": Model((2, 4, 3), [conv(7, (4, 3)), RELU, conv(5, 1), FLATTEN, RELU, linear(3)]),
    "padded conv as wide as the image": Model((2, 2, 3), [RELU, conv(7, (4, 5), padding=1), RELU]),
    "max pool takes the mask, overlapping": Model((2, 9, 8), [
        conv(3, 2), RELU, pool("max", 3, 2, 1), RELU, pool("max", (2, 1), 1)]),
    "max pool first": Model((3, 7, 6), [pool("max", (3, 2), (2, 3), 1), conv(4, 2), RELU]),
    "max pool last": Model((3, 6, 6), [conv(4, 3), pool("max", (2, 4))]),
    "avg pool": Model((2, 6, 8), [conv(3, 3, padding=1), RELU, pool("avg"), RELU, pool("avg", (1, 2), 1)]),
    "avg pool, padded": Model((2, 5, 6), [
        conv(3, 2), pool("avg", 2, 2, 1), conv(2, 1), pool("avg", 2, 1, 1, count_include_pad=False)]),
    "relu": Model((2, 3, 5), [RELU]),
    "relu twice, then a pool": Model((2, 4, 5), [RELU, RELU, pool("avg"), RELU, RELU, FLATTEN, linear(3), RELU, RELU]),
    "relu before and after a max pool": Model((2, 6, 6), [conv(3, 3), RELU, RELU, pool("max"), RELU, RELU, conv(2, 2)]),
    "linear": Model((5,), [linear(1)]),
    "linear, many": Model((17,), [linear(33, bias=False), RELU, linear(49), RELU, linear(2)]),
    "relu on features": Model((19,), [RELU, linear(7), RELU]),
    "flatten": Model((2, 3, 5), [FLATTEN]),
    "nothing": Model((2, 3), []),
    "connection table": Model((5, 6, 7), [connected(some(5, 4), (3, 2), padding=(1, 0)), RELU,
                                          connected([[1, 0, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1]], 3, bias=False)]),
    "table of neighbours, strided, dilated": Model((4, 9, 8), [
        connected([[1, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 1]], (2, 3), stride=(2, 1), dilation=(1, 2)),
        pool("max", 2)]),
    "table as wide as the image": Model((3, 2, 3), [connected(some(3, 4), (2, 3)), RELU, FLATTEN, linear(3)]),
    "subsampling": Model((3, 7, 5), [subsample(), RELU, conv(4, 2), subsample((1, 1))]),
    "subsampling last": Model((2, 6, 8), [conv(3, 3, bias=False), subsample((2, 3))]),
    "distances": Model((7,), [rbf(3, 7, integer=True)]),
    "distances of a table": Model((3, 6, 6), [
        connected(some(3, 5), 3), subsample(), RELU, FLATTEN, linear(6, bias=False), rbf(4, 6, integer=True)]),
}  # fmt: skip

# Rows of five taps over enough channels go by winograd.pxi, which is not exact.
SMOOTH = {
    "lenet5": Model((1, 12, 12), [
        conv(6, 5, padding=2), RELU, pool("max"), conv(16, 5), RELU, pool("max"), FLATTEN,
        linear(13), RELU, linear(10)]),
    "five taps, groups": Model((8, 9, 11), [
        conv(14, (3, 5), padding=(1, 0), groups=2), SIGMOID,
        conv(5, (7, 5), padding=(0, 2), dilation=(1, 1), bias=False)]),
    "five taps, dilated rows, pooled": Model((5, 13, 8), [
        conv(7, (2, 5), dilation=(3, 1)), pool("max"), TANH, conv(9, (1, 5), padding=(0, 2))]),
    "lenet5, tanh": Model((1, 12, 12), [
        conv(6, 5, padding=2), TANH, pool("avg"), conv(16, 5), TANH, pool("avg"), FLATTEN,
        linear(13), TANH, linear(10)]),
    "sigmoid": Model((2, 3, 5), [SIGMOID]),
    "tanh": Model((2, 3, 5), [TANH]),
    "activations in a row": Model((3, 6, 5), [
        conv(4, 3), TANH, SIGMOID, TANH, pool("avg"), SIGMOID, SIGMOID, FLATTEN, TANH, linear(3), SIGMOID, TANH]),
    "activations first": Model((7,), [TANH, SIGMOID, linear(9), TANH, linear(4)]),
    "all linear": Model((3, 9, 7), [
        conv(5, (3, 2), stride=(2, 1), padding=(0, 1), bias=False), conv(4, 3, dilation=(1, 2)), pool("avg", 2, 1, 1),
        FLATTEN, linear(11), linear(6, bias=False)]),
    "max pool of tanh": Model((2, 8, 8), [conv(3, 3), TANH, pool("max"), SIGMOID, conv(5, 3), TANH]),
    "lenet5 of 1998": Model((1, 16, 16), [
        conv(6, 5), SCALED_TANH, subsample(), SCALED_TANH, connected(some(6, 16), 3), SCALED_TANH, subsample(),
        SCALED_TANH, conv(19, (2, 2)), SCALED_TANH, FLATTEN, linear(11), SCALED_TANH, rbf(10, 11)]),
    "five taps of a table": Model((5, 8, 9), [
        connected(some(5, 7), (2, 5), padding=(0, 2)), SCALED_TANH, subsample((3, 1))]),
    "scaled tanh": Model((5,), [SCALED_TANH, {"kind": "scaled_tanh", "amplitude": -0.5, "slope": 3.0}]),
}  # fmt: skip

BATCHES = [1, 15, 16, 17, 33, 257]  # 257: more tiles than gradient shards

exact_model = pytest.mark.parametrize("model", EXACT.values(), ids=EXACT)
smooth_model = pytest.mark.parametrize("model", SMOOTH.values(), ids=SMOOTH)
any_model = pytest.mark.parametrize("model", (EXACT | SMOOTH).values(), ids=EXACT | SMOOTH)


@pytest.mark.parametrize("batch", BATCHES)
@exact_model
def test_equals_reference(model, batch):
    params, x, dy = model.draw(batch, integer=True)
    values = model.reference_forward(params, x)
    dx, dparams = model.reference_backward(params, values, dy)
    assert (
        max(abs(a).max(initial=0) for a in (*values, dx, dparams)) < 2**22
    )  # far from where float32 rounds integers
    for isa in TILES:
        program = model.program(isa)
        assert_array_equal(forward(program, params, x), values[-1].reshape(batch, -1))
        actual_dx, actual_grads = backward(program, params, x, dy)
        assert_array_equal(actual_dx, dx)
        assert_array_equal(actual_grads, dparams[: program.param_extent])
        assert_array_equal(backward(program, params, x, dy, need_dx=False)[1], actual_grads)


def assert_close(actual, expected, eps=16):
    """Within 16 eps of the array's norm.

    A sum of n terms of random sign errs by less than sqrt(n) eps / 2 of its norm, 10 eps for the 400 terms that are
    the most here; each lane and tile sums for itself, which makes it less. The largest error seen is 4 eps. A term
    lost or doubled shows at thousands of eps.
    """
    assert actual.shape == expected.shape
    error, norm = np.linalg.norm(actual - expected), np.linalg.norm(expected)
    assert error <= eps * EPS * norm, f"error {error / norm / EPS:.3g} eps of the norm"


@pytest.mark.parametrize("batch", BATCHES)
@smooth_model
def test_matches_reference(model, batch):
    params, x, dy = model.draw(batch)
    values = model.reference_forward(params, x)
    dx, dparams = model.reference_backward(params, values, dy)
    for isa in TILES:
        program = model.program(isa)
        assert_close(forward(program, params, x), values[-1].reshape(batch, -1))
        actual_dx, actual_grads = backward(program, params, x, dy)
        assert_close(actual_dx, dx)
        assert_close(actual_grads, dparams[: program.param_extent])


@pytest.mark.parametrize("batch", [1, 2, 5, 6])
@exact_model
def test_a_few_samples_equal_reference(model, batch):
    params, x, _ = model.draw(batch, integer=True)
    expected = model.reference_forward(params, x)[-1].reshape(batch, -1)
    for isa in TILES:
        for threads in (1, 3):
            assert_array_equal(
                forward(model.program(isa), params, x, threads, by_sample=True), expected
            )


@pytest.mark.parametrize("batch", [1, 5])
@smooth_model
def test_a_few_samples_match_reference(model, batch):
    params, x, _ = model.draw(batch)
    expected = model.reference_forward(params, x)[-1].reshape(batch, -1)
    for isa in TILES:
        assert_close(forward(model.program(isa), params, x, by_sample=True), expected)


WIDE = Model((35, 9, 8), [
    conv(33, 3, padding=1), RELU, pool("max", 3, 2, 1), TANH, conv(17, (2, 3), stride=(1, 2), dilation=(2, 1)), SIGMOID,
    pool("avg", 2, 1, 1), conv(16, 2), RELU, FLATTEN, linear(21), RELU, linear(18)])  # fmt: skip


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_a_few_samples_of_many_channels(batch):
    """More channels than lanes, and numbers of them that fill no whole vectors."""
    params, x, _ = WIDE.draw(batch)
    expected = WIDE.reference_forward(params, x)[-1].reshape(batch, -1)
    for isa in TILES:
        program = WIDE.program(isa)
        out = forward(program, params, x, by_sample=True)
        assert_close(out, expected)
        # What a sample gives does not depend on the threads, nor on those that come with it.
        assert bits(out) == bits(forward(program, params, x, 3, by_sample=True))
        assert bits(out[-1:]) == bits(forward(program, params, x[-1:], by_sample=True))


@each_isa
def test_a_few_samples_of_bytes_by_index(isa):
    rng = np.random.default_rng(3)
    model = SMOOTH["lenet5"]
    params = model.draw(1, integer=True)[0]
    images = rng.integers(0, 256, (9, model.plan.input_size)).astype(np.uint8)
    offset = rng.integers(-3, 3, model.plan.input_size).astype(np.float32)
    index = np.array([8, 0, 3])
    floats = images.astype(np.float32) / 4 + offset
    program = model.program(isa)
    conversion = {"scale": 0.25, "offset": offset, "index": index}
    expected = forward(program, params, floats[index], by_sample=True)
    assert bits(forward(program, params, images, by_sample=True, **conversion)) == bits(expected)


def test_a_not_a_number_of_one_sample_stays_in_it():
    model = SMOOTH["lenet5"]
    params, x, _ = model.draw(3)
    out = forward(model.program("baseline"), params, x, by_sample=True)
    x[1, 70] = np.nan
    spoilt = forward(model.program("baseline"), params, x, by_sample=True)
    assert np.isnan(spoilt[1]).all()
    assert bits(spoilt[[0, 2]]) == bits(out[[0, 2]])


def test_infinite_values_do_not_leak_between_channels():
    """Lanes beyond the last channel hold nothing that could spoil a sum."""
    model = Model((3, 4, 4), [conv(2, 1), conv(3, 1), FLATTEN])
    params, x, _ = model.draw(1)
    x[:] = 3e38
    out = forward(model.program("baseline"), params, x, by_sample=True)
    assert bits(np.isnan(out)) == bits(np.isnan(forward(model.program("baseline"), params, x)))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(
    "options",
    [{}, {"setting": 0.1}, {"loss": "mse"}],
    ids=["cross entropy", "smoothed", "squared error"],
)
@smooth_model
def test_train_step_matches_reference(model, batch, options):
    params, x, _ = model.draw(batch)
    labels = draw_labels(model, batch)
    logits = model.reference_forward(params, x)
    if options.get("loss") == "mse":
        options = options | {"targets": np.eye(model.plan.output_size, dtype=np.float32)[labels]}
        loss, dy = reference.mse_loss(logits[-1].reshape(batch, -1), options["targets"])
    else:
        loss, dy = reference.cross_entropy(
            logits[-1].reshape(batch, -1), labels, options.get("setting", 0)
        )
    dx, dparams = model.reference_backward(params, logits, dy)
    for isa in TILES:
        program = model.program(isa)
        actual_loss, correct, out, grads = train_step(program, params, x, labels, **options)
        assert abs(actual_loss - loss) <= 16 * EPS * max(loss, 1)
        assert correct == np.sum(answers(model, out) == labels)
        assert_array_equal(out, forward(program, params, x))
        assert_close(grads, dparams[: program.param_extent])
        actual_dx = np.full_like(x, np.nan)
        train_step(program, params, x, labels, dx=actual_dx, **options)
        assert_close(actual_dx, dx)


@each_isa
@any_model
def test_train_step_is_forward_loss_and_backward(model, isa):
    """To the bit, with the loss as a program without ops."""
    params, x, _ = model.draw(33, integer=True)
    labels = draw_labels(model, 33)
    program = model.program(isa)
    loss, correct, out, grads = train_step(program, params, x, labels)
    logits = forward(program, params, x)
    nothing, dy = np.zeros(0, np.float32), np.full_like(logits, np.nan)
    by_hand, _ = Program(lowering.lower(logits.shape[1:], []), TILES[isa]).train_step(
        logits, labels, nothing, nothing, 1, dx=dy
    )
    assert (by_hand, np.sum(answers(model, logits) == labels)) == (loss, correct)
    assert bits(out, grads) == bits(logits, backward(program, params, x, dy)[1])


@each_isa
@any_model
def test_same_bits_at_any_thread_count(model, isa):
    params, x, dy = model.draw(257)
    labels = draw_labels(model, 257)
    program = model.program(isa)

    def everything(threads):
        return bits(
            forward(program, params, x, threads),
            *backward(program, params, x, dy, threads),
            *train_step(program, params, x, labels, threads),
        )

    serial = everything(1)
    for threads in (2, 3, 8, 1):
        assert everything(threads) == serial


# Training on a few samples, one by one.

WIDE_1998 = Model((35, 9, 8), [
    connected(some(35, 33), 3, padding=1), SCALED_TANH, subsample((2, 2)), SCALED_TANH,
    connected(some(33, 17), (2, 3), stride=(1, 2), dilation=(2, 1), bias=False), TANH, subsample((2, 1)), FLATTEN,
    linear(21), SCALED_TANH, rbf(18, 21)])  # fmt: skip
STRIDED = Model((17, 11, 12), [
    conv(18, (3, 2), stride=(3, 2), padding=(2, 1), dilation=(1, 3)), RELU, conv(3, 2, stride=(2, 3), bias=False), TANH,
    conv(35, (1, 2)), pool("max", (2, 1), 1), pool("avg", 1)])  # fmt: skip
FEW = EXACT | SMOOTH | {"wide": WIDE, "wide, of 1998": WIDE_1998, "strided": STRIDED}
trained_model = pytest.mark.parametrize("model", FEW.values(), ids=FEW)
few = pytest.mark.parametrize("batch", [1, 2, 3, 4])
LOSSES = {"cross entropy": {}, "smoothed": {"setting": 0.1}, "squared error": {"loss": "mse"}, "mle": {"loss": "mle"},
          "map": {"loss": "map", "setting": 3.0}}  # fmt: skip


def reference_loss(model, out, labels, options):
    """Loss, its gradient, and the options with the targets that the loss may need."""
    name, setting = options.get("loss", "cross_entropy"), options.get("setting", 0)
    if name == "mse":
        options = options | {"targets": np.eye(model.plan.output_size, dtype=np.float32)[labels]}
        return *reference.mse_loss(out, options["targets"]), options
    if name == "mle":
        return *reference.mle_loss(out, labels), options
    twin = reference.map_loss if name == "map" else reference.cross_entropy
    return *twin(out, labels, setting), options


@few
@exact_model
def test_one_by_one_equals_reference(model, batch):
    params, x, dy = model.draw(batch, integer=True)
    dx, dparams = model.reference_backward(params, model.reference_forward(params, x), dy)
    for isa in TILES:
        program = model.program(isa)
        actual_dx, actual_grads = backward(program, params, x, dy, by_sample=True)
        assert_array_equal(actual_dx, dx)
        assert_array_equal(actual_grads, dparams[: program.param_extent])
        assert_array_equal(
            backward(program, params, x, dy, need_dx=False, by_sample=True)[1], actual_grads
        )


@few
@trained_model
def test_one_by_one_matches_reference(model, batch):
    """Whatever is wanted of it: the gradients with the input's or without are the same bits."""
    params, x, dy = model.draw(batch)
    dx, dparams = model.reference_backward(params, model.reference_forward(params, x), dy)
    for isa in TILES:
        program = model.program(isa)
        actual_dx, actual_grads = backward(program, params, x, dy, by_sample=True)
        assert_close(actual_dx, dx)
        assert_close(actual_grads, dparams[: program.param_extent])
        assert bits(backward(program, params, x, dy, need_dx=False, by_sample=True)[1]) == bits(
            actual_grads
        )


@few
@pytest.mark.parametrize("options", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(
    "model",
    [model for model in FEW.values() if model.plan.output_size > 1],
    ids=[name for name, model in FEW.items() if model.plan.output_size > 1],
)
def test_train_step_one_by_one_matches_reference(model, options, batch):
    params, x, _ = model.draw(batch, seed=3)
    labels = draw_labels(model, batch)
    values = model.reference_forward(params, x)
    loss, dy, options = reference_loss(model, values[-1].reshape(batch, -1), labels, options)
    dx, dparams = model.reference_backward(params, values, dy)
    for isa in TILES:
        program = model.program(isa)
        actual_dx = np.full_like(x, np.nan)
        actual_loss, correct, out, grads = train_step(
            program, params, x, labels, dx=actual_dx, by_sample=True, **options)  # fmt: skip
        assert abs(actual_loss - loss) <= 16 * EPS * max(abs(loss), 1)
        assert correct == np.sum(answers(model, out) == labels)
        assert bits(out) == bits(forward(program, params, x, by_sample=4))
        # Logits of some tens, as the penalties are, cost the softmax some tens of roundings.
        assert_close(grads, dparams[: program.param_extent], eps=64 if model.plan.penalties else 16)
        assert_close(actual_dx, dx, eps=64 if model.plan.penalties else 16)


@pytest.mark.parametrize("options", LOSSES.values(), ids=LOSSES)
@few
@trained_model
def test_train_step_one_by_one_is_forward_loss_and_backward(model, batch, options):
    """To the bit, with the loss as a program without ops, by samples or by tiles: both have the same loss."""
    params, x, _ = model.draw(batch, seed=4)
    labels = draw_labels(model, batch)
    options = reference_loss(model, np.zeros((batch, model.plan.output_size)), labels, options)[2]
    for isa in TILES:
        program = model.program(isa)
        loss, correct, out, grads = train_step(
            program, params, x, labels, by_sample=True, **options
        )
        nothing = np.zeros(0, np.float32)
        for by_sample in (False, True):
            dy = np.full_like(out, np.nan)
            by_hand, _ = Program(lowering.lower(out.shape[1:], []), TILES[isa]).train_step(
                out, labels, nothing, nothing, 1, dx=dy, by_sample=by_sample, **options
            )
            assert by_hand == pytest.approx(
                loss, rel=1e-14, abs=1e-14
            )  # sums of the samples' losses, in double
            if by_sample:
                assert by_hand == loss
            assert bits(backward(program, params, x, dy, by_sample=True)[1]) == bits(grads)


@pytest.mark.parametrize("batch", [6, 17])
@any_model
def test_more_samples_go_in_tiles(model, batch):
    params, x, dy = model.draw(batch)
    labels, program = draw_labels(model, batch), model.program()
    with_it, without = (
        bits(*backward(program, params, x, dy, by_sample=by_sample),
             *train_step(program, params, x, labels, by_sample=by_sample))
        for by_sample in (True, False))  # fmt: skip
    assert with_it == without


@few
@trained_model
def test_one_by_one_has_the_same_bits_at_any_thread_count_and_instruction_set(model, batch):
    params, x, dy = model.draw(batch)
    labels = draw_labels(model, batch)
    expected = None
    for isa in FUSED:
        program = model.program(isa)
        for threads in (1, 2, 8):
            actual = bits(*backward(program, params, x, dy, threads, by_sample=True),
                          *train_step(program, params, x, labels, threads, by_sample=True))  # fmt: skip
            expected = expected or actual
            assert actual == expected, (isa, threads)


@few
@trained_model
def test_one_by_one_in_any_state_of_the_workspace(model, batch):
    """What others have left in the arenas must not show, neither between channels nor in borders of zeros."""
    params, x, dy = model.draw(batch)
    fresh = bits(*backward(model.program(), params, x, dy, by_sample=True))
    program = model.program()
    many = (
        np.full((40, x.shape[1]), np.nan, np.float32),
        np.full((40, dy.shape[1]), np.inf, np.float32),
    )
    for spoil in (many, (many[0][:4], many[1][:4])):
        for by_sample in (False, True):
            backward(program, np.full_like(params, np.nan), *spoil, by_sample=by_sample)
            assert bits(*backward(program, params, x, dy, by_sample=True)) == fresh


@trained_model
def test_one_by_one_samples_do_not_mix(model):
    """A sample's outputs and input gradient depend neither on the others nor on their number."""
    params, x, dy = model.draw(4)
    program = model.program()
    clean = backward(program, params, x, dy, by_sample=True)[0]
    for n in range(4):
        alone = backward(program, params, x[n : n + 1], dy[n : n + 1], by_sample=True)[0]
        assert bits(alone[0]) == bits(clean[n])
    x[1] = np.nan
    dirty = backward(program, params, x, dy, by_sample=True)[0]
    assert bits(dirty[[0, 2, 3]]) == bits(clean[[0, 2, 3]])


@each_isa
def test_one_by_one_bytes_by_index(isa):
    rng = np.random.default_rng(3)
    model = SMOOTH["lenet5 of 1998"]
    params = model.draw(1)[0]
    images = rng.integers(0, 256, (9, model.plan.input_size)).astype(np.uint8)
    offset = rng.standard_normal(model.plan.input_size).astype(np.float32)
    index, labels, scale = np.array([8, 0, 3]), np.array([1, 9, 4], np.int32), 1 / 77.7
    floats = images.astype(np.float32) * np.float32(scale) + offset
    program, options = model.program(isa), {"loss": "mle", "by_sample": True}
    expected = bits(*train_step(program, params, floats[index], labels, **options))
    assert bits(*train_step(program, params, floats, labels, index=index, **options)) == expected
    conversion = {"scale": scale, "offset": offset}
    assert (
        bits(*train_step(program, params, images, labels, index=index, **conversion, **options))
        == expected
    )
    assert (
        bits(*train_step(program, params, images[index], labels, **conversion, **options))
        == expected
    )


@pytest.mark.skipif(not {"avx2", "avx512"} <= TILES.keys(), reason="needs both AVX2 and AVX-512")
@any_model
def test_same_bits_with_avx2_and_avx512(model):
    params, x, dy = model.draw(33)
    labels = draw_labels(model, 33)
    results = [
        bits(
            forward(program, params, x),
            *backward(program, params, x, dy),
            *train_step(program, params, x, labels),
        )
        for program in (model.program("avx2"), model.program("avx512"))
    ]
    assert results[0] == results[1]


def train(model, isa, optimiser, threads, steps=4):
    """Parameters and state after a few steps."""
    params, x, _ = model.draw(100)
    labels = draw_labels(model, 100)
    program = model.program(isa)
    grads, state = np.zeros_like(params), [np.zeros_like(params) for _ in range(2)]
    for t in range(1, steps + 1):
        program.train_step(x, labels, params, grads, threads)
        if optimiser == "sgd":
            _vector.sgd(TILES[isa], params, grads, state[0], 0.1, 0.9, True, 1e-3)
        elif optimiser == "adagrad":
            _vector.adagrad(TILES[isa], params, grads, state[0], 0.01, 1e-10, 1e-3)
        elif optimiser == "rmsprop":
            _vector.rmsprop(TILES[isa], params, grads, *state, 0.001, 0.99, 1e-8, 0.9, 1e-3)
        else:
            corrections = 1 - 0.9**t, np.sqrt(1 - 0.999**t)
            _vector.adam(
                TILES[isa], params, grads, *state, 0.01, 0.9, 0.999, 1e-8, *corrections, 1e-3, True
            )
    assert np.all(np.isfinite(params))
    return bits(params, *state)


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adagrad", "rmsprop"])
@each_isa
def test_same_bits_of_training_at_any_thread_count(isa, optimiser):
    serial = train(SMOOTH["lenet5"], isa, optimiser, 1)
    for threads in (2, 3, 8):
        assert train(SMOOTH["lenet5"], isa, optimiser, threads) == serial


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "sdlm", "adagrad", "rmsprop"])
def test_updates_have_the_same_bits_with_every_instruction_set(optimiser):
    """They fuse no multiply-add, so that even the baseline agrees."""
    rng = np.random.default_rng(0)
    params, grads = rng.standard_normal((2, 1003)).astype(np.float32)
    results = []
    for tiles in TILES.values():
        p, state = params.copy(), [np.zeros_like(params) for _ in range(2)]
        for t in range(1, 6):
            if optimiser == "sgd":
                _vector.sgd(tiles, p, grads, state[0], 0.1, 0.9, True, 1e-3)
            elif optimiser == "sdlm":
                _vector.sdlm(tiles, p, grads, 1 / (1 + abs(grads)), 0.1)
            elif optimiser == "adagrad":
                _vector.adagrad(tiles, p, grads, state[0], 0.1, 1e-10, 1e-3)
            elif optimiser == "rmsprop":
                _vector.rmsprop(tiles, p, grads, *state, 0.01, 0.99, 1e-8, 0.9, 1e-3)
            else:
                _vector.adam(
                    tiles,
                    p,
                    grads,
                    *state,
                    0.01,
                    0.9,
                    0.999,
                    1e-8,
                    1 - 0.9**t,
                    1 - 0.999**t,
                    1e-3,
                    False,
                )
        results.append(bits(p, *state))
    assert all(result == results[0] for result in results)


@each_isa
@exact_model
def test_dead_lanes_contribute_nothing(model, isa):
    """The gradient of a batch is the sum of its samples' own gradients; the data are integers, so exactly."""
    params, x, dy = model.draw(17, integer=True)
    program = model.program(isa)
    dx, grads = backward(program, params, x, dy)
    singles = [backward(program, params, x[i : i + 1], dy[i : i + 1]) for i in range(17)]
    assert_array_equal(dx, np.concatenate([single_dx for single_dx, _ in singles]))
    assert_array_equal(grads, sum(single_grads for _, single_grads in singles))


@each_isa
@smooth_model
def test_train_step_is_the_mean_of_its_samples(model, isa):
    params, x, _ = model.draw(17)
    labels = draw_labels(model, 17)
    program = model.program(isa)
    loss, correct, out, grads = train_step(program, params, x, labels)
    singles = [train_step(program, params, x[i : i + 1], labels[i : i + 1]) for i in range(17)]
    losses, corrects, outs, single_grads = zip(*singles, strict=True)
    assert abs(loss - np.mean(losses)) <= 4 * EPS * loss
    assert correct == sum(corrects)
    assert_array_equal(out, np.concatenate(outs))
    # The same float32 products, summed in another order.
    assert_close(grads, np.mean(single_grads, axis=0, dtype=np.float64))


@each_isa
@any_model
def test_samples_do_not_mix(model, isa):
    """A sample that is not a number spoils neither the outputs nor the input gradients of the others."""
    params, x, dy = model.draw(35)
    program = model.program(isa)
    clean = forward(program, params, x), backward(program, params, x, dy)[0]
    x[[3, 32]] = np.nan  # 32 is the one that fills the dead lanes
    others = np.delete(np.arange(35), [3, 32])
    dirty = forward(program, params, x), backward(program, params, x, dy)[0]
    assert bits(*(a[others] for a in dirty)) == bits(*(a[others] for a in clean))


@each_isa
def test_any_state_of_the_workspace_gives_the_same_bits(isa):
    """A program keeps its arenas; what an earlier batch left there must not show."""
    model = SMOOTH["lenet5"]
    params, x, dy = model.draw(17)
    fresh = backward(model.program(isa), params, x, dy)
    program = model.program(isa)
    backward(program, params, np.full_like(x, np.nan), np.full_like(dy, np.inf), threads=2)
    assert bits(*backward(program, params, x, dy)) == bits(*fresh)


@each_isa
class TestBytes:
    """Samples of uint8 become float32 while they are packed, as NumPy would do it."""

    model = SMOOTH["lenet5"]

    def draw(self):
        rng = np.random.default_rng(2)
        params = self.model.draw(1)[0]
        images = rng.integers(256, size=(50, self.model.plan.input_size), dtype=np.uint8)
        offset = rng.standard_normal(self.model.plan.input_size).astype(np.float32)
        scale = 1 / 77.7
        index = rng.integers(50, size=33)
        floats = images.astype(np.float32) * np.float32(scale) + offset
        return params, images, {"scale": scale, "offset": offset}, index, floats

    def test_forward(self, isa):
        params, images, conversion, index, floats = self.draw()
        program = self.model.program(isa)
        expected = forward(program, params, floats)
        assert bits(forward(program, params, images, **conversion)) == bits(expected)
        for samples, options in ((images, conversion), (floats, {})):
            out = forward(program, params, samples, 2, index=index, **options)
            assert bits(out) == bits(expected[index])

    def test_train_step(self, isa):
        params, images, conversion, index, floats = self.draw()
        program = self.model.program(isa)
        labels = draw_labels(self.model, 33)
        expected = bits(*train_step(program, params, floats[index], labels))
        assert bits(*train_step(program, params, floats, labels, index=index)) == expected
        assert (
            bits(*train_step(program, params, images, labels, 2, index=index, **conversion))
            == expected
        )
        assert bits(*train_step(program, params, images[index], labels, **conversion)) == expected

    def test_read_only_arrays(self, isa):
        params, images, conversion, index, floats = self.draw()
        program = self.model.program(isa)
        expected = forward(program, params, images, index=index, **conversion)
        for array in (params, images, index, conversion["offset"]):
            array.flags.writeable = False
        assert bits(forward(program, params, images, index=index, **conversion)) == bits(expected)


class TestErrors:
    model = SMOOTH["lenet5"]

    def call(self, name="train_step", **changes):
        """A valid call on 5 samples, with some arguments changed; grads must stay as they were after an error."""
        params, x, dy = self.model.draw(5)
        inputs = {"samples": x, "params": params, "num_threads": 1}
        grads = np.full_like(params, 7)
        if name == "forward":
            inputs |= {"out": np.empty((5, 10), np.float32)}
        elif name == "backward":
            inputs |= {"dy": dy, "grads": grads, "dx": None}
        else:
            inputs |= {"labels": np.zeros(5, np.int32), "grads": grads}
        getattr(self.model.program(), name)(**inputs | changes)

    @pytest.mark.parametrize("name", ["forward", "backward", "train_step"])
    def test_none_for_a_valid_call(self, name):
        self.call(name)

    @pytest.mark.parametrize("name", ["forward", "train_step"])
    @pytest.mark.parametrize("wrong", [-1, 5, 2**40, -(2**63)])
    def test_index_out_of_range(self, name, wrong):
        with pytest.raises(IndexError, match=rf"index\[3\] is {wrong}.* 5 samples"):
            self.call(name, index=np.array([0, 4, 1, wrong, 2]))

    @pytest.mark.parametrize("wrong", [-1, 10, 2**31 - 1, -(2**31)])
    def test_labels_out_of_range(self, wrong):
        with pytest.raises(ValueError, match=rf"labels\[2\] is {wrong}.* 0 to 9"):
            self.call(labels=np.array([0, 9, wrong, 0, 0], np.int32))

    @pytest.mark.parametrize(
        "name, changes, message",
        [
            (
                "forward",
                {"samples": np.zeros((5, 143), np.float32)},
                "samples have 143 values.* 144",
            ),
            ("forward", {"samples": np.zeros((5, 144), np.uint8)}, "offset.* 144 values"),
            (
                "forward",
                {"samples": np.zeros((5, 144), np.uint8), "offset": np.zeros(1, np.float32)},
                "offset",
            ),
            ("forward", {"out": np.empty((4, 10), np.float32)}, "out"),
            ("forward", {"out": np.empty((5, 11), np.float32)}, "out"),
            ("forward", {"params": np.zeros(9, np.float32)}, "params"),
            ("backward", {"dy": np.zeros((4, 10), np.float32)}, "dy"),
            ("backward", {"dy": np.zeros((5, 9), np.float32)}, "dy"),
            ("backward", {"dx": np.zeros((5, 143), np.float32)}, "dx"),
            ("backward", {"params": np.zeros(9, np.float32)}, "params"),
            ("backward", {"grads": np.zeros(9, np.float32)}, "grads"),
            ("train_step", {"grads": np.zeros(9, np.float32)}, "grads"),
            ("train_step", {"labels": np.zeros(4, np.int32)}, "labels has 4 .* 5"),
            ("train_step", {"out": np.empty((5, 11), np.float32)}, "out"),
            ("train_step", {"dx": np.empty((4, 144), np.float32)}, "dx"),
            ("train_step", {"loss": "hinge"}, "'hinge'"),
            ("train_step", {"loss": "mse"}, r"targets.* \(5, 10\)"),
            ("train_step", {"loss": "mse", "targets": np.zeros((5, 9), np.float32)}, "targets"),
            (
                "train_step",
                {"samples": np.zeros((0, 144), np.float32), "labels": np.zeros(0, np.int32)},
                "one sample",
            ),
        ],
    )
    def test_wrong_sizes(self, name, changes, message):
        with pytest.raises(ValueError, match=message):
            self.call(name, **changes)

    def test_updates(self):
        a, b = np.zeros(3, np.float32), np.zeros(4, np.float32)
        for arrays in ((b, a, a), (a, b, a), (a, a, b)):
            with pytest.raises(ValueError, match="params, grads and velocity"):
                _vector.sgd(dispatch.tiles, *arrays, 0.1, 0, False, 0)
            with pytest.raises(ValueError, match="params, grads and inverse"):
                _vector.sdlm(dispatch.tiles, *arrays, 0.1)
        for i in range(4):
            arrays = [b if k == i else a for k in range(4)]
            with pytest.raises(ValueError, match="equally many"):
                _vector.adam(dispatch.tiles, *arrays, 0.1, 0.9, 0.999, 1e-8, 1, 1, 0, False)
            with pytest.raises(ValueError, match="equally many"):
                _vector.rmsprop(dispatch.tiles, *arrays, 0.1, 0.99, 1e-8, 0, 0)
        for arrays in ((b, a, a), (a, b, a), (a, a, b)):
            with pytest.raises(ValueError, match="params, grads and squares"):
                _vector.adagrad(dispatch.tiles, *arrays, 0.1, 1e-10, 0)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 31, 32, 33, 100])
@pytest.mark.parametrize("batch", [1, 15, 16, 17])
@each_isa
def test_samples_of_any_size_go_into_a_tile_and_back(size, batch, isa):
    """A program of no ops; floats keep their bits, bytes are scaled and shifted as NumPy does it."""
    program = Program(lowering.lower((size,), []), TILES[isa])
    rng = np.random.default_rng(0)
    params, out = np.zeros(0, np.float32), np.full((batch + 1, size), np.nan, np.float32)
    floats = rng.standard_normal((batch, size)).astype(np.float32)
    program.forward(floats, params, out[:batch], 1)
    assert out[:batch].tobytes() == floats.tobytes()
    bytes_, offset = rng.integers(256, size=(batch, size), dtype=np.uint8), floats[0]
    scale = np.float32(1 / 77)
    program.forward(bytes_, params, out[:batch], 1, scale=scale, offset=offset)
    assert out[:batch].tobytes() == (bytes_.astype(np.float32) * scale + offset).tobytes()
    assert np.isnan(out[batch]).all()


@any_model
def test_no_samples(model):
    params, x, dy = model.draw(0)
    program = model.program()
    assert forward(program, params, x).shape == dy.shape
    dx, grads = backward(program, params, x, dy)
    assert dx.shape == x.shape
    assert not grads.any()


@pytest.mark.parametrize("name", ["lenet5", "lenet5 of 1998"])
def test_one_program_in_several_python_threads(name):
    """Each call takes a workspace of its own; a few samples go one by one meanwhile."""
    model = SMOOTH[name]
    program = model.program()
    jobs = [
        (*model.draw(batch, seed=batch), draw_labels(model, batch)) for batch in (1, 4, 17, 100)
    ]

    def run(job, threads):
        params, x, dy, labels = job
        return bits(
            forward(program, params, x, threads),
            *backward(program, params, x, dy, threads, by_sample=True),
            *train_step(program, params, x, labels, threads, by_sample=True),
        )

    expected = [run(job, 1) for job in jobs]
    results = [[] for _ in jobs]
    start = threading.Barrier(len(jobs))

    def work(i):
        start.wait()
        results[i] += [run(jobs[i], threads) for threads in (1, 2) * 10]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for got, wanted in zip(results, expected, strict=True):
        assert len(got) == 20
        assert all(result == wanted for result in got)


PEAK_MEMORY = """
import resource, sys
import numpy as np
from lenet5c import nn
batch = int(sys.argv[1])
images, offset = np.ones((8192, 1, 28, 28), np.uint8), np.zeros((1, 28, 28), np.float32)
labels, index = np.zeros(8192, np.int64), np.arange(8192)
model, loss = nn.LeNet5(input_size=28, padding=2), nn.CrossEntropyLoss()
for _ in range(2):
    model.train_step(images, labels[:batch], loss, index=index[:batch], scale=1 / 255, offset=offset)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak if sys.platform == "darwin" else peak * 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
def test_memory_of_a_training_step_does_not_grow_with_the_batch():
    def peak(batch):
        command = [sys.executable, "-c", PEAK_MEMORY, str(batch)]  # minutes, emulated
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=dict(os.environ), timeout=600
        )
        return int(done.stdout)

    # The activations of 8192 samples are 300 MB, their images as float32 26 MB. Two runs of the same differ by some
    # hundred kB; labels as int32 and a loss a tile are 40 kB.
    assert peak(8192) - peak(64) < 4 * 2**20


STEPS = {"sgd": {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
         "adam": {"weight_decay": 1e-2, "decoupled": True},
         "sdlm": {"weight_decay": 0.0},
         "adagrad": {"weight_decay": 1e-3},
         "rmsprop": {"weight_decay": 1e-3, "momentum": 0.5}}  # fmt: skip


def update_of(kind, params, steps):
    """An update as the optimisers make it."""
    vectors = [np.zeros_like(params) for _ in range(2 if kind in ("adam", "rmsprop") else 1)]
    if kind == "sdlm":
        vectors = [1 / (np.float32(0.02) + abs(params))]
    ones = np.ones(steps)
    return optimizer.Update(
        kind, vectors, np.linspace(1e-3, 1e-2, steps),
        ones if kind != "adam" else 1 - 0.9 ** np.arange(1, steps + 1),
        ones if kind != "adam" else np.sqrt(1 - 0.999 ** np.arange(1, steps + 1)),
        betas=(0.9, 0.999), eps=1e-8, **STEPS[kind])  # fmt: skip


def run_steps(model, isa, kind, batch_size, samples, threads, by_sample=False):
    """Parameters, optimiser's vectors, gradients, losses and counts of a run of steps."""
    program = model.program(isa)
    params, x, _ = model.draw(samples)
    labels = draw_labels(model, samples)
    grads = np.full_like(params, np.nan)
    record = StepsTaken(-(-samples // batch_size))
    update = update_of(kind, params, len(record.losses))
    program.train_steps(
        x,
        labels,
        params,
        grads,
        threads,
        batch_size,
        update,
        record,
        setting=0.1,
        by_sample=by_sample,
    )
    return (
        params,
        *update.vectors,
        grads[: program.param_extent],
        record.losses,
        (record.taken, record.correct),
    )


def check_steps(model, kind, batch_size, samples, by_sample):
    """That a run of steps is as many calls of train_step, each followed by the update."""
    for isa in TILES:
        actual = run_steps(model, isa, kind, batch_size, samples, 1, by_sample)
        program = model.program(isa)
        params, x, _ = model.draw(samples)
        labels = draw_labels(model, samples)
        used = np.ones(len(params), bool)
        for start, stop in model.plan.gaps:
            used[start:stop] = False
        used[program.param_extent :] = False
        steps = -(-samples // batch_size)
        update = update_of(kind, params, steps)
        right = 0
        for step in range(steps):
            part = slice(step * batch_size, (step + 1) * batch_size)
            loss, correct, _, grads = train_step(
                program, params, x[part], labels[part], setting=0.1, by_sample=by_sample
            )
            assert loss == actual[-2][step]
            assert not grads[~used[: len(grads)]].any()
            right += correct
            whole = np.zeros_like(params)
            whole[: len(grads)] = grads
            before = params.copy()
            if kind == "sgd":
                _vector.sgd(
                    TILES[isa], params, whole, *update.vectors, update.lr[step], 0.9, True, 1e-3
                )
            elif kind == "sdlm":
                _vector.sdlm(TILES[isa], params, whole, *update.vectors, update.lr[step])
            elif kind == "adagrad":
                _vector.adagrad(
                    TILES[isa], params, whole, *update.vectors, update.lr[step], 1e-8, 1e-3
                )
            elif kind == "rmsprop":
                _vector.rmsprop(
                    TILES[isa],
                    params,
                    whole,
                    *update.vectors,
                    update.lr[step],
                    0.999,
                    1e-8,
                    0.5,
                    1e-3,
                )
            else:
                _vector.adam(
                    TILES[isa],
                    params,
                    whole,
                    *update.vectors,
                    update.lr[step],
                    0.9,
                    0.999,
                    1e-8,
                    update.correction1[step],
                    update.correction2[step],
                    1e-2,
                    True,
                )
            params[~used] = before[~used]  # parameters of no op are left alone
        assert actual[-1] == (steps, right)
        assert_array_equal(actual[0], params)
        assert_array_equal(actual[-3], grads)
        for vector, expected in zip(actual[1:-3], update.vectors, strict=True):
            assert_array_equal(vector[used], expected[used])


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize(
    "name",
    ["lenet5", "linear, many", "conv without bias, strided, padded, dilated", "lenet5 of 1998"],
)
def test_a_run_of_steps_is_steps_one_by_one(name, kind):
    check_steps(
        (EXACT | SMOOTH)[name], kind, 48, 200, by_sample=False
    )  # the last batch is a short one


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize(
    "batch_size, samples",
    [(1, 7), (2, 9), (4, 11), (16, 3), (16, 18), (16, 21), (48, 100), (5, 22)],
)
@pytest.mark.parametrize("name", [
    "lenet5", "linear, many", "wide", "wide, of 1998", "strided", "lenet5 of 1998", "connection table", "groups",
    "conv as wide as the image", "subsampling"])  # fmt: skip
def test_a_run_of_steps_on_few_samples_is_steps_one_by_one(name, batch_size, samples, kind):
    """Which way a step goes is a matter of its own batch, also where a short one comes behind larger ones."""
    check_steps(FEW[name], kind, batch_size, samples, by_sample=True)


@pytest.mark.parametrize("batch_size, samples", [(1, 7), (4, 11), (16, 18), (16, 21), (5, 22)])
@pytest.mark.parametrize("kind", STEPS)
def test_a_run_of_steps_on_few_samples_has_the_same_bits_at_any_thread_count(
    kind, batch_size, samples
):
    for name in ("lenet5", "lenet5 of 1998", "wide, of 1998"):
        expected = None
        for isa in FUSED:
            for threads in (1, 2, 8):
                actual = bits(
                    *run_steps(FEW[name], isa, kind, batch_size, samples, threads, by_sample=True)
                )
                expected = expected or actual
                assert actual == expected, (name, isa, threads)


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize(
    "batch_size, samples, wrong, taken",
    [
        (1, 6, 4, 4),
        (4, 14, 9, 2),
        (4, 14, 13, 3),
        (1, 1, 0, 0),
        (16, 34, 33, 2),
        (16, 34, 20, 1),
        (16, 3, 1, 0),
    ],
)
@pytest.mark.parametrize("name", ["lenet5", "lenet5 of 1998"])
def test_a_loss_that_is_not_finite_ends_a_run_on_few_samples(
    name, batch_size, samples, wrong, taken, kind
):
    """In a batch of few, in the short last one, and in a larger one before that."""
    model = FEW[name]
    program = model.program()
    params, x, _ = model.draw(samples)
    x[wrong] = np.nan
    labels = draw_labels(model, samples)
    steps = -(-samples // batch_size)
    expected, few_steps, update = params.copy(), StepsTaken(taken), update_of(kind, params, steps)
    vectors = [vector.copy() for vector in update.vectors]
    if taken:
        first = update_of(kind, params, taken)
        first.lr, first.vectors = update.lr[:taken], vectors
        count = taken * batch_size
        program.train_steps(
            x[:count],
            labels[:count],
            expected,
            np.zeros_like(params),
            1,
            batch_size,
            first,
            few_steps,
            by_sample=True,
        )
    record = StepsTaken(steps)
    program.train_steps(
        x, labels, params, np.zeros_like(params), 2, batch_size, update, record, by_sample=True
    )
    assert (record.taken, record.correct) == (taken, few_steps.correct)
    assert_array_equal(record.losses[:taken], few_steps.losses)
    assert np.isnan(record.losses[taken])
    assert not record.losses[taken + 1 :].any()
    assert_array_equal(params, expected)
    for vector, before in zip(update.vectors, vectors, strict=True):
        assert_array_equal(vector, before)


@pytest.mark.parametrize("batch_size", [1, 16, 100, 257, 1500])
@pytest.mark.parametrize("kind", STEPS)
def test_a_run_of_steps_has_the_same_bits_at_any_thread_count(kind, batch_size):
    samples = 3000 if batch_size == 1500 else 3 * batch_size - batch_size // 3
    expected = None
    for isa in FUSED:
        for threads in (1, 2, 3, 16, 40):
            actual = bits(*run_steps(SMOOTH["lenet5"], isa, kind, batch_size, samples, threads))
            expected = expected or actual
            assert actual == expected, (isa, threads)


def test_a_loss_that_is_not_finite_ends_the_run_and_moves_nothing():
    model = SMOOTH["lenet5"]
    program = model.program(dispatch.isa)
    params, x, _ = model.draw(64)
    x[40] = np.nan
    labels = draw_labels(model, 64)
    update = update_of("adam", params, 4)
    after_two = params.copy()
    first_two = update_of("adam", params, 2)
    first_two.lr = update.lr[:2]
    expected = StepsTaken(2)
    program.train_steps(
        x[:32], labels[:32], after_two, np.zeros_like(params), 1, 16, first_two, expected
    )
    for threads in (1, 4):
        moved = params.copy()
        for vector in update.vectors:
            vector[:] = 0
        record = StepsTaken(4)
        program.train_steps(x, labels, moved, np.zeros_like(params), threads, 16, update, record)
        assert (record.taken, record.correct) == (2, expected.correct)
        assert_array_equal(record.losses[:2], expected.losses)
        assert np.isnan(record.losses[2])
        assert_array_equal(moved, after_two)


@pytest.mark.parametrize(
    "steps, batch_size", [(0, 8), (1, 8), (3, 8), (2, 0), (2, 16), (1, -3), (5, 2**62)]
)
def test_steps_that_do_not_fit_the_samples_are_an_error(steps, batch_size):
    model = EXACT["linear"]
    params, x, _ = model.draw(16)
    with pytest.raises(ValueError, match="batches"):
        model.program(dispatch.isa).train_steps(
            x,
            draw_labels(model, 16),
            params,
            params.copy(),
            1,
            batch_size,
            update_of("sgd", params, steps),
            StepsTaken(steps),
        )


@pytest.mark.parametrize("break_it", [
    lambda update: update.vectors.pop(),
    lambda update: update.vectors.__setitem__(0, update.vectors[0][:-1].copy()),
    lambda update: setattr(update, "lr", update.lr[:-1]),
    lambda update: setattr(update, "correction1", np.append(update.correction1, 1.0)),
])  # fmt: skip
def test_an_update_of_the_wrong_size_is_an_error(break_it):
    model = EXACT["linear"]
    params, x, _ = model.draw(16)
    update = update_of("adam", params, 2)
    break_it(update)
    with pytest.raises(ValueError):
        model.program(dispatch.isa).train_steps(
            x, draw_labels(model, 16), params, params.copy(), 1, 8, update, StepsTaken(2)
        )
