"""Grad-CAM, and steps to the boundary between two classes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference


def test_grad_cam_by_hand():
    maps = [[[1, 3]], [[2, 0]]]
    assert_array_equal(reference.grad_cam(maps, [[[1, 1]], [[-2, 0]]]), [[0, 3]])
    assert_array_equal(reference.grad_cam(maps, [[[-1, -1]], [[-2, 0]]]), [[0, 0]])


def test_deepfool_step_of_linear_logits(rng):
    """It ends where the two largest logits are equal, without crossing another boundary."""
    weight, x = rng.standard_normal((5, 8)), rng.standard_normal(8)
    logits = weight @ x
    label = int(logits.argmax())
    step, target = reference.deepfool_step(logits, weight, label)
    after = weight @ (x + step)
    assert_allclose(after[target], after[label], rtol=1e-10)
    assert after.max() <= after[label] + 1e-12
    for other in set(range(5)) - {label}:
        slope = weight[other] - weight[label]
        assert (
            np.linalg.norm(step) <= (logits[label] - logits[other]) / np.linalg.norm(slope) + 1e-9
        )


@pytest.mark.parametrize("margin", [-30.0, 25.0, 0.0])
def test_boundary_step_is_optimal(rng, margin):
    """No other step within the bounds that reaches the boundary is shorter."""
    slope, x = rng.standard_normal(6), rng.uniform(0, 255, 6)
    slope[2] = 0
    step = reference.boundary_step(slope, margin, x)
    assert_allclose(slope @ step, -margin, atol=1e-9)
    assert ((x + step >= 0) & (x + step <= 255)).all()
    for _ in range(50):
        other = step + rng.standard_normal(6)
        other = np.clip(other, -x, 255 - x)
        if np.sign(margin) * (slope @ other + margin) <= 0:
            assert np.linalg.norm(other) >= np.linalg.norm(step) - 1e-9


def test_boundary_step_that_cannot_reach_it_goes_to_the_bounds():
    assert_allclose(reference.boundary_step([1, -2, 0], -1e6, [3, 4, 5]), [252, -4, 0])
    assert_array_equal(reference.boundary_step([0, 0], -1, [3, 4]), [0, 0])
