"""Convolution beyond NCHW images: formats, paddings, samples, selected gradients, transposed, 1-d.

Compared with the float64 reference and PyTorch; tests/kernels/test_functional.py tests what all
functions have in common.
"""

import numpy as np
import pytest
from functional_cases import Case, assert_matches_reference, assert_same, call, draw, each_dtype
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test

from lenet5c import kernels, reference
from lenet5c.kernels import convolution

WINDOWS = [
    ((7, 6), (3, 3), {"padding": "same"}),
    ((7, 6), (2, 4), {"padding": "same"}),
    ((8, 9), (3, 2), {"padding": "same", "stride": (2, 3)}),
    ((5, 9), (1, 3), {"padding": "same", "stride": (4, 2), "dilation": (1, 2)}),
    ((7, 6), (3, 3), {"padding": "valid", "dilation": (1, 2)}),
    ((7, 6), (3, 2), {"padding": ((0, 1), (2, 0))}),
    ((6, 7), (3, 3), {"padding": ((1, 0), (0, 3)), "stride": (3, 2)}),
    ((4, 5), (3, 3), {"padding": ((3, 0), (0, 4)), "stride": 2}),
    ((3, 1), (4, 2), {"padding": ((0, 1), (0, 1))}),
    ((2, 2), (2, 2), {"padding": ((2, 0), (1, 0)), "dilation": 2}),
    ((4, 3), (4, 3), {}),
    ((4, 3), (4, 3), {"padding": ((1, 0), (0, 0)), "stride": 2}),
    ((9, 8), (4, 3), {"stride": 3}),
]
CHANNELS = [(1, 1, 1), (3, 5, 1), (17, 16, 1), (4, 6, 2), (5, 5, 5)]
BATCHES = [None, 1, 3, 16, 33]


