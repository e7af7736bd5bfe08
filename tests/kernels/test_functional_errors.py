"""Errors of the functional kernels: invalid dtypes, shapes, outputs and settings."""

import re

import numpy as np
import pytest
from functional_cases import TYPICAL, Case, call, out_argument, read_only, typical_case, zeros
from one_test import in_one_test

from lenet5c import kernels


@in_one_test
@typical_case
@pytest.mark.parametrize("dtype", ["complex64", "longdouble", "object", "U1", "M8[s]"])
def test_other_dtypes_are_errors(case, dtype):
    for odd in range(len(case.shapes)):
        arrays = zeros(case)
        arrays[odd] = np.zeros(case.shapes[odd], dtype)
        with pytest.raises(TypeError, match=re.escape(str(np.dtype(dtype)))):
            call(kernels, case, arrays)


@typical_case
def test_what_is_no_array_is_an_error(case):
    for odd in range(len(case.shapes)):
        for value in (object(), "text", b"bytes", {}, [[1], [2, 3]], np.ma.zeros(3)):
            arrays = zeros(case)
            arrays[odd] = value
            with pytest.raises(TypeError, match="must be an array of real numbers"):
                call(kernels, case, arrays)


@typical_case
def test_none_is_an_error(case):
    for odd in range(len(case.shapes)):
        arrays = zeros(case)
        arrays[odd] = None
        if not (case.name == "conv2d" and odd == 2):  # the bias
            with pytest.raises((TypeError, ValueError), match="None"):
                call(kernels, case, arrays)


@typical_case
def test_wrong_outs_are_errors(case):
    arrays = zeros(case)
    results = call(kernels, case, arrays)
    wrongs = [
        (ValueError, lambda a: np.empty((*a.shape[:-1], a.shape[-1] + 1), a.dtype)),
        (ValueError, lambda a: np.empty(a.size + 1, a.dtype)[1:].reshape(1, *a.shape)),
        (ValueError, read_only),
        (TypeError, lambda a: a.astype(np.float64)),
        (TypeError, lambda a: a.tolist()),
    ]
    for error, wrong in wrongs:
        for i in range(len(results)):
            outs = [wrong(a) if k == i else a for k, a in enumerate(results)]
            with pytest.raises(error, match="out"):
                call(kernels, case, arrays, out=out_argument(outs))


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_conv2d_backward_wants_three_outs(count):
    case = TYPICAL[1]
    with pytest.raises((TypeError, ValueError), match="out"):
        call(kernels, case, zeros(case), out=(None,) * count)


X, DY = (3, 2, 8, 8), (3, 4, 6, 6)
WEIGHT, BIAS = (4, 2, 3, 3), (4,)
POOLED, COL = (3, 2, 4, 4), (3, 18, 36)

# function, shapes of the arrays, options; then what the message must name: the argument, and a
# number of its value. A shape with a wrong number of axes has that number as its first size, so
# that the message may name either.
WRONG = [
    ("conv2d", ((3, 8), WEIGHT), {}, "x", 3),
    ("conv2d", ((5, 2, 8, 8, 1), WEIGHT), {}, "x", 5),
    ("conv2d", (X, (3, 2, 3)), {}, "weight", 3),
    ("conv2d", (X, (4, 7, 3, 3)), {}, "weight", 7),
    ("conv2d", (X, (4, 2, 9, 3)), {}, "weight|kernel_size", 9),
    ("conv2d", (X, (4, 2, 5, 5)), {"dilation": (1, 2)}, "weight|kernel_size", "5|9"),
    ("conv2d", (X, WEIGHT, (5,)), {}, "bias", 5),
    ("conv2d", (X, WEIGHT, (4, 1)), {}, "bias", 1),
    ("conv2d", (X, WEIGHT), {"groups": 0}, "groups", 0),
    ("conv2d", (X, WEIGHT), {"groups": -1}, "groups", -1),
    ("conv2d", (X, WEIGHT), {"groups": 3}, "groups", 3),
    ("conv2d", (X, (5, 1, 3, 3)), {"groups": 2}, "groups|weight", 5),
    ("conv2d_backward", ((3, 6, 6), X, WEIGHT), {}, "dy", 3),
    ("conv2d_backward", ((7, 4, 6, 6), X, WEIGHT), {}, "dy", 7),
    ("conv2d_backward", ((3, 7, 6, 6), X, WEIGHT), {}, "dy", 7),
    ("conv2d_backward", ((3, 4, 7, 6), X, WEIGHT), {}, "dy", 7),
    ("conv2d_backward", ((3, 4, 6, 7), X, WEIGHT), {}, "dy", 7),
    ("conv2d_backward", (DY, (3, 8), WEIGHT), {}, "x", 3),
    ("conv2d_backward", (DY, X, (4, 7, 3, 3)), {}, "weight", 7),
    ("conv2d_backward", (DY, X, WEIGHT), {"groups": 3}, "groups", 3),
    ("max_pool2d", ((3, 8),), {"kernel_size": 2}, "x", 3),
    ("max_pool2d_backward", ((3, 2, 4, 7), X), {"kernel_size": 2}, "dy", 7),
    ("max_pool2d_backward", ((7, 2, 4, 4), X), {"kernel_size": 2}, "dy", 7),
    ("max_pool2d_backward", (POOLED, (3, 8)), {"kernel_size": 2}, "x", 3),
    ("avg_pool2d", ((3, 8),), {"kernel_size": 2}, "x", 3),
    ("avg_pool2d_backward", ((3, 2, 4, 7),), {"x_shape": X, "kernel_size": 2}, "dy", 7),
    ("avg_pool2d_backward", (POOLED,), {"x_shape": (3, 8), "kernel_size": 2}, "x_shape", 3),
    ("im2col", ((3, 8),), {"kernel_size": 3}, "x", 3),
    ("im2col", (X,), {"kernel_size": 5, "dilation": 2}, "kernel_size", "5|9"),
    ("col2im", ((2, 36),), {"output_size": (8, 8), "kernel_size": 3}, "col", 2),
    ("col2im", ((3, 19, 36),), {"output_size": (8, 8), "kernel_size": 3}, "col", 19),
    ("col2im", ((3, 18, 35),), {"output_size": (8, 8), "kernel_size": 3}, "col", 35),
    ("col2im", (COL,), {"output_size": (8, 8, 5), "kernel_size": 3}, "output_size", 5),
    ("col2im", (COL,), {"output_size": (-8, 8), "kernel_size": 3}, "output_size", -8),
]

