"""Functional kernels compared with the float64 reference, and their documented behavior.

A `Case` is one call: the function, the shapes of its arrays, its options. Every promise is tested
on such calls: `CASES` cross sizes, strides, paddings, dilations, groups and batches; `TYPICAL` has
one of each function.
"""

import numpy as np
import pytest
from functional_cases import (
    CASES,
    LARGE,
    LENET5,
    TYPICAL,
    assert_matches_reference,
    assert_same,
    call,
    draw,
    each_case,
    each_dtype,
    out_argument,
    plan_of,
    read_only,
    run,
    typical_case,
    zeros,
)
from numpy.testing import assert_array_equal
from one_test import in_one_test

from lenet5c import kernels, reference


@in_one_test
@each_case
@each_dtype
def test_matches_reference(case, dtype):
    arrays = draw(case, dtype)
    assert_matches_reference(case, arrays, run(case, arrays))


def test_every_way_is_tested():
    convolutions = [case for case in CASES if case.name == "conv2d"]
    plans = [
        plan_of(*zeros(case, dtype)[:2], **case.options)
        for case in convolutions
        for dtype in (np.float32, np.float64)
    ]
    algorithms = {"tiles", "direct", "rows", "few"}
    assert {plan.algorithm for plan in plans} == {plan.dx_algorithm for plan in plans} == algorithms


@in_one_test
@pytest.mark.parametrize("case", LENET5 + LARGE + TYPICAL, ids=str)
@each_dtype
def test_same_bits_at_any_thread_count(case, dtype):
    N = 100  # more than a few tiles, so that every thread gets work
    case = case._replace(shapes=tuple((N, *s[1:]) if s[0] == 17 else s for s in case.shapes))
    if "x_shape" in case.options:
        case = case._replace(options=case.options | {"x_shape": (N, *case.options["x_shape"][1:])})
    arrays = draw(case, dtype)
    serial = run(case, arrays, num_threads=1)
    for num_threads in (2, 3, 2, None):
        assert_same(run(case, arrays, num_threads=num_threads), serial)


@in_one_test
@pytest.mark.parametrize("num_threads", [2, 3])
@pytest.mark.parametrize("case", LARGE + TYPICAL, ids=str)
@each_dtype
def test_threads_match_reference(case, dtype, num_threads):
    arrays = draw(case, dtype)
    assert_matches_reference(case, arrays, run(case, arrays, num_threads=num_threads))


def strided(a):
    """Return every other element of a larger array along every axis."""
    larger = np.full([2 * n for n in a.shape], np.nan, a.dtype)
    view = larger[(np.s_[::2],) * a.ndim]
    view[...] = a
    return view


def reversed_axes(a):
    """Return an array with negative strides."""
    flip = (np.s_[::-1],) * a.ndim
    return a[flip].copy()[flip]


def channels_last(a):
    return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim > 1 else a


def unaligned(a):
    """Return an array at an odd address."""
    buffer = np.empty(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


@in_one_test
@pytest.mark.parametrize(
    "layout", [strided, reversed_axes, channels_last, np.asfortranarray, unaligned, read_only]
)
@typical_case
@each_dtype
def test_layout_of_inputs_does_not_matter(case, dtype, layout):
    arrays = draw(case, dtype)
    assert_same(run(case, [layout(a) for a in arrays]), run(case, arrays))


@in_one_test
@typical_case
@pytest.mark.parametrize("dtype", ["float16", "uint8", "bool", "int16", "int64", ">f4", ">f8"])
def test_other_real_dtypes_are_converted(case, dtype):
    arrays = [np.abs(a * 10).astype(dtype) for a in draw(case, np.float32)]
    computed = np.result_type(np.float32, dtype)
    assert_same(run(case, arrays), run(case, [a.astype(computed) for a in arrays]))


@pytest.mark.parametrize("case", [case for case in TYPICAL if len(case.shapes) > 1], ids=str)
@pytest.mark.parametrize("dtype, other", [("f4", "f8"), ("f8", "f4"), ("f4", "i8"), ("f4", "u1")])
def test_mixed_dtypes_are_promoted(case, dtype, other):
    for odd in range(len(case.shapes)):
        arrays = [np.abs(a * 10).astype(dtype) for a in draw(case, np.float32)]
        arrays[odd] = arrays[odd].astype(other)
        computed = np.result_type(np.float32, dtype, other)
        assert_same(run(case, arrays), run(case, [a.astype(computed) for a in arrays]))


@in_one_test
@pytest.mark.parametrize("layout", [np.copy, strided, reversed_axes, np.asfortranarray, unaligned])
@typical_case
@each_dtype
def test_out_is_filled_and_returned(case, dtype, layout):
    arrays = draw(case, dtype)
    expected = run(case, arrays)
    outs = [layout(np.full_like(result, np.nan)) for result in expected]
    results = run(case, arrays, out=out_argument(outs))
    assert all(result is out for result, out in zip(results, outs, strict=True))
    assert_same(results, expected)


@in_one_test
@typical_case
@each_dtype
def test_strided_out_leaves_the_gaps_alone(case, dtype):
    arrays = draw(case, dtype)
    outs = [strided(result) for result in run(case, arrays)]
    call(kernels, case, arrays, out=out_argument(outs))
    for out in outs:
        assert np.isnan(out.base).sum() == out.base.size - out.size


@in_one_test
@pytest.mark.parametrize("shift", [0, 3, -3])
@typical_case
@each_dtype
def test_out_may_overlap_an_input(case, dtype, shift):
    """Each result starts `shift` elements after each input, in the same memory."""
    arrays = draw(case, dtype)
    expected = run(case, arrays)
    for i, result in enumerate(expected):
        for j, array in enumerate(arrays):
            memory = np.empty(max(array.size, result.size) + 3, dtype)
            view, out = (
                memory[start : start + a.size].reshape(a.shape)
                for start, a in ((max(-shift, 0), array), (max(shift, 0), result))
            )
            view[...] = array
            outs = [out if k == i else np.empty_like(other) for k, other in enumerate(expected)]
            assert_same(
                call(kernels, case, [*arrays[:j], view, *arrays[j + 1 :]], out=out_argument(outs)),
                expected,
            )


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_out_may_be_a_strided_view_of_the_input(name):
    x = np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)
    function = getattr(kernels, name)
    expected = function(x, 2)
    assert_same([function(x, 2, out=x[:, :, ::2, ::2])], [expected])


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), ()])
@each_dtype
def test_conv2d_backward_takes_some_of_its_outs(wanted, dtype):
    case = TYPICAL[1]
    arrays = draw(case, dtype)
    expected = run(case, arrays)
    outs = tuple(
        np.full_like(result, np.nan) if i in wanted else None for i, result in enumerate(expected)
    )
    results = run(case, arrays, out=outs)
    assert all(results[i] is outs[i] for i in wanted)
    assert_same(results, expected)