def shapes_of(batch, channels, image, kernel_size, groups, data_format):
    """Return the shapes of x and weight of a convolution; batch None means a single sample."""
    C, O = channels
    first = () if batch is None else (batch,)
    if data_format[-1] == "C":
        return (*first, *image, C), (*kernel_size, C // groups, O)
    return (*first, C, *image), (O, C // groups, *kernel_size)


def cases():
    """Cross the windows with channels, batches and formats, each pair of them at least once."""
    for i, (image, kernel_size, options) in enumerate(WINDOWS):
        for j, (C, O, groups) in enumerate(CHANNELS):
            batch = BATCHES[(i + j) % len(BATCHES)]
            for data_format in ("NCHW", "NHWC"):
                settings = options | {"groups": groups, "data_format": data_format}
                x, weight = shapes_of(batch, (C, O), image, kernel_size, groups, data_format)
                yield Case("conv2d", (x, weight, (O,)), settings)


def backward_case(case):
    """Return the case of the gradients of a convolution."""
    x, weight, _ = case.shapes
    y = getattr(reference, case.name)(np.zeros(x), np.zeros(weight), **case.options)
    return Case(f"{case.name}_backward", (y.shape, x, weight), case.options)


def transposed_cases():
    """Cross strides, dilations, paddings and output paddings with channels, batches, formats."""
    windows = [
        ((3, 4), (3, 2), {}),
        ((3, 4), (3, 2), {"stride": 2}),
        ((3, 4), (3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((4, 3), (2, 3), {"stride": (3, 2), "padding": ((0, 1), (1, 0)), "dilation": (1, 2)}),
        ((4, 3), (2, 3), {"stride": (1, 2), "padding": "same"}),
        ((4, 3), (2, 1), {"stride": 3, "padding": "same"}),
        ((2, 3), (2, 3), {"dilation": 3, "output_padding": (2, 1), "padding": (0, 2)}),
        ((1, 1), (4, 3), {}),
        ((1, 1), (4, 3), {"stride": 2, "output_padding": 1}),
        ((5, 4), (3, 3), {"padding": ((2, 0), (0, 2))}),
        ((3, 3), (5, 5), {"padding": 3, "stride": 2}),
    ]
    for i, (image, kernel_size, options) in enumerate(windows):
        for j, (C, O, groups) in enumerate(CHANNELS):
            batch = BATCHES[(i + j) % len(BATCHES)]
            for data_format in ("NCHW", "NHWC"):
                settings = options | {"groups": groups, "data_format": data_format}
                # As of a convolution from O channels to C.
                _, weight = shapes_of(batch, (O, C), image, kernel_size, groups, data_format)
                x, _ = shapes_of(batch, (C, O), image, kernel_size, groups, data_format)
                yield Case("conv_transpose2d", (x, weight, (O,)), settings)


def one_dimensional_cases():
    windows = [
        (9, 3, {}),
        (9, 4, {"padding": "same", "stride": 2}),
        (9, 4, {"padding": (0, 2), "dilation": 2}),
        (9, 3, {"padding": (2, 0), "stride": 3}),
        (5, 5, {"padding": "valid"}),
        (1, 3, {"padding": 1}),
    ]
    for i, (length, taps, options) in enumerate(windows):
        for j, (C, O, groups) in enumerate(CHANNELS):
            batch = BATCHES[(i + j) % len(BATCHES)]
            for data_format in ("NCW", "NWC"):
                settings = options | {"groups": groups, "data_format": data_format}
                x, weight = shapes_of(batch, (C, O), (length,), (taps,), groups, data_format)
                yield Case("conv1d", (x, weight, (O,)), settings)
                _, weight = shapes_of(batch, (O, C), (length,), (taps,), groups, data_format)
                yield Case("conv_transpose1d", (x, weight, (O,)), settings)


CASES = [*cases(), *transposed_cases(), *one_dimensional_cases()]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
some_cases = pytest.mark.parametrize("case", CASES[::7], ids=str)
GRADIENTS = ("dx", "dweight", "dbias")
NEEDS = [*(GRADIENTS[i:j] for i in range(3) for j in range(i + 1, 4)), ("dx", "dbias")]


@in_one_test
@each_case
@each_dtype
def test_matches_reference(case, dtype):
    arrays = draw(case, dtype)
    assert_matches_reference(case, arrays, call(kernels, case, arrays))
    without_bias = Case(case.name, case.shapes[:2], case.options)
    assert_matches_reference(without_bias, arrays[:2], call(kernels, without_bias, arrays[:2]))


@in_one_test
@each_case
@each_dtype
def test_gradients_match_reference(case, dtype):
    case = backward_case(case)
    arrays = draw(case, dtype)
    assert_matches_reference(case, arrays, call(kernels, case, arrays))


@in_one_test
@some_cases
@pytest.mark.parametrize("need", NEEDS, ids=str)
@each_dtype
def test_gradients_one_asks_for(case, need, dtype):
    case = backward_case(case)
    arrays = draw(case, dtype)
    results = call(kernels, case, arrays, need=need)
    every = call(reference, case, [a.astype(np.float64) for a in arrays])
    for name, result, expected in zip(GRADIENTS, results, every, strict=True):
        assert (result is not None) == (name in need)
        if result is not None:
            assert result.dtype == dtype
            tolerance = 1e-5 if dtype is np.float32 else 1e-12
            assert_allclose(result, expected, rtol=tolerance, atol=100 * tolerance)
    outs = tuple(None if result is None else np.full_like(result, np.nan) for result in results)
    for result, out in zip(call(kernels, case, arrays, need=need, out=outs), outs, strict=True):
        assert result is out
    assert_same([out for out in outs if out is not None], [r for r in results if r is not None])


@in_one_test
@some_cases
def test_what_is_not_needed_may_be_a_shape(case):
    case = backward_case(case)
    dy, x, weight = draw(case, np.float32)
    function = getattr(kernels, case.name)
    for need, given in [
        (["dx"], (dy, x.shape, weight)),
        (["dx", "dbias"], (dy, tuple(np.array(x.shape)), weight)),
        (["dweight"], (dy, x, weight.shape)),
        ({"dbias"}, (dy, x.shape, weight.shape)),
    ]:
        results = function(*given, **case.options, need=need)
        expected = function(dy, x, weight, **case.options, need=need)
        for result, other in zip(results, expected, strict=True):
            assert (result is None) == (other is None)
            if result is not None:
                assert_same([result], [other])


LARGE = [
    Case("conv2d", ((2, 70, 60, 24), (3, 3, 24, 20)), {"padding": "same", "data_format": "NHWC"}),
    Case("conv2d", ((40, 24, 22, 6), (5, 5, 6, 16)), {"data_format": "NHWC"}),
    Case(
        "conv2d",
        ((1, 90, 80, 24), (3, 3, 1, 24)),
        {"groups": 24, "stride": (1, 2), "padding": "same", "data_format": "NHWC"},
    ),
    Case("conv_transpose2d", ((2, 40, 30, 31), (40, 20, 4, 4)), {"stride": 2, "padding": 1}),
    Case("conv_transpose2d", ((34, 16, 12, 11), (16, 6, 5, 5)), {"padding": ((0, 1), (2, 0))}),
    Case(
        "conv_transpose2d",
        ((3, 30, 31, 34), (3, 5, 2, 34)),
        {"groups": 17, "stride": (1, 2), "data_format": "NHWC"},
    ),
    Case("conv1d", ((5, 40, 2000), (50, 40, 9)), {"padding": "same"}),
    Case("conv1d", ((5, 2000, 40), (9, 40, 50)), {"padding": "same", "data_format": "NWC"}),
]


@pytest.mark.parametrize("case", LARGE, ids=str)
@each_dtype
def test_large_ones_match_at_any_thread_count(case, dtype):
    arrays = draw(case, dtype)
    results = call(kernels, case, arrays, num_threads=1)
    assert_matches_reference(case, arrays, results)
    for num_threads in (2, 3, 8):
        assert_same(call(kernels, case, arrays, num_threads=num_threads), results)
    dy = np.random.default_rng(1).standard_normal(results[0].shape).astype(dtype)
    backward = Case(f"{case.name}_backward", (dy.shape, *case.shapes), case.options)
    results = call(kernels, backward, [dy, *arrays], num_threads=1)
    assert_matches_reference(backward, [dy, *arrays], results)
    for num_threads in (2, 3, 8):
        assert_same(call(kernels, backward, [dy, *arrays], num_threads=num_threads), results)


@each_dtype
@pytest.mark.parametrize(
    "x, weight, options",
    [
        ((5, 4, 9, 8), (6, 2, 3, 3), {"groups": 2, "stride": 2, "padding": 1}),
        ((5, 6, 7, 8), (4, 6, 3, 5), {"padding": "same"}),
        ((2, 3, 5, 5), (7, 3, 5, 5), {}),
    ],
    ids=str,
)
def test_conv2d_against_pytorch(torch, dtype, x, weight, options):
    assert_like_pytorch(torch, "conv2d", dtype, x, weight, weight[0], options)


@each_dtype
@pytest.mark.parametrize(
    "x, weight, options",
    [
        ((5, 4, 9), (6, 2, 3), {"groups": 2, "stride": 2, "padding": 1}),
        ((4, 30), (5, 4, 7), {"dilation": 3}),
    ],
    ids=str,
)
def test_conv1d_against_pytorch(torch, dtype, x, weight, options):
    assert_like_pytorch(torch, "conv1d", dtype, x, weight, weight[0], options)


@each_dtype
@pytest.mark.parametrize(
    "x, weight, options",
    [
        ((5, 4, 5, 6), (4, 3, 3, 3), {}),
        ((5, 4, 5, 6), (4, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((17, 4, 5, 6), (4, 3, 4, 2), {"stride": (1, 3), "groups": 2, "output_padding": (0, 2)}),
        ((4, 5, 6), (4, 2, 3, 2), {"dilation": (3, 1), "output_padding": (2, 0)}),
        ((3, 20, 1, 1), (20, 8, 4, 4), {}),
    ],
    ids=str,
)
def test_conv_transpose2d_against_pytorch(torch, dtype, x, weight, options):
    filters = weight[1] * options.get("groups", 1)
    assert_like_pytorch(torch, "conv_transpose2d", dtype, x, weight, filters, options)


@each_dtype
def test_conv_transpose1d_against_pytorch(torch, dtype):
    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    assert_like_pytorch(torch, "conv_transpose1d", dtype, (3, 4, 9), (4, 3, 4), 6, options)


def assert_like_pytorch(torch, name, dtype, x, weight, filters, options):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in (x, weight, filters)]
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    expected = getattr(torch.nn.functional, name)(*tensors, **options)
    y = getattr(kernels, name)(*arrays, **options)
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    compare = {"rtol": tolerance, "atol": 30 * tolerance}
    assert_allclose(y, expected.detach(), **compare)
    dy = rng.standard_normal(y.shape).astype(dtype)
    expected.backward(torch.tensor(dy))
    for gradient, tensor in zip(
        getattr(kernels, f"{name}_backward")(dy, *arrays[:2], **options), tensors, strict=True
    ):
        assert_allclose(gradient, tensor.grad, **compare)


@in_one_test
@pytest.mark.parametrize(
    "dtypes, expected",
    [
        ("f4 f4 f4", "f4"),
        ("f4 f8 f4", "f8"),
        ("u1 f4 f4", "f4"),
        ("f2 f2 f2", "f4"),
        ("f4 f4 i4", "f8"),
        ("u1 i2 ?", "f4"),
        (">f4 f4 >f8", "f8"),
    ],
)
@pytest.mark.parametrize("case", CASES[::40], ids=str)
def test_dtypes_are_promoted(case, dtypes, expected):
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 2, shape).astype(dtype)
        for shape, dtype in zip(case.shapes, dtypes.split(), strict=True)
    ]
    converted = [array.astype(expected) for array in arrays]
    assert_same(call(kernels, case, arrays), call(kernels, case, converted))
    backward = backward_case(case)
    arrays = [rng.integers(0, 2, backward.shapes[0]).astype("i1"), *arrays[:2]]
    wanted = np.result_type(np.float32, *arrays).newbyteorder("=")
    for result in call(kernels, backward, arrays):
        assert result.dtype == wanted


def test_tensors_and_lists(torch):
    x, weight = np.arange(32.0).reshape(2, 1, 4, 4), np.arange(9.0).reshape(1, 1, 3, 3)
    expected = [kernels.conv2d(x, weight)]
    assert_same([kernels.conv2d(x.tolist(), torch.tensor(weight))], expected)


@pytest.mark.parametrize(
    "case", [case for case in CASES if len(case.shapes[0]) == 4][:40:7], ids=str
)
def test_a_sample_is_a_batch_of_one(case):
    case = case._replace(shapes=((1, *case.shapes[0][1:]), *case.shapes[1:]))
    x, weight, bias = arrays = draw(case, np.float32)
    (expected,) = call(kernels, case, arrays)
    out = np.empty(expected.shape[1:], np.float32)
    (y,) = call(kernels, case, [x[0], weight, bias], out=out)
    assert y is out
    assert_same([y], [expected[0]])
    dy = np.random.default_rng(1).standard_normal(expected.shape, np.float32)
    function = getattr(kernels, f"{case.name}_backward")
    dx, *others = function(dy, x, weight, **case.options)
    outs = np.empty(x.shape[1:], np.float32), None, None
    results = function(dy[0], x[0], weight, **case.options, out=outs)
    assert results[0] is outs[0]
    assert_same(results, [dx[0], *others])


def test_no_samples():
    for case in CASES[::5]:
        if len(case.shapes[0]) == len(case.shapes[1]):
            case = case._replace(shapes=((0, *case.shapes[0][1:]), *case.shapes[1:]))
            (y,) = call(kernels, case, draw(case, np.float32))
            assert len(y) == 0
            backward = Case(f"{case.name}_backward", (y.shape, *case.shapes[:2]), case.options)
            dx, dweight, dbias = call(kernels, backward, draw(backward, np.float32))
            assert dx.shape == case.shapes[0] and not dweight.any() and not dbias.any()


@in_one_test
@some_cases
@each_dtype
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_an_infinite_weight_touches_only_what_it_was_multiplied_with(case, dtype, value):
    """Products with the zeros around dy are not part of the data gradient."""
    case = case if "transpose" in case.name else backward_case(case)
    arrays = [np.ones(shape, dtype) for shape in case.shapes]
    weight = arrays[1 if "transpose" in case.name else 2]
    weight.flat[0] = value
    expected = call(reference, case, arrays)[0]
    assert_array_equal(call(kernels, case, arrays)[0], expected)
    if "backward" in case.name:
        assert_array_equal(call(kernels, case, arrays, need=["dx"])[0], expected)


def test_settings_in_another_form_are_not_planned_anew():
    x, weight = np.ones((2, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    y = kernels.conv2d(x, weight, None, (2, 2), ((1, 1), (0, 1)))
    planned = convolution.plan.cache_info().misses
    stride, padding = [2, np.int64(2)], np.array([[1, 1], [0, 1]])
    kernels.conv2d(2 * x, weight, None, stride, padding, dilation=np.int8(1))
    kernels.conv2d_backward(y, x, weight, stride, padding, need=["dbias"])
    assert convolution.plan.cache_info().misses == planned


@in_one_test
@each_dtype
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("groups", [2, 3, 5, 8, 12])
def test_groups_whose_filters_lie_a_vector_apart(groups, data_format, dtype):
    """The distance of the first and the last filter of a vector is then that of neighbors."""
    for outputs in (1, 2, 3, 4, 5, 7, 15):
        for inputs in (1, 3, 7, 15):
            channels = inputs * groups, outputs * groups
            shapes = shapes_of(8, channels, (1, 2), (1, 1), groups, data_format)
            case = Case(
                "conv2d", (*shapes, (channels[1],)), {"groups": groups, "data_format": data_format}
            )
            backward = backward_case(case)
            arrays = draw(case, dtype)
            assert_matches_reference(case, arrays, call(kernels, case, arrays))
            arrays = draw(backward, dtype)
            assert_matches_reference(backward, arrays, call(kernels, backward, arrays))
            expected = call(reference, backward, arrays)[0]
            dx = call(kernels, backward, arrays, need=["dx"])[0]
            assert_allclose(dx, expected, rtol=0, atol=2e-5)


@each_dtype
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_gradients_of_a_fully_connected_layer(batch, data_format, dtype):
    shapes = shapes_of(batch, (30, 20), (2, 3), (2, 3), 1, data_format)
    case = Case("conv2d", (*shapes, (20,)), {"data_format": data_format})
    backward = backward_case(case)
    arrays = draw(backward, dtype)
    assert_matches_reference(backward, arrays, call(kernels, backward, arrays))
