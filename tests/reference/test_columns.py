"""im2col and col2im."""

import numpy as np
import pytest
from gradient_checks import agree, assert_gradient
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference

CASES = [
    ((2, 3, 5, 4), {"kernel_size": 2}),
    ((1, 2, 7, 6), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}),
    ((2, 2, 8, 7), {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": (1, 2)}),
    ((1, 1, 5, 5), {"kernel_size": 1, "stride": 3}),
]

each_case = pytest.mark.parametrize("shape, options", CASES)


@each_case
def test_col2im_is_the_backward_pass(rng, shape, options):
    x = rng.standard_normal(shape)
    dcol = rng.standard_normal(reference.im2col(x, **options).shape)
    dx = reference.col2im(dcol, shape[2:], **options)
    assert_gradient(dx, lambda x: reference.im2col(x, **options), x, dcol)


@each_case
def test_a_convolution_is_a_matrix_product(rng, shape, options):
    x = rng.standard_normal(shape)
    weight = rng.standard_normal((4, shape[1], *reference.pair(options["kernel_size"])))
    others = {name: value for name, value in options.items() if name != "kernel_size"}
    y = reference.conv2d(x, weight, **others)
    product = weight.reshape(4, -1) @ reference.im2col(x, **options)
    assert_allclose(product.reshape(y.shape), y, rtol=1e-12, atol=1e-12)


@each_case
def test_against_torch(torch, rng, shape, options):
    x = rng.standard_normal(shape)
    col = torch.nn.functional.unfold(torch.tensor(x), **options)
    agree(reference.im2col(x, **options), col)
    image = torch.nn.functional.fold(col, shape[2:], **options)
    agree(reference.col2im(col.numpy(), shape[2:], **options), image)


def test_by_hand():
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    col = reference.im2col(x, 2)
    assert_array_equal(col, [[[1, 2, 4, 5], [2, 3, 5, 6], [4, 5, 7, 8], [5, 6, 8, 9]]])
    assert_array_equal(reference.col2im(col, (3, 3), 2), x * [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
