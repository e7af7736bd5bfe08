"""Dropout, and the same mask as the layer's from the same seed."""

import numpy as np
import pytest
from gradient_checks import assert_gradient, assert_second
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import nn, reference


def test_gradient(rng):
    x, dy = rng.standard_normal((2, 5, 4))
    mask = reference.draw_dropout_mask(x.shape, 0.3, seed=1)
    dx = reference.dropout_backward(dy, mask)
    assert_gradient(dx, lambda x: reference.dropout(x, mask), x, dy)


def test_second_derivatives(rng):
    mask = reference.draw_dropout_mask((5, 4), 0.3, seed=1)
    d2y = rng.uniform(size=mask.shape)
    assert_second(
        [reference.dropout_backward_second(d2y, mask)],
        lambda dy: [reference.dropout_backward(dy, mask)],
        d2y,
    )


@pytest.mark.parametrize("p", [0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(200_000, 1), (20, 100, 100), (1, 200_000)])
def test_values_and_their_mean(p, shape):
    mask = reference.draw_dropout_mask(shape, p, seed=2)
    assert set(mask.flat) <= {0, 1 / (1 - p)}
    # Five standard deviations of the mean.
    assert abs(mask.mean() - 1) <= 5 * np.sqrt(p / (1 - p) / mask.size)


def test_neighbors_samples_passes_and_seeds_are_independent():
    """The fraction of elements dropped by both masks, within five standard deviations."""
    shape, p = (400, 500), 0.3

    def drops(**where):
        return reference.draw_dropout_mask(shape, p, **({"seed": 5} | where)) == 0

    one = drops()
    pairs = [(one[:, lag:], one[:, :-lag]) for lag in (1, 2, 16, 64)]
    pairs += [(one[lag:], one[:-lag]) for lag in (1, 2, 16, 128)]
    pairs += [(one, drops(passes=1)), (one, drops(seed=6)), (one, drops(seed=5 + 2**32))]
    for a, b in pairs:
        share = p**2
        assert abs(np.mean(a & b) - share) < 5 * np.sqrt(share * (1 - share) / a.size)


@pytest.mark.parametrize("shape", [(6, 7), (3, 2, 4, 5), (33, 19), (2, 300)])
@pytest.mark.parametrize("p", [0.3, 1e-12, 1 - 1e-9])
def test_the_layer_draws_the_same_mask(shape, p):
    layer, rng = nn.Dropout(p, rng=7), np.random.default_rng(7)
    x, dy = rng.standard_normal((2, *shape)).astype(np.float32)
    for passes in range(2):
        mask = reference.draw_dropout_mask(shape, p, layer.seed, passes)
        y = layer.forward(x, training=True)
        assert_array_equal(y == 0, mask == 0)
        assert_allclose(y, reference.dropout(x, mask), rtol=1e-6)
        assert_allclose(layer.backward(dy), reference.dropout_backward(dy, mask), rtol=1e-6)
        d2x = reference.dropout_backward_second(dy, mask)
        assert_allclose(layer.backward_second(dy), d2x, rtol=1e-6)
