"""im2col and col2im in each layout compared with the reference, on several threads."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test

from lenet5c import kernels, reference
from lenet5c.kernels import threads

# x (N, C, H, W), and the window
CASES = [
    ((2, 3, 5, 4), {"kernel_size": 2}),
    ((3, 1, 8, 8), {"kernel_size": 3, "padding": 1}),
    ((1, 5, 1, 1), {"kernel_size": 1}),
    ((1, 2, 7, 6), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}),
    ((2, 2, 8, 7), {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": (1, 2)}),
    ((2, 9, 6, 11), {"kernel_size": (2, 3), "dilation": (3, 1), "padding": ((0, 3), (4, 1))}),
    ((1, 4, 40, 70), {"kernel_size": (1, 5), "padding": "same"}),
    ((2, 1, 9, 300), {"kernel_size": 2, "stride": 3, "padding": "same", "dilation": 2}),
    ((2, 3, 5, 5), {"kernel_size": 1, "stride": 3, "padding": "valid"}),
    ((1, 2, 3, 2), {"kernel_size": 2, "padding": 3}),
    ((1, 2, 1, 2), {"kernel_size": (1, 3), "stride": (1, 4), "padding": (2, 6), "dilation": 4}),
    ((0, 2, 5, 4), {"kernel_size": 2}),
]
LAYOUTS = [
    {"layout": layout, "data_format": data_format}
    for layout, data_format in itertools.product(("columns", "rows"), ("NCHW", "NHWC"))
]

each_case = pytest.mark.parametrize("shape, options", CASES, ids=str)
each_layout = pytest.mark.parametrize(
    "layout", LAYOUTS, ids=lambda layout: "-".join(layout.values())
)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.fixture
def busy_threads(monkeypatch):
    """Use all threads for any amount of work."""
    monkeypatch.setattr(threads, "THREAD_WORK", 1)


def draw(shape, layout, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return np.moveaxis(x, 1, 3).copy() if layout["data_format"] == "NHWC" else x


@in_one_test
@each_case
@each_layout
@each_dtype
def test_im2col(shape, options, layout, dtype, busy_threads):
    x, options = draw(shape, layout, dtype), options | layout
    expected = reference.im2col(x, **options)
    for num_threads in (1, 2, 3, 8):
        out = np.full(expected.shape, np.nan, dtype)
        assert kernels.im2col(x, **options, out=out, num_threads=num_threads) is out
        assert_array_equal(out, expected)


@in_one_test
@each_case
@each_layout
@each_dtype
def test_col2im(shape, options, layout, dtype, busy_threads):
    options = options | layout
    col = reference.im2col(draw(shape, layout, dtype), **options)
    col = np.random.default_rng(1).standard_normal(col.shape).astype(dtype)
    expected = reference.col2im(col, shape[2:], **options)
    terms = reference.col2im(np.abs(col), shape[2:], **options)
    serial = kernels.col2im(col, shape[2:], **options, num_threads=1)
    assert serial.shape == expected.shape and serial.dtype == dtype
    assert np.all(np.abs(serial - expected) <= 16 * np.finfo(dtype).eps * terms)
    for num_threads in (2, 3, 8):
        out = np.full(expected.shape, np.nan, dtype)
        kernels.col2im(col, shape[2:], **options, out=out, num_threads=num_threads)
        assert out.tobytes() == serial.tobytes()


@each_layout
@each_dtype
def test_a_sample_needs_no_batch(layout, dtype):
    x = draw((1, 3, 6, 5), layout, dtype)
    col = kernels.im2col(x, 3, **layout)
    alone = kernels.im2col(x[0], 3, **layout)
    out = np.empty_like(alone)
    assert kernels.im2col(x[0], 3, **layout, out=out) is out
    if layout["layout"] == "columns":
        assert_array_equal(alone, col[0])
        image = kernels.col2im(alone, (6, 5), 3, **layout)
        assert_array_equal(image, kernels.col2im(col, (6, 5), 3, **layout)[0])
        out = np.empty_like(image)
        assert kernels.col2im(alone, (6, 5), 3, **layout, out=out) is out
        assert_array_equal(out, image)
    else:
        assert_array_equal(alone, col)
        with pytest.raises(ValueError, match="^col must have 2 dimensions"):
            kernels.col2im(alone[0], (6, 5), 3, **layout)


@each_layout
def test_any_array_will_do(layout):
    x = draw((2, 3, 6, 5), layout, np.float32)
    pixels = np.round(np.abs(100 * x)).astype(np.uint8)
    expected = kernels.im2col(pixels.astype(np.float32), 3, **layout)
    for value in (pixels, pixels.astype(np.float16), pixels.astype(">f4"), memoryview(pixels)):
        result = kernels.im2col(value, 3, **layout)
        assert result.dtype == np.float32
        assert_array_equal(result, expected)
    assert kernels.im2col(pixels.tolist(), 3, **layout).dtype == np.float64
    back = kernels.col2im(expected, (6, 5), 3, **layout)
    for value in (np.asfortranarray(expected), expected.astype(">f4"), expected.data):
        assert_array_equal(kernels.col2im(value, (6, 5), 3, **layout), back)


@each_layout
def test_an_input_may_lie_in_out(layout):
    """Also if it is converted first."""
    memory = np.zeros(2000, np.float32)
    for dtype in (np.uint8, np.float32):
        pixels = memory[100:].view(dtype)[:96].reshape((2, 6, 8, 1))
        pixels[...] = np.arange(96).reshape(pixels.shape)
        x = pixels if layout["data_format"] == "NHWC" else pixels.reshape(2, 1, 6, 8)
        expected = kernels.im2col(x.copy(), 3, **layout)
        out = memory[: expected.size].reshape(expected.shape)
        assert kernels.im2col(x, 3, **layout, out=out) is out
        assert_array_equal(out, expected)
        expected = kernels.col2im(out.copy(), (6, 8), 3, **layout)
        image = memory[50 : 50 + expected.size].reshape(expected.shape)
        assert kernels.col2im(out, (6, 8), 3, **layout, out=image) is image
        assert_array_equal(image, expected)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"layout": "row"}, '^layout must be "columns" or "rows", got .row'),
        ({"layout": ["rows"]}, "^layout must be"),
        ({"data_format": "NWHC"}, '^data_format must be "NCHW" or "NHWC", got'),
        ({"padding": "full"}, "^padding must be"),
        ({"data_format": "NHWC", "kernel_size": 9}, "^kernel_size must fit"),
    ],
    ids=str,
)
def test_bad_settings(options, words):
    options = {"kernel_size": 3} | options
    with pytest.raises(ValueError, match=words):
        kernels.im2col(np.ones((1, 8, 8, 3)), **options)
    with pytest.raises(ValueError, match=words):
        kernels.col2im(np.ones((1, 27, 36)), (3, 8), **options)


@pytest.mark.parametrize(
    "shape, layout, words",
    [
        ((1, 28, 4), "columns", r"^col must have the shape \(N, C \* 9, 4\)"),
        ((1, 27, 5), "columns", r"^col must have the shape \(N, C \* 9, 4\)"),
        ((5, 27), "rows", r"^col must have the shape \(N \* 4, C \* 9\)"),
        ((4, 28), "rows", r"^col must have the shape \(N \* 4, C \* 9\)"),
        ((1, 4, 27), "rows", "^col must have 2 dimensions"),
    ],
)
def test_columns_that_no_image_has(shape, layout, words):
    with pytest.raises(ValueError, match=words):
        kernels.col2im(np.ones(shape), (4, 4), 3, layout=layout)


def test_a_matrix_beyond_memory_is_refused():
    x = np.zeros((1, 1, 2048, 2048), np.float32)
    with pytest.raises(ValueError, match="^the column matrix"):  # of more than 2**40 elements
        kernels.im2col(x, 1024, layout="rows")
    x = np.broadcast_to(np.float32(0), (2**14, 2**12, 128, 128))
    with pytest.raises(ValueError, match="^the column matrix"):  # before x itself, 4 TiB, is copied
        kernels.im2col(x, 64, layout="rows")
