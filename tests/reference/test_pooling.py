"""Pooling: by hand, by central differences, and against PyTorch."""

import numpy as np
import pytest
from gradient_checks import agree, assert_gradient, assert_second, distinct
from numpy.testing import assert_array_equal

from lenet5c import reference

CASES = [
    ((2, 3, 6, 4), {"kernel_size": 2}),
    ((1, 2, 7, 5), {"kernel_size": 2}),
    ((2, 2, 7, 6), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 2, 6, 8), {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0)}),
    ((2, 1, 5, 5), {"kernel_size": 3, "stride": 1, "padding": 1}),
    ((1, 1, 7, 8), {"kernel_size": 2, "stride": 3, "padding": 1}),
    ((1, 2, 3, 5), {"kernel_size": (3, 5)}),
]

each_case = pytest.mark.parametrize("shape, options", CASES)
each_count = pytest.mark.parametrize("count_include_pad", [True, False])

X = np.arange(1.0, 10).reshape(1, 1, 3, 3)


class TestMaxPool2d:
    @each_case
    def test_gradient(self, rng, shape, options):
        x = distinct(rng, shape)
        dy = rng.standard_normal(reference.max_pool2d(x, **options).shape)
        dx = reference.max_pool2d_backward(dy, x, **options)
        assert_gradient(dx, lambda x: reference.max_pool2d(x, **options), x, dy)

    @each_case
    def test_second_derivatives(self, rng, shape, options):
        x = distinct(rng, shape)
        d2y = rng.uniform(size=reference.max_pool2d(x, **options).shape)
        assert_second(
            [reference.max_pool2d_backward_second(d2y, x, **options)],
            lambda dy: [reference.max_pool2d_backward(dy, x, **options)],
            d2y,
        )

    @pytest.mark.parametrize("values", ["distinct", "ties"])
    @each_case
    def test_against_torch(self, torch, rng, shape, options, values):
        ties = rng.integers(-2, 2, shape).astype(float)
        x = distinct(rng, shape) if values == "distinct" else ties
        leaf = torch.tensor(x, requires_grad=True)
        y = torch.nn.functional.max_pool2d(leaf, **options)
        dy = rng.standard_normal(y.shape)
        y.backward(torch.tensor(dy))
        agree(reference.max_pool2d(x, **options), y)
        agree(reference.max_pool2d_backward(dy, x, **options), leaf.grad)

    def test_by_hand(self):
        assert_array_equal(reference.max_pool2d(X, 2), [[[[5]]]])
        assert_array_equal(reference.max_pool2d(-X, 2, padding=1), [[[[-1, -2], [-4, -5]]]])

    def test_not_a_number_wins(self):
        x = np.array([[[[1.0, np.nan, 3, np.inf]]]])
        assert_array_equal(reference.max_pool2d(x, (1, 2)), [[[[np.nan, np.inf]]]])
        dx = reference.max_pool2d_backward(np.ones((1, 1, 1, 2)), x, (1, 2))
        assert_array_equal(dx, [[[[0, 1, 0, 1]]]])

    def test_ties_go_to_the_first(self):
        dy = np.array([[[[1.0, 2], [3, 4]]]])
        dx = reference.max_pool2d_backward(dy, np.zeros((1, 1, 3, 3)), 2, 1)
        assert_array_equal(dx, [[[[1, 2, 0], [3, 4, 0], [0, 0, 0]]]])

    def test_the_border_never_takes_the_gradient(self):
        x = np.full((1, 1, 1, 1), -np.inf)
        dx = reference.max_pool2d_backward(np.ones((1, 1, 1, 1)), x, 2, padding=1)
        assert_array_equal(dx, [[[[1]]]])


class TestAvgPool2d:
    @each_count
    @each_case
    def test_gradient(self, rng, shape, options, count_include_pad):
        options = options | {"count_include_pad": count_include_pad}
        x = rng.standard_normal(shape)
        dy = rng.standard_normal(reference.avg_pool2d(x, **options).shape)
        dx = reference.avg_pool2d_backward(dy, shape, **options)
        assert_gradient(dx, lambda x: reference.avg_pool2d(x, **options), x, dy)

    @each_count
    @each_case
    def test_second_derivatives(self, rng, shape, options, count_include_pad):
        options = options | {"count_include_pad": count_include_pad}
        d2y = rng.uniform(size=reference.avg_pool2d(np.zeros(shape), **options).shape)
        assert_second(
            [reference.avg_pool2d_backward_second(d2y, shape, **options)],
            lambda dy: [reference.avg_pool2d_backward(dy, shape, **options)],
            d2y,
        )

    @each_count
    @each_case
    def test_against_torch(self, torch, rng, shape, options, count_include_pad):
        options = options | {"count_include_pad": count_include_pad}
        x = rng.standard_normal(shape)
        leaf = torch.tensor(x, requires_grad=True)
        y = torch.nn.functional.avg_pool2d(leaf, **options)
        dy = rng.standard_normal(y.shape)
        y.backward(torch.tensor(dy))
        agree(reference.avg_pool2d(x, **options), y)
        agree(reference.avg_pool2d_backward(dy, shape, **options), leaf.grad)

    def test_by_hand(self):
        assert_array_equal(reference.avg_pool2d(X, 2), [[[[3]]]])
        y = reference.avg_pool2d(X, 2, padding=1)
        assert_array_equal(y, [[[[0.25, 1.25], [2.75, 7]]]])
        y = reference.avg_pool2d(X, 2, padding=1, count_include_pad=False)
        assert_array_equal(y, [[[[1, 2.5], [5.5, 7]]]])
        dx = reference.avg_pool2d_backward(np.full((1, 1, 1, 1), 4.0), (1, 1, 3, 3), 2)
        assert_array_equal(dx, [[[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]])


class TestGlobalPooling:
    def test_second_derivatives(self, rng):
        x, d2y = distinct(rng, (2, 3, 4, 5)), rng.uniform(size=(2, 3, 1, 1))
        assert_second(
            [reference.global_max_pool2d_backward_second(d2y, x)],
            lambda dy: [reference.global_max_pool2d_backward(dy, x)],
            d2y,
        )
        assert_second(
            [reference.global_avg_pool2d_backward_second(d2y, x.shape)],
            lambda dy: [reference.global_avg_pool2d_backward(dy, x.shape)],
            d2y,
        )
