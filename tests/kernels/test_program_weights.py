"""Sample weights, class weights and soft targets in a program: identical bits with any threads."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test
from programs import FEW, FUSED, SMOOTH, TILES, bits, draw_labels, train_step
from updates import Steps

from lenet5c.kernels.engine.samples import Samples
from lenet5c.nn.sequential import StepsTaken


def weights_of(model, samples, soft=False):
    """Return the arguments of a program that weigh samples and classes."""
    rng = np.random.default_rng(3)
    classes = model.plan.output_size
    sample_weight = rng.uniform(0.5, 2, samples).astype(np.float32)
    sample_weight[1::4] = 0
    return {
        "loss": "cross_entropy",
        "setting": 0.1,
        "class_weight": rng.uniform(0.5, 2, classes).astype(np.float32),
        "sample_weight": sample_weight,
        "ignore_index": 1,
        "targets": rng.dirichlet(np.ones(classes), samples).astype(np.float32) if soft else None,
    }


@in_one_test
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("batch", [1, 3, 16, 33, 300, 1500])
@pytest.mark.parametrize("by_sample", [False, True])
def test_a_step_has_the_same_bits_at_any_thread_count(batch, by_sample, soft):
    model = SMOOTH["lenet5"]
    params, x, _ = model.draw(batch)
    labels, weights, expected = draw_labels(model, batch), weights_of(model, batch, soft), None
    labels[0] = 0
    for isa in FUSED:
        program = model.program(isa)
        for threads in (1, 2, 3, 8):
            actual = bits(
                *train_step(program, params, x, labels, threads, by_sample=by_sample, **weights)
            )
            expected = expected or actual
            assert actual == expected, (isa, threads)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("batch_size, samples", [(4, 14), (16, 21), (48, 200), (1500, 3000)])
@pytest.mark.parametrize("name", ["lenet5", "lenet5 of 1998"])
def test_a_run_of_steps_has_the_same_bits_at_any_thread_count(name, batch_size, samples, soft):
    model, expected = FEW[name], None
    images, labels = model.draw(samples + 5)[1], draw_labels(model, samples)
    batch = Samples(images, np.random.default_rng(0).permutation(samples))
    weights = weights_of(model, samples, soft)
    for isa in FUSED:
        for threads in (1, 2, 3, 8):
            program, params = model.program(isa), model.draw(1)[0]
            steps = -(-samples // batch_size)
            run = Steps("adam", params, np.full(steps, 1e-3), TILES[isa])
            record, grads = StepsTaken(steps), np.full_like(params, np.nan)
            program.train_steps(
                batch, labels, params, grads, threads, batch_size, run.update, record,
                by_sample=True, **weights,
            )  # fmt: skip
            actual = bits(
                params, grads[: program.param_extent], record.losses, (record.taken, record.correct)
            )
            assert record.taken == steps
            expected = expected or actual
            assert actual == expected, (isa, threads)


@pytest.mark.parametrize("batch", [3, 33])
def test_losses_of_samples_add_up_to_the_loss(batch):
    model = SMOOTH["lenet5"]
    program = model.program()
    params, x, _ = model.draw(batch)
    labels, weights, losses = draw_labels(model, batch), weights_of(model, batch), np.empty(batch)
    weights |= {"ignore_index": None, "mean": False}
    loss, _, _, _ = train_step(program, params, x, labels, losses=losses, **weights)
    assert_array_equal(losses == 0, weights["sample_weight"] == 0)
    np.testing.assert_allclose(loss, losses.sum(), rtol=1e-14)


class TestErrors:
    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"sample_weight": np.ones(4, np.float32)}, "sample_weight must have 5 values, got 4"),
            ({"class_weight": np.ones(9, np.float32)}, "class_weight must have 10 values, got 9"),
            ({"targets": np.ones((5, 9), np.float32)}, r"targets.* \(5, 10\)"),
            ({"losses": np.ones(4)}, "losses must have 5 values, got 4"),
            ({"loss": "hinge"}, "'hinge'"),
        ],
    )
    def test_sizes(self, changes, message):
        model = SMOOTH["lenet5"]
        params, x, _ = model.draw(5)
        with pytest.raises(ValueError, match=message):
            train_step(model.program(), params, x, np.zeros(5, np.int32), **changes)

    @pytest.mark.parametrize(
        "loss, targets, count",
        [("cross_entropy", None, False), ("cross_entropy", 1, True), ("nll", 1, False)],
    )
    def test_labels_that_are_left_out(self, loss, targets, count):
        model = SMOOTH["lenet5"]
        params, x, _ = model.draw(5)
        options = {"loss": loss, "targets": targets and np.ones((5, 10), np.float32)}
        with pytest.raises(ValueError, match="^labels must be given"):
            model.program().train_step(x, None, params, params.copy(), 1, count=count, **options)
