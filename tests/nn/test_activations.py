"""Every activation compared with its reference and PyTorch, alone and in nets; identical bits."""

from importlib import import_module

import numpy as np
import pytest
from lenet5c.kernels.engine._program import Program
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test

import lenet5c
from lenet5c import kernels, nn, optim, reference
from lenet5c.datasets import Preparation
from lenet5c.kernels.simd import _cpu, _peak
from lenet5c.training import TrainedModel, open_model, save_model

EPS = np.finfo(np.float32).eps
TILES = {
    isa: import_module(f"lenet5c.kernels.simd._tiles_{isa}").kernels for isa in _cpu.supported()
}
FUSED = [isa for isa in TILES if _peak.instructions(TILES[isa]) in ("avx512", "avx2", "neon")]
torch = pytest.importorskip("torch")

# Each layer with PyTorch's, the keywords of its reference, and whether that derives from x, not y.
CASES = [
    (nn.ReLU(), torch.nn.ReLU(), {}, False),
    (nn.LeakyReLU(), torch.nn.LeakyReLU(), {"negative_slope": 0.01}, True),
    (nn.LeakyReLU(-0.3), torch.nn.LeakyReLU(-0.3), {"negative_slope": -0.3}, True),
    (nn.GELU(), torch.nn.GELU(), {}, True),
    (nn.GELU("tanh"), torch.nn.GELU("tanh"), {"approximate": "tanh"}, True),
    (nn.Sigmoid(), torch.nn.Sigmoid(), {}, False),
    (nn.Tanh(), torch.nn.Tanh(), {}, False),
    (nn.ScaledTanh(), None, {}, False),
]
each_case = pytest.mark.parametrize(
    "layer, counterpart, options, from_x", CASES, ids=lambda v: repr(v)
)
each_name = pytest.mark.parametrize("name", nn.ACTIVATIONS)


def inputs(*shape):
    """Values of all sizes, and both zeros."""
    rng = np.random.default_rng(3)
    x = rng.choice([-1, 1], shape) * np.exp(rng.uniform(-12, 3, shape))
    x.reshape(-1)[:2] = 0.0, -0.0
    return x.astype(np.float32)


def test_every_activation_is_tested():
    assert {type(layer) for layer, *_ in CASES} == set(nn.ACTIVATIONS.values())


@in_one_test
@pytest.mark.parametrize("shape", [(1, 3000), (4, 7), (33, 100), (3, 5, 7, 9), (20, 17, 3, 2)])
@each_case
def test_matches_reference(layer, counterpart, options, from_x, shape):
    """Within a few roundings of the output, and of the derivative, which is at most about 1."""
    x, dy = inputs(*shape), np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    y = layer.forward(x, training=True)
    function = getattr(reference, layer.kind)
    expected = function(x, **options)
    # The tail of an exponential has the roundings of its exponent, as has all without a fused
    # multiply-add.
    tail = "tanh" in options.values() or kernels.isa not in FUSED
    assert_allclose(y, expected, rtol=(400 if tail else 8) * EPS, atol=1e-30)
    of = x if from_x else expected
    dx = getattr(reference, f"{layer.kind}_backward")(dy, of, **options)
    assert_allclose(layer.backward(dy), dx, rtol=16 * EPS, atol=8 * EPS * abs(dy).max())
    d2x = getattr(reference, f"{layer.kind}_backward_second")(abs(dy), of, **options)
    second = layer.backward_second(abs(dy))
    assert_allclose(second, d2x, rtol=32 * EPS, atol=16 * EPS * abs(dy).max())


@each_case
def test_matches_torch(layer, counterpart, options, from_x):
    if counterpart is None:
        pytest.skip("PyTorch has no such layer")
    x, dy = inputs(50, 40), np.random.default_rng(5).standard_normal((50, 40)).astype(np.float32)
    ours = layer.forward(x, training=True)
    theirs = torch.tensor(x.astype(np.float64), requires_grad=True)
    y = counterpart(theirs)
    y.backward(torch.tensor(dy.astype(np.float64)))
    assert_allclose(ours, y.detach().numpy(), rtol=8 * EPS, atol=4 * EPS)
    assert_allclose(layer.backward(dy), theirs.grad.numpy(), rtol=16 * EPS, atol=32 * EPS)


@each_case
def test_not_a_number_stays_so_and_infinity_is_no_error(layer, counterpart, options, from_x):
    x = np.full((2, 20), np.nan, np.float32)
    assert np.isnan(layer.forward(x, training=True)).all() or layer.kind == "relu"
    x[:] = np.inf
    y = layer.forward(x, training=True)
    assert_allclose(y, getattr(reference, layer.kind)(x, **options))