# Valid calls, each of whose sizes is spoiled in turn.
VALID = [
    Case("conv2d", (X, WEIGHT), {"stride": 1, "padding": 0, "dilation": 1}),
    Case("conv2d_backward", (DY, X, WEIGHT), {"stride": 1, "padding": 0, "dilation": 1}),
    Case("max_pool2d", (X,), {"kernel_size": 2, "stride": 2, "padding": 0}),
    Case("max_pool2d_backward", (POOLED, X), {"kernel_size": 2, "stride": 2, "padding": 0}),
    Case("avg_pool2d", (X,), {"kernel_size": 2, "stride": 2, "padding": 0}),
    Case(
        "avg_pool2d_backward",
        (POOLED,),
        {"x_shape": X, "kernel_size": 2, "stride": 2, "padding": 0},
    ),
    Case("im2col", (X,), {"kernel_size": 3, "stride": 1, "padding": 0, "dilation": 1}),
    Case(
        "col2im",
        (COL,),
        {"output_size": (8, 8), "kernel_size": 3, "stride": 1, "padding": 0, "dilation": 1},
    ),
]


# argument, value, the number that is at fault
SPOILED_SIZES = [
    *((name, 0, 0) for name in ("kernel_size", "stride", "dilation", "num_threads")),
    *((name, -1, -1) for name in ("kernel_size", "stride", "dilation", "padding", "num_threads")),
    *((name, (1, 0), 0) for name in ("kernel_size", "stride", "dilation")),
    *((name, (-2, 1), -2) for name in ("kernel_size", "stride", "dilation", "padding")),
    *((name, (1, 1, 5), 5) for name in ("kernel_size", "stride", "dilation", "padding")),
    ("kernel_size", 9, 9),
    ("kernel_size", (2, 9), 9),
]
SPOILED_BORDERS = [("padding", 2, 2), ("padding", (0, 2), 2)]  # as much as a pooling window


def spoiled(case):
    """Yield the valid case with each size, and the number of threads, invalid in turn."""
    for argument, value, number in SPOILED_SIZES + SPOILED_BORDERS * ("pool2d" in case.name):
        if argument in case.options or argument == "num_threads":
            yield case._replace(options=case.options | {argument: value}), argument, number


@in_one_test
@pytest.mark.parametrize(
    "case, argument, number",
    [
        (Case(name, shapes, options), argument, number)
        for name, shapes, options, argument, number in WRONG
    ]
    + [spoiled_case for case in VALID for spoiled_case in spoiled(case)],
    ids=str,
)
def test_wrong_values_are_errors_that_name_them(case, argument, number):
    with pytest.raises(ValueError) as caught:
        call(kernels, case, zeros(case))
    message = str(caught.value)
    assert re.search(rf"\b({argument})\b", message), message
    assert re.search(rf"(?<![\w-])({number})\b", message), message


@pytest.mark.parametrize("case", VALID, ids=str)
def test_sizes_that_are_not_integers_are_errors(case):
    call(kernels, case, zeros(case))
    for argument in {"kernel_size", "stride", "padding", "dilation"} & case.options.keys():
        for value in (1.5, "2", (1, 1.5)):
            with pytest.raises((TypeError, ValueError), match=argument):
                call(kernels, case._replace(options=case.options | {argument: value}), zeros(case))


@pytest.mark.parametrize("shape", [(1, 1, 4, 0), (1, 1, 0, 4), (5, 0, 4, 4), (5, 1, 4, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_without_pixels_are_an_error(shape, dtype):
    x = np.zeros(shape, dtype)
    calls = [
        lambda: kernels.conv2d(x, np.ones((1, 1, 3, 3), dtype), padding=2),
        lambda: kernels.max_pool2d(x, 2, padding=1),
        lambda: kernels.avg_pool2d(x, 2, padding=1),
        lambda: kernels.im2col(x, 2, padding=1),
        lambda: kernels.avg_pool2d_backward(np.ones((1, 1, 2, 2), dtype), shape, 2, padding=1),
    ]
    for each in calls:
        with pytest.raises(ValueError, match="shape"):
            each()


def test_outs_of_a_backward_that_overlap_are_an_error():
    x, weight = np.ones((5, 1, 4, 4), np.float32), np.ones((1, 1, 4, 4), np.float32)
    memory = np.zeros(100, np.float32)
    out = (memory[:80].reshape(x.shape), memory[70:86].reshape(weight.shape), None)
    with pytest.raises(ValueError, match="out must hold arrays that do not overlap"):
        kernels.conv2d_backward(np.ones((5, 1, 1, 1), np.float32), x, weight, out=out)


@pytest.mark.parametrize("name", ["stride", "dilation", "padding"])
def test_settings_beyond_any_size_are_an_error(name):
    with pytest.raises(ValueError, match=name):
        kernels.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 1, 1)), **{name: 2**64})
