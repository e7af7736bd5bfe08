"""Many training steps in one call: bit-identical to single steps, and the end of a run."""

import numpy as np
import pytest
from lenet5c.kernels.engine._update import Update
from numpy.testing import assert_array_equal
from one_test import in_one_test
from programs import EXACT, FEW, FUSED, SMOOTH, TILES, bits, draw_labels, train_step
from updates import KINDS, Steps

from lenet5c.kernels.simd import dispatch
from lenet5c.nn.steps import StepsTaken


def steps_of(kind, params, steps, isa=dispatch.isa):
    return Steps(kind, params, np.linspace(1e-3, 1e-2, max(steps, 2))[:steps], TILES[isa])


def run_steps(model, isa, kind, batch_size, samples, threads, by_sample=False):
    """Return parameters, the optimizer's vectors, gradients, losses and counts of some steps."""
    program = model.program(isa)
    params, x, _ = model.draw(samples)
    labels = draw_labels(model, samples)
    grads = np.full_like(params, np.nan)
    record = StepsTaken(-(-samples // batch_size))
    run = steps_of(kind, params, len(record.losses), isa)
    program.train_steps(
        x,
        labels,
        params,
        grads,
        threads,
        batch_size,
        run.update,
        record,
        setting=0.1,
        by_sample=by_sample,
    )
    return (
        params,
        *run.vectors,
        grads[: program.param_extent],
        record.losses,
        (record.taken, record.correct),
    )


def check_steps(model, kind, batch_size, samples, by_sample):
    """Assert that a run of steps equals calls of train_step, each followed by the update."""
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
        run = steps_of(kind, params, steps, isa)
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
            run.update.apply(params, whole, step)
            params[~used] = before[~used]  # parameters of no op are left alone
        assert actual[-1] == (steps, right)
        assert_array_equal(actual[0], params)
        assert_array_equal(actual[-3], grads)
        for vector, expected in zip(actual[1:-3], run.vectors, strict=True):
            assert_array_equal(vector[used], expected[used])


@in_one_test
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["lenet5", "linear, many", "conv without bias, strided, padded, dilated", "lenet5 of 1998"],
)
def test_a_run_of_steps_is_steps_one_by_one(name, kind):
    check_steps(
        (EXACT | SMOOTH)[name], kind, 48, 200, by_sample=False
    )  # the last batch is a short one


@in_one_test
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "batch_size, samples",
    [(1, 7), (2, 9), (4, 11), (16, 3), (16, 18), (16, 21), (48, 100), (5, 22)],
)
@pytest.mark.parametrize(
    "name",
    [
        "lenet5",
        "linear, many",
        "wide",
        "wide, of 1998",
        "strided",
        "lenet5 of 1998",
        "connection table",
        "groups",
        "conv as wide as the image",
        "subsampling",
    ],
)
def test_a_run_of_steps_on_few_samples_is_steps_one_by_one(name, batch_size, samples, kind):
    """The algorithm of a step depends on its own batch, also for a short one after larger ones."""
    check_steps(FEW[name], kind, batch_size, samples, by_sample=True)


@in_one_test
@pytest.mark.parametrize("batch_size, samples", [(1, 7), (4, 11), (16, 18), (16, 21), (5, 22)])
@pytest.mark.parametrize("kind", KINDS)
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


