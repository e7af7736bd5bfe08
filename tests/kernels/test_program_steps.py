"""Many training steps in one go: the bits of steps one by one, and where a run ends."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from programs import EXACT, FEW, FUSED, SMOOTH, TILES, bits, draw_labels, train_step

from lenet5c.kernels.engine import _vector
from lenet5c.kernels.simd import dispatch
from lenet5c.nn.sequential import StepsTaken
from lenet5c.optim import optimizer

STEPS = {
    "sgd": {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    "adam": {"weight_decay": 1e-2, "decoupled": True},
    "sdlm": {"weight_decay": 0.0},
    "adagrad": {"weight_decay": 1e-3},
    "rmsprop": {"weight_decay": 1e-3, "momentum": 0.5},
}


def update_of(kind, params, steps):
    """An update as the optimizers make it."""
    vectors = [np.zeros_like(params) for _ in range(2 if kind in ("adam", "rmsprop") else 1)]
    if kind == "sdlm":
        vectors = [1 / (np.float32(0.02) + abs(params))]
    ones = np.ones(steps)
    return optimizer.Update(
        kind,
        vectors,
        np.linspace(1e-3, 1e-2, steps),
        ones if kind != "adam" else 1 - 0.9 ** np.arange(1, steps + 1),
        ones if kind != "adam" else np.sqrt(1 - 0.999 ** np.arange(1, steps + 1)),
        betas=(0.9, 0.999),
        eps=1e-8,
        **STEPS[kind],
    )


def run_steps(model, isa, kind, batch_size, samples, threads, by_sample=False):
    """Parameters, optimizer's vectors, gradients, losses and counts of a run of steps."""
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
    """The way of a step depends on its own batch, also for a short one after larger ones."""
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


@pytest.mark.parametrize(
    "break_it",
    [
        lambda update: update.vectors.pop(),
        lambda update: update.vectors.__setitem__(0, update.vectors[0][:-1].copy()),
        lambda update: setattr(update, "lr", update.lr[:-1]),
        lambda update: setattr(update, "correction1", np.append(update.correction1, 1.0)),
    ],
)
def test_an_update_of_the_wrong_size_is_an_error(break_it):
    model = EXACT["linear"]
    params, x, _ = model.draw(16)
    update = update_of("adam", params, 2)
    break_it(update)
    with pytest.raises(ValueError):
        model.program(dispatch.isa).train_steps(
            x, draw_labels(model, 16), params, params.copy(), 1, 8, update, StepsTaken(2)
        )
