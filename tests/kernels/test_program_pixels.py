"""Single-sample convolution with 16 pixels side by side: accuracy and identical bits."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test
from programs import (
    FLATTEN,
    RELU,
    TANH,
    Model,
    assert_close,
    bits,
    conv,
    draw_labels,
    each_isa,
    forward,
    linear,
    pool,
    train_step,
)

from lenet5c.kernels.engine import lowering, ops
from lenet5c.kernels.engine.sample_lowering import PixelConv2d

END = [FLATTEN, linear(3)]
# Rows of fewer pixels than a vector has lanes, of as many, of more and of twice as many; windows of
# all kinds; odd heights; channels beyond the register blocks.
MODELS = {
    "max": Model((1, 32, 32), [conv(6, 5), RELU, pool("max"), *END]),
    "max, then rectified": Model((1, 12, 16), [conv(5, 5, padding=2), pool("max"), RELU, *END]),
    "max alone": Model((3, 10, 38), [conv(3, (2, 3)), pool("max"), *END]),
    "max, long rows": Model((2, 9, 71), [conv(3, (4, 4)), RELU, pool("max"), *END]),
    "max, as long as a vector": Model((1, 6, 34), [conv(2, 3), RELU, pool("max"), *END]),
    "one row of windows": Model((2, 6, 20), [conv(3, 5), RELU, pool("max"), *END]),
    "mean": Model((1, 32, 32), [conv(6, 5), RELU, pool("avg"), *END]),
    "mean, not rectified": Model((2, 11, 50), [conv(3, (4, 1), bias=False), pool("avg"), *END]),
    "mean after tanh": Model((1, 32, 32), [conv(6, 5), TANH, pool("avg"), *END]),
    "no pooling": Model((1, 9, 20), [conv(4, 5), RELU, *END]),
    "no pooling, odd": Model((3, 7, 53), [conv(5, 3, bias=False), TANH, conv(2, 3), *END]),
    "two rows": Model((1, 2, 33), [conv(3, 1), RELU, *END]),
    "windows that overlap": Model((1, 12, 36), [conv(4, 3), RELU, pool("max", 3, 2), *END]),
    "tall window": Model((1, 13, 24), [conv(2, (7, 2)), RELU, pool("max", (3, 2)), *END]),
}
each_pixel_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def pixel_steps(model):
    return [step for step in model.plan.inference.steps if isinstance(step.op, PixelConv2d)]


@each_pixel_model
def test_equals_reference(model):
    assert pixel_steps(model)
    params, x, _ = model.draw(2)
    expected = model.reference_forward(params, x)[-1].reshape(2, -1)
    assert_close(forward(model.program(), params, x, by_sample=True), expected)


@in_one_test
@each_isa
@each_pixel_model
def test_bits_of_training(model, isa):
    """A training step has 16 channels side by side."""
    assert not any(isinstance(step.op, PixelConv2d) for step in model.plan.sample.steps)
    program = model.program(isa)
    for batch in (1, 2, 3, 5):
        params, x, _ = model.draw(batch, seed=batch)
        x.reshape(-1)[::7] = 0
        x.reshape(-1)[::11] *= -0.0
        labels = draw_labels(model, batch)
        for threads in (1, 2, 3):
            expected = train_step(program, params, x, labels, threads, by_sample=True)[2]
            assert bits(forward(program, params, x, threads, by_sample=True)) == bits(expected)


@each_isa
def test_not_a_number_and_infinities(isa):
    """They only affect outputs whose windows contain them."""
    for name in ("max", "mean", "no pooling"):
        model = MODELS[name]
        program, (params, x, _) = model.program(isa), model.draw(2)
        x[0, 100] = np.nan
        x[1, 50], x[1, 51] = np.inf, -np.inf
        expected = train_step(program, params, x, draw_labels(model, 2), by_sample=True)[2]
        out = forward(program, params, x, by_sample=True)
        assert_array_equal(np.isnan(out), np.isnan(expected))


@pytest.mark.parametrize(
    "op, taken",
    [
        (ops.Conv2d(0, None, 6, (5, 5)), True),
        (ops.Conv2d(0, None, 16, (5, 5)), False),  # 16 channels fill all lanes
        (ops.Conv2d(0, None, 6, (5, 5), stride=(2, 1)), False),
        (ops.Conv2d(0, None, 6, (5, 5), dilation=(1, 2)), False),
    ],
)
def test_where_it_is_taken(op, taken):
    steps = lowering.lower((1, 32, 32), [op]).inference.steps
    assert any(isinstance(step.op, PixelConv2d) for step in steps) == taken


def test_how_many_samples_are_few():
    lenet5 = [
        *(ops.Conv2d(0, 150, 6, (5, 5)), ops.MaxPool2d((2, 2), (2, 2))),
        *(ops.Conv2d(156, 2556, 16, (5, 5)), ops.MaxPool2d((2, 2), (2, 2))),
        *(ops.Flatten(), ops.Linear(0, 0, 120), ops.Linear(0, 0, 84), ops.Linear(0, 0, 10)),
    ]
    assert lowering.lower((1, 32, 32), lenet5).inference.few == 8
    # one channel of sixteen lanes
    assert lowering.lower((3, 8, 8), [ops.Conv2d(0, 0, 1, (3, 3))]).inference.few == 5
