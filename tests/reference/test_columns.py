"""im2col and col2im."""

import numpy as np
import pytest
from gradient_checks import agree, assert_gradient
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test

from lenet5c import reference

CASES = [
    ((2, 3, 5, 4), {"kernel_size": 2}),
    ((1, 2, 7, 6), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}),
    ((2, 2, 8, 7), {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": (1, 2)}),
    ((1, 1, 5, 5), {"kernel_size": 1, "stride": 3}),
]
# What PyTorch does not have.
MORE = [
    ((2, 1, 5, 4), {"kernel_size": (2, 3), "padding": ((0, 2), (1, 0))}),
    ((1, 2, 6, 5), {"kernel_size": 3, "stride": 2, "padding": "same"}),
]
LAYOUTS = [
    {"layout": layout, "data_format": data_format}
    for layout in ("columns", "rows")
    for data_format in ("NCHW", "NHWC")
]

each_case = pytest.mark.parametrize("shape, options", CASES)


@in_one_test
@pytest.mark.parametrize("shape, options", CASES + MORE)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(layout.values()))
def test_col2im_is_the_backward_pass(rng, shape, options, layout):
    x = rng.standard_normal(shape)
    options = options | layout
    if layout["data_format"] == "NHWC":
        x = np.moveaxis(x, 1, 3).copy()
    dcol = rng.standard_normal(reference.im2col(x, **options).shape)
    dx = reference.col2im(dcol, shape[2:], **options)
    assert_gradient(dx, lambda x: reference.im2col(x, **options), x, dcol)


@pytest.mark.parametrize("shape, options", CASES + MORE)
def test_layouts_hold_the_same(rng, shape, options):
    x, taps = rng.standard_normal(shape), reference.pair(options["kernel_size"])
    col = reference.im2col(x, **options)
    n, channels = shape[:2]
    last = np.moveaxis(x, 1, 3)
    col_last = reference.im2col(last, **options, data_format="NHWC")
    assert_array_equal(
        np.moveaxis(col.reshape(n, channels, *taps, -1), 1, 3).reshape(col.shape), col_last
    )
    for data_format, image, columns in (("NCHW", x, col), ("NHWC", last, col_last)):
        some = options | {"data_format": data_format}
        rows = reference.im2col(image, **some, layout="rows")
        assert_array_equal(rows, columns.transpose(0, 2, 1).reshape(-1, columns.shape[1]))
        back = reference.col2im(columns, shape[2:], **some)
        assert_array_equal(reference.col2im(rows, shape[2:], **some, layout="rows"), back)
        assert_array_equal(reference.im2col(image[0], **some), columns[0])
        assert_array_equal(reference.col2im(columns[0], shape[2:], **some), back[0])


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_a_convolution_is_a_product_with_the_rows(rng, data_format):
    x, weight = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 2))
    y = reference.conv2d(x, weight, padding=1)
    if data_format == "NHWC":
        x, weight = np.moveaxis(x, 1, 3), np.moveaxis(weight, 1, 3)
    rows = reference.im2col(x, (3, 2), padding=1, layout="rows", data_format=data_format)
    product = rows @ weight.reshape(4, -1).T
    assert_allclose(np.moveaxis(product.reshape(2, 6, 6, 4), 3, 1), y, rtol=1e-12, atol=1e-12)


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