@in_one_test
@pytest.mark.parametrize("kind", KINDS)
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
    """In a small batch, in a short last batch, and in a larger one before it."""
    model = FEW[name]
    program = model.program()
    params, x, _ = model.draw(samples)
    x[wrong] = np.nan
    labels = draw_labels(model, samples)
    steps = -(-samples // batch_size)
    expected, few_steps, run = params.copy(), StepsTaken(taken), steps_of(kind, params, steps)
    rates = np.linspace(1e-3, 1e-2, max(steps, 2))[:taken]
    first = Steps(kind, params, rates, TILES[dispatch.isa])
    if taken:
        count = taken * batch_size
        program.train_steps(
            x[:count],
            labels[:count],
            expected,
            np.zeros_like(params),
            1,
            batch_size,
            first.update,
            few_steps,
            by_sample=True,
        )
    record = StepsTaken(steps)
    program.train_steps(
        x, labels, params, np.zeros_like(params), 2, batch_size, run.update, record, by_sample=True
    )
    assert (record.taken, record.correct) == (taken, few_steps.correct)
    assert_array_equal(record.losses[:taken], few_steps.losses)
    assert np.isnan(record.losses[taken])
    assert not record.losses[taken + 1 :].any()
    assert_array_equal(params, expected)
    for vector, before in zip(run.vectors, first.vectors, strict=True):
        assert_array_equal(vector, before)


@in_one_test
@pytest.mark.parametrize("batch_size", [1, 16, 100, 257, 1500])
@pytest.mark.parametrize("kind", KINDS)
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
    after_two = params.copy()
    rates = np.linspace(1e-3, 1e-2, 4)
    first_two = Steps("adam", params, rates[:2], TILES[dispatch.isa])
    expected = StepsTaken(2)
    program.train_steps(
        x[:32], labels[:32], after_two, np.zeros_like(params), 1, 16, first_two.update, expected
    )
    for threads in (1, 4):
        moved = params.copy()
        run = Steps("adam", params, rates, TILES[dispatch.isa])
        record = StepsTaken(4)
        program.train_steps(
            x, labels, moved, np.zeros_like(params), threads, 16, run.update, record
        )
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
    with pytest.raises(
        ValueError,
        match=rf"one value for each batch of {batch_size} of the 16 samples, got {steps}",
    ):
        model.program(dispatch.isa).train_steps(
            x,
            draw_labels(model, 16),
            params,
            params.copy(),
            1,
            batch_size,
            steps_of("sgd", params, steps).update,
            StepsTaken(steps),
        )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"name": "newton"}, "name must be one of .*sgd.*, got 'newton'"),
        ({"vectors": {"m": np.zeros(5, np.float32)}}, "must have v for adam"),
        (
            {"vectors": {"m": np.zeros(5, np.float32), "v": np.zeros(4, np.float32)}},
            "same size, got 5 and 4",
        ),
        ({"lr": [0.1]}, r"lr must be a number or 2 numbers, got \(1,\)"),
        ({"correction1": np.ones((2, 2))}, "correction1 must be"),
        ({"eps": None}, "must have eps for adam"),
    ],
)
def test_an_update_that_is_incomplete_is_an_error(changes, message):
    vectors = {name: np.zeros(5, np.float32) for name in "mv"}
    names = ["lr", "beta1", "beta2", "eps", "correction1", "correction2"]
    names += ["weight_decay", "decoupled"]
    settings = dict.fromkeys(names, 0.5) | {k: v for k, v in changes.items() if k in names}
    settings = {name: value for name, value in settings.items() if value is not None}
    name, vectors = changes.get("name", "adam"), changes.get("vectors", vectors)
    with pytest.raises(ValueError, match=message):
        Update(dispatch.tiles, name, vectors, settings, 2)


def test_an_update_of_another_size_or_step_is_an_error():
    model = EXACT["linear"]
    params, x, _ = model.draw(16)
    for update in (
        steps_of("adam", params[:-1].copy(), 2).update,
        steps_of("adam", params, 1).update,
        steps_of("adam", params, 3).update,
    ):
        with pytest.raises(ValueError, match=f"update must have {len(params)} parameters and 2"):
            model.program(dispatch.isa).train_steps(
                x, draw_labels(model, 16), params, params.copy(), 1, 8, update, StepsTaken(2)
            )
    update = steps_of("adam", params, 2).update
    for arrays in ((params[1:], params), (params, params[1:])):
        with pytest.raises(ValueError, match=f"params and grads must have {len(params)} values"):
            update.apply(*arrays)
    for step in (-1, 2):
        with pytest.raises(IndexError, match=f"step must be from 0 to 1, got {step}"):
            update.apply(params, params, step)
