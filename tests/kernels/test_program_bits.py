"""Results of a program do not depend on threads, instruction sets, other samples or old values."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test
from programs import (
    EPS,
    SMOOTH,
    TILES,
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
from updates import KINDS, Steps


@in_one_test
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


def train(model, isa, kind, threads, steps=4):
    """Return parameters and state after a few steps, as bytes."""
    params, x, _ = model.draw(100)
    labels = draw_labels(model, 100)
    program = model.program(isa)
    grads, taken = np.zeros_like(params), Steps(kind, params, [0.01] * steps, TILES[isa])
    for step in range(steps):
        program.train_step(x, labels, params, grads, threads)
        taken.update.apply(params, grads, step)
    assert np.all(np.isfinite(params))
    return bits(params, *taken.vectors)


@in_one_test
@pytest.mark.parametrize("kind", KINDS)
@each_isa
def test_same_bits_of_training_at_any_thread_count(isa, kind):
    serial = train(SMOOTH["lenet5"], isa, kind, 1)
    for threads in (2, 3, 8):
        assert train(SMOOTH["lenet5"], isa, kind, threads) == serial


@pytest.mark.parametrize("kind", KINDS)
def test_updates_have_the_same_bits_with_every_instruction_set(kind):
    """Without fused multiply-adds, so the baseline agrees, too."""
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal((2, 1003)).astype(np.float32)
    results = []
    for tiles in TILES.values():
        params = start.copy()
        taken = Steps(kind, params, np.linspace(0.01, 0.1, 5), tiles)
        for step in range(5):
            taken.update.apply(params, grads, step)
        results.append(bits(params, *taken.vectors))
    assert all(result == results[0] for result in results)


@in_one_test
@each_isa
@exact_model
def test_dead_lanes_contribute_nothing(model, isa):
    """The gradient of a batch is the sum of its samples' gradients, exactly for integers."""
    params, x, dy = model.draw(17, integer=True)
    program = model.program(isa)
    dx, grads = backward(program, params, x, dy)
    singles = [backward(program, params, x[i : i + 1], dy[i : i + 1]) for i in range(17)]
    assert_array_equal(dx, np.concatenate([single_dx for single_dx, _ in singles]))
    assert_array_equal(grads, sum(single_grads for _, single_grads in singles))


@in_one_test
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


@in_one_test
@each_isa
@any_model
def test_outputs_without_a_gradient_have_the_bits_of_a_training_step(model, isa):
    """Inference fuses poolings with the preceding convolution."""
    params, x, _ = model.draw(33)
    program = model.program(isa)
    _, _, out, _ = train_step(program, params, x, draw_labels(model, 33))
    assert_array_equal(forward(program, params, x), out)


@in_one_test
@each_isa
@any_model
def test_samples_do_not_mix(model, isa):
    """NaN in a sample does not affect outputs or input gradients of other samples."""
    params, x, dy = model.draw(35)
    program = model.program(isa)
    clean = forward(program, params, x), backward(program, params, x, dy)[0]
    x[[3, 32]] = np.nan  # 32 is the one that fills the dead lanes
    others = np.delete(np.arange(35), [3, 32])
    dirty = forward(program, params, x), backward(program, params, x, dy)[0]
    assert bits(*(a[others] for a in dirty)) == bits(*(a[others] for a in clean))


@each_isa
def test_any_state_of_the_workspace_gives_the_same_bits(isa):
    """Arenas are reused; values of an earlier batch must have no effect."""
    model = SMOOTH["lenet5"]
    params, x, dy = model.draw(17)
    fresh = backward(model.program(isa), params, x, dy)
    program = model.program(isa)
    backward(program, params, np.full_like(x, np.nan), np.full_like(dy, np.inf), threads=2)
    assert bits(*backward(program, params, x, dy)) == bits(*fresh)
