"""Whole programs: forward, backward and training step compared with the float64 reference."""

import numpy as np
import pytest
from lenet5c.kernels.engine._program import Program
from numpy.testing import assert_array_equal
from one_test import in_one_test
from programs import (
    BATCHES,
    EPS,
    TILES,
    answers,
    any_model,
    assert_close,
    backward,
    bits,
    draw_labels,
    each_isa,
    exact_model,
    forward,
    smooth_model,
    train_step,
)

from lenet5c import reference
from lenet5c.kernels.engine import lowering


@in_one_test
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


@in_one_test
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


@in_one_test
@pytest.mark.parametrize("batch", BATCHES)
@smooth_model
def test_train_step_matches_reference(model, batch):
    params, x, _ = model.draw(batch)
    labels = draw_labels(model, batch)
    values = model.reference_forward(params, x)
    logits = values[-1].reshape(batch, -1)
    targets = np.eye(model.plan.output_size, dtype=np.float32)[labels]
    for options, (loss, dy) in (
        ({}, reference.cross_entropy(logits, labels, 0)),
        ({"setting": 0.1}, reference.cross_entropy(logits, labels, 0.1)),
        ({"loss": "mse", "targets": targets}, reference.mse_loss(logits, targets)),
    ):
        dx, dparams = model.reference_backward(params, values, dy)
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


@in_one_test
@each_isa
@any_model
def test_train_step_is_forward_loss_and_backward(model, isa):
    """Bit-identical, with the loss as a program without ops."""
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


@in_one_test
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
