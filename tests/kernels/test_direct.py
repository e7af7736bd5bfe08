"""The direct convolution on plans: dtypes, layouts, axes, threads and instruction sets.

A plan takes the padding before the image and the output's size, which says what lies after it.
"""

from importlib import import_module
from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test

from lenet5c import reference
from lenet5c.kernels.direct import _direct, strips
from lenet5c.kernels.simd import _cpu


class Case(NamedTuple):
    """A convolution: batch, groups, sizes of x and y, the filters' and the window's."""

    batch: int
    groups: int
    channels: int
    outputs: int
    image: tuple[int, int]
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def __str__(self):
        return "-".join("x".join(map(str, np.atleast_1d(field))) for field in self)


CASES = [
    Case(1, 1, 1, 1, (1, 1), (1, 1), (1, 1)),
    Case(2, 1, 3, 5, (5, 7), (3, 5), (3, 3)),
    Case(3, 1, 7, 33, (6, 5), (6, 5), (3, 3), padding=(1, 1)),
    Case(1, 1, 17, 40, (9, 11), (5, 3), (3, 5), (2, 3), (1, 0)),
    Case(2, 1, 4, 9, (9, 9), (8, 4), (2, 3), (1, 2), (0, 1), (3, 2)),
    Case(2, 3, 6, 12, (7, 6), (4, 6), (3, 1), (2, 1), (1, 0)),
    Case(5, 8, 8, 8, (6, 9), (6, 9), (3, 3), padding=(1, 1)),
    Case(3, 16, 16, 32, (5, 5), (3, 3), (3, 3)),
    Case(1, 5, 15, 5, (8, 4), (4, 2), (1, 1), (2, 2)),
    Case(17, 1, 2, 3, (4, 4), (4, 4), (3, 3), padding=(1, 1)),
    Case(0, 1, 2, 3, (4, 4), (2, 2), (3, 3)),
    # More after the image than before it, less than there is room for, or inputs that nothing sees
    Case(2, 1, 3, 18, (5, 6), (5, 3), (2, 2), (1, 2)),
    Case(1, 2, 4, 6, (9, 8), (3, 2), (2, 3), (3, 2), (1, 1)),
    Case(2, 1, 3, 4, (4, 5), (6, 8), (2, 2), (1, 1), (0, 1)),
    Case(1, 1, 2, 2, (3, 3), (2, 2), (1, 1), (4, 5)),
]
# With work for several threads
LARGE = [
    Case(3, 1, 24, 72, (30, 29), (30, 29), (3, 3), padding=(1, 1)),
    Case(1, 1, 9, 50, (64, 70), (32, 35), (5, 5), (2, 2), (2, 2)),
    Case(9, 32, 64, 64, (40, 40), (38, 38), (3, 3)),
    # Without a border, from beyond the caches
    Case(40, 1, 40, 24, (40, 40), (40, 40), (1, 1)),
]
DTYPES = {"f": np.float32, "d": np.float64}
LAYOUTS = {"NCHW": ((0, 1, 2, 3), (0, 1, 2, 3)), "NHWC": ((0, 2, 3, 1), (2, 3, 1, 0))}

each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_large = pytest.mark.parametrize("case", LARGE, ids=str)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_axis = pytest.mark.parametrize("axis", ["channels", "units", "pixels"])


