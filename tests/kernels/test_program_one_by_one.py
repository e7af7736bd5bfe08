"""Programs that run a few samples one by one, compared with the reference and with tiles."""

import numpy as np
import pytest
from lenet5c.kernels.engine._program import Program
from numpy.testing import assert_array_equal
from one_test import in_one_test
from programs import (
    EPS,
    FEW,
    FLATTEN,
    FUSED,
    LOSSES,
    SMOOTH,
    TILES,
    WIDE,
    Model,
    answers,
    any_model,
    assert_close,
    backward,
    bits,
    conv,
    draw_labels,
    each_isa,
    exact_model,
    few,
    forward,
    smooth_model,
    train_step,
    trained_model,
)

from lenet5c import reference
from lenet5c.kernels.engine import lowering
from lenet5c.kernels.engine.samples import Samples


@in_one_test
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


@in_one_test
@pytest.mark.parametrize("batch", [1, 5])
@smooth_model
def test_a_few_samples_match_reference(model, batch):
    params, x, _ = model.draw(batch)
    expected = model.reference_forward(params, x)[-1].reshape(batch, -1)
    for isa in TILES:
        assert_close(forward(model.program(isa), params, x, by_sample=True), expected)


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_a_few_samples_of_many_channels(batch):
    """More channels than lanes, and numbers of channels that do not fill vectors."""
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
    expected = forward(program, params, floats[index], by_sample=True)
    samples = Samples(images, index, 0.25, offset)
    assert bits(forward(program, params, samples, by_sample=True)) == bits(expected)


def test_a_not_a_number_of_one_sample_stays_in_it():
    model = SMOOTH["lenet5"]
    params, x, _ = model.draw(3)
    out = forward(model.program("baseline"), params, x, by_sample=True)
    x[1, 70] = np.nan
    spoilt = forward(model.program("baseline"), params, x, by_sample=True)
    assert np.isnan(spoilt[1]).all()
    assert bits(spoilt[[0, 2]]) == bits(out[[0, 2]])


def test_infinite_values_do_not_leak_between_channels():
    """Lanes beyond the last channel do not affect sums."""
    model = Model((3, 4, 4), [conv(2, 1), conv(3, 1), FLATTEN])
    params, x, _ = model.draw(1)
    x[:] = 3e38
    out = forward(model.program("baseline"), params, x, by_sample=True)
    assert bits(np.isnan(out)) == bits(np.isnan(forward(model.program("baseline"), params, x)))


def reference_loss(model, out, labels, options):
    """Return loss, its gradient, and options with targets."""
    name, setting = options.get("loss", "cross_entropy"), options.get("setting", 0)
    if name == "mse":
        options = options | {"targets": np.eye(model.plan.output_size, dtype=np.float32)[labels]}
        return *reference.mse_loss(out, options["targets"]), options
    if name == "mle":
        return *reference.mle_loss(out, labels), options
    counterpart = reference.map_loss if name == "map" else reference.cross_entropy
    return *counterpart(out, labels, setting), options


@in_one_test
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


@in_one_test
@few
@trained_model
def test_one_by_one_matches_reference(model, batch):
    """Gradients are bit-identical with and without the input gradient."""
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


@in_one_test
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
            program, params, x, labels, dx=actual_dx, by_sample=True, **options
        )
        assert abs(actual_loss - loss) <= 16 * EPS * max(abs(loss), 1)
        assert correct == np.sum(answers(model, out) == labels)
        assert bits(out) == bits(forward(program, params, x, by_sample=4))
        # Logits of some tens, as the penalties are, cost the softmax some tens of roundings.
        assert_close(grads, dparams[: program.param_extent], eps=64 if model.plan.penalties else 16)
        assert_close(actual_dx, dx, eps=64 if model.plan.penalties else 16)


@in_one_test
@pytest.mark.parametrize("options", LOSSES.values(), ids=LOSSES)
@few
@trained_model
def test_train_step_one_by_one_is_forward_loss_and_backward(model, batch, options):
    """Bit-identical, with the loss as a program without ops, by samples or tiles."""
    params, x, _ = model.draw(batch, seed=4)
    labels = draw_labels(model, batch)
    options = reference_loss(model, np.zeros((batch, model.plan.output_size)), labels, options)[2]
    for isa in TILES:
        program = model.program(isa)
        loss, _, out, grads = train_step(program, params, x, labels, by_sample=True, **options)
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


@in_one_test
@pytest.mark.parametrize("batch", [6, 17])
@any_model
def test_more_samples_go_in_tiles(model, batch):
    params, x, dy = model.draw(batch)
    labels, program = draw_labels(model, batch), model.program()
    with_it, without = (
        bits(
            *backward(program, params, x, dy, by_sample=by_sample),
            *train_step(program, params, x, labels, by_sample=by_sample),
        )
        for by_sample in (True, False)
    )
    assert with_it == without


@in_one_test
@few
@trained_model
def test_one_by_one_has_the_same_bits_at_any_thread_count_and_instruction_set(model, batch):
    params, x, dy = model.draw(batch)
    labels = draw_labels(model, batch)
    expected = None
    for isa in FUSED:
        program = model.program(isa)
        for threads in (1, 2, 8):
            actual = bits(
                *backward(program, params, x, dy, threads, by_sample=True),
                *train_step(program, params, x, labels, threads, by_sample=True),
            )
            expected = expected or actual
            assert actual == expected, (isa, threads)


@in_one_test
@few
@trained_model
def test_one_by_one_in_any_state_of_the_workspace(model, batch):
    """Old values in the arenas must have no effect, between channels or in borders of zeros."""
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


@in_one_test
@trained_model
def test_one_by_one_samples_do_not_mix(model):
    """Outputs and input gradient of a sample do not depend on other samples or their number."""
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
    for samples in (
        Samples(floats, index),
        Samples(images, index, scale, offset),
        Samples(images[index], None, scale, offset),
    ):
        assert bits(*train_step(program, params, samples, labels, **options)) == expected