@in_one_test
@typical_case
@each_dtype
def test_results_own_fresh_memory(case, dtype):
    arrays = draw(case, dtype)
    first, second = run(case, arrays), run(case, arrays)
    assert not any(np.may_share_memory(a, b) for a in first for b in (*arrays, *second))
    assert all(a.flags.c_contiguous and a.flags.writeable for a in first)


@in_one_test
@typical_case
@pytest.mark.parametrize("form", [np.int64, lambda size: (size, size)], ids=["numpy", "pair"])
def test_sizes_in_other_forms(case, form):
    """NumPy integers and pairs of equal numbers are equivalent to ints."""
    arrays = draw(case, np.float32)
    sizes = {
        key: form(size)
        for key, size in case.options.items()
        if type(size) is int and key != "groups"
    }
    assert_same(run(case._replace(options=case.options | sizes), arrays), run(case, arrays))


def test_x_shape_may_be_an_array():
    dy = np.random.default_rng(0).standard_normal((3, 2, 4, 4)).astype(np.float32)
    expected = kernels.avg_pool2d_backward(dy, (3, 2, 9, 8), 2)
    assert_same(
        [kernels.avg_pool2d_backward(dy, np.empty((3, 2, 9, 8), np.float32), 2)], [expected]
    )


@in_one_test
@typical_case
@each_dtype
def test_samples_do_not_mix(case, dtype):
    """NaN in one sample stays in that sample of y, dx or col."""
    arrays = draw(case, dtype)
    clean = run(case, arrays)[0]
    arrays[0][3] = np.nan
    dirty = run(case, arrays)[0]
    others = np.arange(17) != 3
    assert_same([dirty[others]], [clean[others]])
    assert np.isnan(dirty[3]).any()


@each_dtype
@pytest.mark.parametrize("width", [3, 4, 7, 9, 16])
def test_an_infinite_weight_touches_only_what_it_was_multiplied_with(width, dtype):
    x, dy = np.ones((5, 1, 1, width), dtype), np.ones((5, 1, 1, width - 2), dtype)
    weight = np.array([1, 1, np.inf], dtype).reshape(1, 1, 1, 3)
    dx, _, _ = kernels.conv2d_backward(dy, x, weight)
    assert np.all(np.isfinite(dx[..., :2]))
    assert np.all(dx[..., 2:] == np.inf)


MAX_POOLS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": (4, 2), "stride": (3, 1), "padding": (2, 1)},
]
each_max_pool = pytest.mark.parametrize("options", MAX_POOLS, ids=str)


@each_max_pool
@each_dtype
class TestMaxPoolOfSpecialValues:
    def x(self, dtype):
        return np.random.default_rng(0).standard_normal((18, 2, 6, 7)).astype(dtype)

    def check(self, x, options):
        """Equal to the reference, forward and backward, with dy = 1, 2, 3, ...: sums are exact."""
        y = kernels.max_pool2d(x, **options)
        assert_array_equal(y, reference.max_pool2d(x, **options))
        dy = np.arange(y.size, dtype=x.dtype).reshape(y.shape)
        dx = kernels.max_pool2d_backward(dy, x, **options)
        assert_array_equal(dx, reference.max_pool2d_backward(dy, x, **options))
        return y, dy, dx

    def test_nan_reaches_every_window_that_sees_it(self, dtype, options):
        x = self.x(dtype)
        for n in range(18):  # another place in each sample
            x[n, n % 2, n % 6, n % 7] = np.nan
        y, _, _ = self.check(x, options)
        assert np.isnan(y).any()

    @pytest.mark.parametrize("value", [np.inf, -np.inf])
    def test_infinities(self, dtype, options, value):
        x = self.x(dtype)
        x[np.random.default_rng(1).random(x.shape) < 0.3] = value
        self.check(x, options)

    def test_nothing_but_minus_infinity(self, dtype, options):
        y, dy, dx = self.check(np.full((3, 2, 6, 7), -np.inf, dtype), options)
        assert np.all(y == -np.inf)
        assert dx.sum() == dy.sum()  # none went to the border

    def test_border_never_wins(self, dtype, options):
        y, _, _ = self.check(-1 - np.abs(self.x(dtype)), options)
        assert y.max() < 0

    def test_ties_go_to_the_first(self, dtype, options):
        self.check(np.full((3, 2, 6, 7), -2, dtype), options)