def draw(case, dtype):
    """Return x, weight, bias, dy of small integers, whose sums are exact; normal if large."""
    rng = np.random.default_rng(0)
    shapes = (
        (case.batch, case.channels, *case.image),
        (case.outputs, case.channels // case.groups, *case.kernel),
        (case.outputs,),
        (case.batch, case.outputs, *case.size),
    )
    if case in LARGE:
        return [rng.standard_normal(shape).astype(DTYPES[dtype]) for shape in shapes]
    return [rng.integers(-4, 5, shape).astype(DTYPES[dtype]) for shape in shapes]


def compute(case, arrays, layout, axis, threads=1, kernels=None):
    """Return y, dx, dweight and dbias as NCHW, computed by plans with these kernels."""
    x, weight, bias, dy = arrays
    dtype, axes = x.dtype, LAYOUTS[layout]
    orders = axes[0], axes[1], (0,), axes[0]
    x, weight, bias, dy = (
        a.transpose(order).copy() for a, order in zip(arrays, orders, strict=True)
    )
    y, dx, dweight, dbias = (np.full_like(a, np.nan) for a in (dy, x, weight, bias))
    settings = (
        case.batch * case.groups, case.groups,
        (case.channels // case.groups, *case.image), (case.outputs // case.groups, *case.size),
        (case.kernel, case.stride, case.padding, case.dilation), threads, layout,
    )  # fmt: skip

    def plan(purpose):
        possible = purpose == "dx" or (purpose == "y" and case.stride == (1, 1))
        chosen = None if axis == "pixels" and not possible else axis
        if kernels is None:
            return strips.plan(dtype.char, purpose, *settings, chosen)
        return _direct.Strips(kernels, purpose, *settings, chosen)

    _direct.convolve(plan("y"), x, weight, bias, y, threads)
    _direct.convolve(plan("dx"), dy, weight, None, dx, threads)
    _direct.weight_gradient(plan("dweight"), x, dy, dweight, dbias, threads)
    back = [tuple(np.argsort(order)) for order in axes]
    return [y.transpose(back[0]), dx.transpose(back[0]), dweight.transpose(back[1]), dbias]


def counterparts(case, arrays):
    """Return the results of the reference for a padded image."""
    x, weight, bias, dy = arrays
    extent = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(case.size, case.stride, case.kernel, case.dilation, strict=True)
    ]
    padded = np.zeros((*x.shape[:2], *(max(e, n + p) for e, n, p in zip(
        extent, case.image, case.padding, strict=True))))  # fmt: skip
    (top, left), (H, W) = case.padding, case.image
    padded[:, :, top : top + H, left : left + W] = x
    seen = padded[:, :, : extent[0], : extent[1]]
    options = {"stride": case.stride, "dilation": case.dilation, "groups": case.groups}
    y = reference.conv2d(seen, weight, bias, **options)
    gradient = np.zeros_like(padded)
    gradient[:, :, : extent[0], : extent[1]], dweight, dbias = reference.conv2d_backward(
        dy, seen, weight, **options
    )
    return [y, gradient[:, :, top : top + H, left : left + W], dweight, dbias]


def assert_same(results, expected):
    for a, b in zip(results, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


@in_one_test
@each_case
@each_dtype
@each_layout
@each_axis
def test_matches_the_reference(case, dtype, layout, axis):
    arrays = draw(case, dtype)
    results = compute(case, arrays, layout, axis)
    for result, counterpart in zip(results, counterparts(case, arrays), strict=True):
        assert result.dtype == DTYPES[dtype]
        assert_array_equal(result, counterpart)


@in_one_test
@each_large
@each_dtype
@each_axis
def test_large_ones_match_the_reference(case, dtype, axis):
    arrays = draw(case, dtype)
    eps = np.finfo(DTYPES[dtype]).eps
    results = compute(case, arrays, "NHWC", axis, threads=2)
    for result, counterpart in zip(results, counterparts(case, arrays), strict=True):
        assert np.max(np.abs(result - counterpart)) < 100 * eps * np.max(np.abs(counterpart))


@in_one_test
@each_large
@each_dtype
@each_axis
def test_neither_layout_nor_threads_change_a_bit(case, dtype, axis):
    arrays = draw(case, dtype)
    expected = compute(case, arrays, "NCHW", axis)
    for layout in LAYOUTS:
        for threads in (1, 2, 3, 8):
            assert_same(compute(case, arrays, layout, axis, threads), expected)


@in_one_test
@pytest.mark.skipif(len(_cpu.supported()) < 3, reason="needs AVX-512")
@each_large
@each_layout
@each_axis
@pytest.mark.parametrize(("dtype", "kind"), [("f", "tiles"), ("d", "doubles")])
def test_avx2_and_avx512_have_the_same_bits(case, dtype, kind, layout, axis):
    arrays = draw(case, dtype)
    results = {}
    for isa in _cpu.supported():
        kernels = import_module(f"lenet5c.kernels.simd._{kind}_{isa}").direct
        results[isa] = compute(case, arrays, layout, axis, 2, kernels)
    assert_same(results["avx2"], results["avx512"])
    for a, b in zip(results["baseline"], results["avx2"], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.max(np.abs(b)))


@each_dtype
@pytest.mark.parametrize("batch", [1, 3, 50])
def test_rows_are_samples_of_a_fully_connected_layer(dtype, batch):
    inputs, outputs = 37, 21
    rng = np.random.default_rng(0)
    x, weight, bias, dy = (
        rng.integers(-4, 5, shape).astype(DTYPES[dtype])
        for shape in ((batch, inputs), (outputs, inputs), (outputs,), (batch, outputs))
    )
    y, dx, dweight, dbias = (np.full_like(a, np.nan) for a in (dy, x, weight, bias))
    window = ((1, 1), (1, 1), (0, 0), (1, 1))
    sizes = 1, 1, (inputs, batch, 1), (outputs, batch, 1), window, 1, "rows"
    _direct.convolve(strips.plan(dtype, "y", *sizes), x, weight, bias, y, 1)
    _direct.convolve(strips.plan(dtype, "dx", *sizes), dy, weight, None, dx, 1)
    _direct.weight_gradient(strips.plan(dtype, "dweight", *sizes), x, dy, dweight, dbias, 1)
    assert_array_equal(y, x @ weight.T + bias)
    assert_array_equal(dx, dy @ weight)
    assert_array_equal(dweight, dy.T @ x)
    assert_array_equal(dbias, dy.sum(axis=0))


@each_dtype
def test_one_of_the_weight_gradients(dtype):
    case = CASES[2]
    x, weight, bias, dy = draw(case, dtype)
    sizes = (case.channels, *case.image), (case.outputs, *case.size)
    window = (case.kernel, case.stride, case.padding, case.dilation)
    plan = strips.plan(dtype, "dweight", case.batch, 1, *sizes, window, 1)
    _, _, dweight, dbias = counterparts(case, (x, weight, bias, dy))
    for given in ((None, bias), (weight, None)):
        _direct.weight_gradient(plan, x, dy, *given, 1)
    assert_array_equal(weight, dweight)
    assert_array_equal(bias, dbias)


def test_arrays_of_another_dtype_are_refused():
    window = ((2, 2), (1, 1), (0, 0), (1, 1))
    plan = strips.plan("d", "y", 1, 1, (1, 2, 2), (1, 1, 1), window, 1)
    x, y = np.zeros(4), np.zeros(1)
    with pytest.raises(TypeError, match="weight must be of float64"):
        _direct.convolve(plan, x, x.astype(np.float32), None, y, 1)
    with pytest.raises(ValueError, match="array must have 4 elements of the kind 'fd'"):
        _direct.convolve(plan, x.astype(">f8"), x, None, y, 1)
    with pytest.raises(ValueError, match="array must have 1 elements"):
        _direct.convolve(plan, x, x, x, y, 1)