@each_case
def test_is_written_as_it_is_made(layer, counterpart, options, from_x):
    assert repr(eval(f"nn.{layer!r}")) == repr(layer)


def net(name):
    """Make a net in which the activation comes after all kinds of layers, and first."""
    act = nn.ACTIVATIONS[name]
    layers = [
        act(),
        nn.Conv2d(2, 5, 3, padding=1, rng=0),
        act(),
        nn.MaxPool2d(2),
        act(),
        nn.Conv2d(5, 17, 3, rng=1),
        nn.AvgPool2d(2),
        act(),
        nn.Flatten(),
        nn.Linear(17 * 4 * 4, 20, rng=2),
        act(),
        nn.Linear(20, 10, rng=3),
    ]
    return nn.Sequential(layers)


def batch(count):
    rng = np.random.default_rng(6)
    x = rng.standard_normal((count, 2, 20, 20)).astype(np.float32)
    return x, rng.integers(0, 10, count)


@in_one_test
@pytest.mark.parametrize("count", [1, 5, 6, 33])
@each_name
def test_a_net_is_its_layers_one_by_one(name, count):
    """In tiles and sample by sample, up to rounding."""
    model, (x, _) = net(name), batch(count)
    y, alone = model.forward(x, training=True), x
    for layer in model.layers.values():
        alone = layer.forward(alone, training=True)
    assert_allclose(y, alone, rtol=1e-4, atol=1e-5)
    dy = np.random.default_rng(7).standard_normal(y.shape).astype(np.float32)
    dx, grads = model.backward(dy), model.grad_vector.copy()
    for layer in reversed(model.layers.values()):
        dy = layer.backward(dy)
    assert_allclose(dx, dy, rtol=1e-3, atol=1e-5)
    assert_allclose(grads, model.grad_vector, rtol=1e-3, atol=1e-4 * abs(grads).max())


@pytest.mark.parametrize("size", [1, 5, 48])
@each_name
def test_steps_in_one_go_are_steps_one_by_one_at_any_thread_count(name, size):
    x, labels = batch(100)
    expected, loss = None, nn.CrossEntropyLoss()
    try:
        for threads in (1, 2, 5):
            lenet5c.set_num_threads(threads)
            model, counterpart = net(name), net(name)
            rates = [0.01] * -(-100 // size)
            optimizer, other = optim.SGD(model, 0.01, 0.9), optim.SGD(counterpart, 0.01, 0.9)
            model.train_steps(x, labels, loss, optimizer, rates, batch_size=size)
            for start in range(0, 100, size):
                counterpart.train_step(x[start : start + size], labels[start : start + size], loss)
                other.step()
            assert_array_equal(model.vector, counterpart.vector)
            expected = model.vector.copy() if expected is None else expected
            assert_array_equal(model.vector, expected)
    finally:
        lenet5c.set_num_threads(None)


@pytest.mark.skipif(len(FUSED) < 2, reason="needs two instruction sets that fuse multiply-adds")
@pytest.mark.parametrize("count", [3, 33])
@each_name
def test_same_bits_with_every_fused_instruction_set(name, count):
    model, (x, _) = net(name), batch(count)
    x *= 4
    dy = np.random.default_rng(8).standard_normal((count, 10)).astype(np.float32)
    results = []
    for isa in FUSED:
        program = Program(model.segments[0].plan(x.shape[1:]), TILES[isa])
        out, grads = np.empty_like(dy), np.empty_like(model.vector)
        rows, dx = x.reshape(count, -1), np.empty((count, x[0].size), np.float32)
        program.forward(rows, model.vector, out, 1, by_sample=True)
        program.backward(rows, dy, model.vector, grads, dx, 1, by_sample=True)
        results.append(b"".join(each.tobytes() for each in (out, grads, dx)))
    assert all(result == results[0] for result in results)


@each_name
def test_lenet5_with_it_is_saved_and_opened(name, tmp_path):
    model = nn.LeNet5(activation=name, rng=0)
    assert model.config.get("activation", "relu") == name
    assert f"act1     {nn.ACTIVATIONS[name].__name__} " in model.summary()
    classes = tuple(map(str, range(10)))
    trained = TrainedModel(model, Preparation.named("default"), classes)
    save_model(tmp_path / "model.safetensors", trained)
    opened = open_model(tmp_path / "model.safetensors").model
    x = np.random.default_rng(9).standard_normal((3, 1, 32, 32)).astype(np.float32)
    assert_array_equal(opened.forward(x), model.forward(x))


@pytest.mark.parametrize("slope", ["steep", None, float("nan"), float("inf"), 1e39, -1e39])
def test_a_slope_that_is_no_number_of_float32(slope):
    with pytest.raises(
        ValueError, match="negative_slope must be a number from -3.4e.38 to .*, got "
    ):
        nn.LeakyReLU(slope)
