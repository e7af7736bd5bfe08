"""The functional kernels against their naive float64 twins, and the promises of their door.

A `Case` is one call: the function, the shapes of its arrays, its options. Every promise is tested
on such calls: `CASES` cross sizes, strides, paddings, dilations, groups and batches; `TYPICAL` has
one of each function.
"""

import re
from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lenet5c import kernels, reference
from lenet5c.kernels import convolution

DTYPES = [np.float32, np.float64]


class Case(NamedTuple):
    name: str
    shapes: tuple  # of the arrays, in the order of the arguments
    options: dict

    def __str__(self):
        shapes = (("x".join(map(str, shape))) for shape in self.shapes)
        options = (f"{key}={value}".replace(" ", "") for key, value in self.options.items())
        return "-".join([self.name, *shapes, *options])


def conv(x, channels, kernel_size, bias=True, groups=1, **options):
    """Forward and backward of a convolution of an x of this shape to so many channels."""
    weight = (channels, x[1] // groups, *reference.pair(kernel_size))
    dy = (x[0], channels, *reference.output_shape(x[2:], kernel_size, **options))
    options = options | ({"groups": groups} if groups > 1 else {})
    forward = (x, weight, (channels,)) if bias else (x, weight)
    return [Case("conv2d", forward, options), Case("conv2d_backward", (dy, x, weight), options)]


def pool(x, kernel_size, **options):
    """Forward and backward of both poolings, the mean with either count of a border."""
    dy = (*x[:2], *reference.output_shape(x[2:], kernel_size, **{"stride": kernel_size} | options))
    options = {"kernel_size": kernel_size} | options
    cases = [Case("max_pool2d", (x,), options), Case("max_pool2d_backward", (dy, x), options)]
    for count in [{}, {"count_include_pad": False}] if "padding" in options else [{}]:
        cases += [
            Case("avg_pool2d", (x,), options | count),
            Case("avg_pool2d_backward", (dy,), {"x_shape": x} | options | count),
        ]
    return cases


def unfold(x, kernel_size, **options):
    """im2col and col2im."""
    KH, KW = reference.pair(kernel_size)
    OH, OW = reference.output_shape(x[2:], kernel_size, **options)
    options = {"kernel_size": kernel_size} | options
    return [
        Case("im2col", (x,), options),
        Case("col2im", ((x[0], x[1] * KH * KW, OH * OW),), {"output_size": x[2:]} | options),
    ]


def random_cases(seed):
    """One convolution, pooling and unfolding of random geometry."""
    rng = np.random.default_rng(seed)

    def size(low, high):
        """An int, or as often a pair."""
        a, b = rng.integers(low, high, size=2, endpoint=True).tolist()
        return a if rng.random() < 0.5 else (a, b)

    N, groups = rng.choice([1, 2, 15, 16, 17, 33]).item(), rng.choice([1, 1, 2, 3]).item()
    C, O = (groups * rng.integers(1, 6, size=2)).tolist()
    kernel_size, padding, dilation = size(1, 5), size(0, 3), size(1, 3)
    span = [d * (k - 1) + 1 for k, d in zip(reference.pair(kernel_size), reference.pair(dilation))]
    image = tuple(
        max(1, s - 2 * p) + rng.integers(6).item() for s, p in zip(span, reference.pair(padding))
    )
    options = {"stride": size(1, 4), "padding": padding, "dilation": dilation}
    border = tuple(int(rng.integers(k // 2, endpoint=True)) for k in reference.pair(kernel_size))
    image_to_pool = tuple(k + rng.integers(6).item() for k in reference.pair(kernel_size))
    return [
        *conv((N, C, *image), O, kernel_size, bool(rng.integers(2)), groups, **options),
        *pool((N, C, *image_to_pool), kernel_size, stride=size(1, 4), padding=border),
        *unfold((N, C, *image), kernel_size, **options),
    ]


LENET5 = [
    *conv((17, 1, 28, 28), 6, 5, padding=2),
    *pool((17, 6, 28, 28), 2),
    *conv((17, 6, 14, 14), 16, 5),
    *pool((17, 16, 10, 10), 2),
    *conv((17, 16, 5, 5), 120, 5),
    *conv((17, 400, 1, 1), 120, 1),
    *unfold((17, 6, 14, 14), 5),
]

# Large enough for several threads and several strips, with one way of going side by side or
# another.
LARGE = [
    *conv((1, 40, 70, 50), 5, 3, padding=1),
    *conv((1, 33, 24, 25), 101, 3),
    *conv((1, 24, 90, 40), 20, (5, 3), stride=(2, 3), padding=2, dilation=(1, 2)),
    *conv((3, 70, 30, 31), 37, 1),
    *conv((2, 3, 80, 61), 18, 7, stride=2, padding=3),
    *conv((1, 12, 150, 20), 6, 3, groups=3, padding=1),
    *conv((3, 34, 30, 29), 34, (3, 5), groups=17, padding=(1, 2), stride=(1, 2)),
]

CASES = [
    *LENET5,
    *LARGE,
    *(case for N in (0, 1, 2, 15, 16, 17, 33) for case in conv((N, 2, 6, 5), 3, 3, padding=1)),
    *(
        case
        for N in (0, 1, 2, 15, 16, 17, 33)
        for case in pool((N, 2, 7, 5), 3, stride=2, padding=1)
    ),
    *(case for N in (0, 1, 2, 15, 16, 17, 33) for case in unfold((N, 2, 5, 4), 2)),
    # kernels
    *(case for k in (1, 2, 3, 4, 5, 6, 7) for case in conv((3, 2, 9, 8), 4, k)),
    *(case for k in (1, 2, 3, 4, 5, 6, 7) for case in pool((3, 2, 9, 8), k, padding=k // 2)),
    *(
        case
        for k in ((1, 7), (7, 1), (2, 5), (4, 3))
        for case in conv((3, 2, 8, 9), 4, k, padding=(0, 1))
    ),
    *(case for k in ((1, 7), (7, 1), (2, 5), (4, 3)) for case in pool((3, 2, 8, 9), k, stride=1)),
    *conv((3, 2, 7, 4), 5, (7, 4)),
    *pool((3, 2, 7, 4), (7, 4)),
    *unfold((3, 2, 7, 4), (7, 4)),
    # channels
    *(case for O in (1, 7, 15, 16, 17, 33) for case in conv((2, 3, 5, 5), O, 3)),
    *(case for C in (1, 7, 15, 16, 17, 33) for case in conv((2, C, 5, 5), 3, 3)),
    *conv((2, 3, 6, 5), 101, 3),
    *conv((2, 20, 4, 3), 101, 1),
    # more taps than are summed in one go
    *conv((1, 2, 12, 11), 3, (9, 8)),
    *conv((1, 17, 14, 11), 20, (9, 8), padding=2),
    # strides: rows and columns unlike, longer than the kernel, ends of the image that no window
    # sees
    *conv((5, 3, 11, 10), 4, 3, stride=2),
    *conv((5, 3, 11, 10), 4, (2, 3), stride=(3, 1), padding=(1, 2)),
    *conv((5, 3, 11, 10), 4, 2, stride=4),
    *pool((5, 3, 11, 10), 2, stride=(1, 3)),
    *pool((5, 3, 11, 10), 3, stride=1, padding=1),
    *pool((5, 3, 11, 10), 2, stride=4, padding=1),
    *unfold((5, 3, 11, 10), (2, 3), stride=(4, 2), padding=(0, 1)),
    # paddings: windows wholly in the border
    *conv((3, 2, 3, 4), 2, 2, padding=3),
    *conv((3, 2, 1, 1), 2, 3, padding=(1, 4)),
    *unfold((3, 2, 3, 4), 2, padding=3),
    # dilations
    *conv((3, 2, 9, 10), 4, 3, dilation=2),
    *conv((3, 2, 9, 10), 4, (2, 3), dilation=(5, 2), padding=2, stride=2),
    *unfold((3, 2, 9, 10), (3, 2), dilation=(1, 3), padding=2, stride=2),
    # groups: two, depthwise, depthwise with a multiplier, all the options
    *conv((3, 4, 6, 7), 6, 3, groups=2),
    *conv((17, 5, 6, 7), 5, 3, groups=5, padding=1),
    *conv((3, 3, 6, 7), 9, 2, groups=3),
    *conv((3, 6, 9, 7), 4, (3, 2), groups=2, stride=(2, 1), padding=(2, 1), dilation=(1, 2)),
    *(case for seed in range(25) for case in random_cases(seed)),
]

TYPICAL = [
    *conv((17, 4, 9, 8), 6, 3, padding=1, groups=2),
    *pool((17, 3, 9, 8), 3, stride=2, padding=1),
    *unfold((17, 3, 7, 6), (3, 2), padding=1),
]

each_case = pytest.mark.parametrize("case", CASES, ids=str)
typical_case = pytest.mark.parametrize("case", TYPICAL, ids=str)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def draw(case, dtype):
    """Normal arrays for a case; what is max-pooled has few distinct values, hence many ties."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in case.shapes]
    if case.name.startswith("max_pool2d"):
        arrays[-1] = np.trunc(2 * arrays[-1]) + dtype(0)  # no negative zeros
    return arrays


def call(module, case, arrays, **options):
    """Every result of a call as a tuple."""
    result = getattr(module, case.name)(*arrays, **case.options, **options)
    return result if isinstance(result, tuple) else (result,)


def run(case, arrays, **options):
    """Call the kernel; its inputs stay as they were."""
    before = [a.copy() for a in arrays]
    results = call(kernels, case, arrays, **options)
    assert_same(arrays, before)
    return results


def out_argument(outs):
    """What `out=` takes: an array, or a tuple if there are several results."""
    return outs[0] if len(outs) == 1 else tuple(outs)


def assert_same(actual, expected):
    """Two lists of arrays agree to the bit."""
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes(), f"{np.sum(a != b)} of {a.size} elements differ"


def assert_matches_reference(case, arrays, results):
    """Each element within 16 eps of the reference, relative to the sum of the magnitudes of its
    terms.

    In whatever order n terms are summed, the error is at most n eps / 2 of that sum, so 16 eps is
    proven up to n = 32. Beyond, rounding errors behave like a random walk: for terms of random
    sign, as here, they stay below 2 eps up to n = 13328, the longest sum here, added one by one.
    Results that are picked, not computed, are exact.
    """
    arrays64 = [a.astype(np.float64) for a in arrays]
    # What a maximum picks depends on the sign of x, its gradient is linear in dy.
    magnitudes = [
        a if case.name.startswith("max_pool2d") and a is arrays64[-1] else abs(a) for a in arrays64
    ]
    bounds = call(reference, case, magnitudes)
    for result, expected, bound in zip(
        results, call(reference, case, arrays64), bounds, strict=True
    ):
        assert (result.shape, result.dtype) == (expected.shape, arrays[0].dtype)
        if case.name in ("max_pool2d", "im2col"):
            assert_array_equal(result, expected)
        else:
            error = np.abs(result - expected)
            allowed = 16 * np.finfo(result.dtype).eps * bound
            assert np.all(error <= allowed), (
                f"error {error.max():.3g}, {np.sum(error > allowed)} elements too far off"
            )


@each_case
@each_dtype
def test_matches_reference(case, dtype):
    arrays = draw(case, dtype)
    assert_matches_reference(case, arrays, run(case, arrays))


def test_every_way_is_tested():
    ways = set()
    for case in CASES:
        if case.name == "conv2d":
            options = {
                "bias": None,
                "stride": 1,
                "padding": 0,
                "dilation": 1,
                "groups": 1,
            } | case.options
            x, weight = zeros(case)[:2]
            conv = convolution._Convolution(x, weight, **options)
            ways |= {("result", conv.way), ("data gradient", conv.dx_way)}
    assert len(ways) == 2 * len({"tiles", "units", "channels", "columns"})


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


@pytest.mark.parametrize("num_threads", [2, 3])
@pytest.mark.parametrize("case", LARGE + TYPICAL, ids=str)
@each_dtype
def test_threads_match_reference(case, dtype, num_threads):
    arrays = draw(case, dtype)
    assert_matches_reference(case, arrays, run(case, arrays, num_threads=num_threads))


def strided(a):
    """Every other element of every axis of a larger array."""
    larger = np.full([2 * n for n in a.shape], np.nan, a.dtype)
    view = larger[(np.s_[::2],) * a.ndim]
    view[...] = a
    return view


def reversed_axes(a):
    """Negative strides."""
    flip = (np.s_[::-1],) * a.ndim
    return a[flip].copy()[flip]


def channels_last(a):
    return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim > 1 else a


def unaligned(a):
    """At an odd address."""
    buffer = np.empty(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


@pytest.mark.parametrize(
    "layout", [strided, reversed_axes, channels_last, np.asfortranarray, unaligned, read_only]
)
@typical_case
@each_dtype
def test_layout_of_inputs_does_not_matter(case, dtype, layout):
    arrays = draw(case, dtype)
    assert_same(run(case, [layout(a) for a in arrays]), run(case, arrays))


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


@typical_case
@each_dtype
def test_strided_out_leaves_the_gaps_alone(case, dtype):
    arrays = draw(case, dtype)
    outs = [strided(result) for result in run(case, arrays)]
    call(kernels, case, arrays, out=out_argument(outs))
    for out in outs:
        assert np.isnan(out.base).sum() == out.base.size - out.size


@pytest.mark.parametrize("shift", [0, 3, -3])
@typical_case
@each_dtype
def test_out_may_overlap_an_input(case, dtype, shift):
    """Each result in turn starts `shift` elements after each input, in one piece of memory."""
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


@typical_case
@each_dtype
def test_results_own_fresh_memory(case, dtype):
    arrays = draw(case, dtype)
    first, second = run(case, arrays), run(case, arrays)
    assert not any(np.may_share_memory(a, b) for a in first for b in (*arrays, *second))
    assert all(a.flags.c_contiguous and a.flags.writeable for a in first)


@typical_case
@pytest.mark.parametrize("form", [np.int64, lambda size: (size, size)], ids=["numpy", "pair"])
def test_sizes_in_other_forms(case, form):
    """NumPy integers and pairs of equals say the same as ints."""
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


def zeros(case, dtype=np.float32):
    return [np.zeros(shape, dtype) for shape in case.shapes]


@typical_case
@pytest.mark.parametrize(
    "dtype", ["float16", "int32", "int64", "bool", "complex64", np.dtype("f4").newbyteorder()]
)
def test_other_dtypes_are_errors(case, dtype):
    with pytest.raises(TypeError, match=np.dtype(dtype).name):
        call(kernels, case, zeros(case, dtype))


@pytest.mark.parametrize("case", [case for case in TYPICAL if len(case.shapes) > 1], ids=str)
@pytest.mark.parametrize(
    "dtype, other", [("float32", "float64"), ("float64", "float32"), ("float32", "int64")]
)
def test_mixed_dtypes_are_errors(case, dtype, other):
    for odd in range(len(case.shapes)):
        arrays = zeros(case, dtype)
        arrays[odd] = arrays[odd].astype(other)
        with pytest.raises(TypeError, match=other):
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
    ("conv2d", ((3, 8, 8), WEIGHT), {}, "x", 3),
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
    ("conv2d_backward", (DY, (3, 8, 8), WEIGHT), {}, "x", 3),
    ("conv2d_backward", (DY, X, (4, 7, 3, 3)), {}, "weight", 7),
    ("conv2d_backward", (DY, X, WEIGHT), {"groups": 3}, "groups", 3),
    ("max_pool2d", ((3, 8, 8),), {"kernel_size": 2}, "x", 3),
    ("max_pool2d_backward", ((3, 2, 4, 7), X), {"kernel_size": 2}, "dy", 7),
    ("max_pool2d_backward", ((7, 2, 4, 4), X), {"kernel_size": 2}, "dy", 7),
    ("max_pool2d_backward", (POOLED, (3, 8, 8)), {"kernel_size": 2}, "x", 3),
    ("avg_pool2d", ((3, 8, 8),), {"kernel_size": 2}, "x", 3),
    ("avg_pool2d_backward", ((3, 2, 4, 7),), {"x_shape": X, "kernel_size": 2}, "dy", 7),
    ("avg_pool2d_backward", (POOLED,), {"x_shape": (3, 8, 8), "kernel_size": 2}, "x_shape", 3),
    ("im2col", ((3, 8, 8),), {"kernel_size": 3}, "x", 3),
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
SPOILED_BORDERS = [("padding", 2, 2), ("padding", (0, 2), 2)]  # more than half a pooling window


def spoiled(case):
    """The valid case with each of its sizes, and the thread count, spoiled in turn."""
    for argument, value, number in SPOILED_SIZES + SPOILED_BORDERS * ("pool2d" in case.name):
        if argument in case.options or argument == "num_threads":
            yield case._replace(options=case.options | {argument: value}), argument, number


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
    for call in calls:
        with pytest.raises(ValueError, match="shape"):
            call()


def test_outs_of_a_backward_that_overlap_are_an_error():
    x, weight = np.ones((5, 1, 4, 4), np.float32), np.ones((1, 1, 4, 4), np.float32)
    memory = np.zeros(100, np.float32)
    out = (memory[:80].reshape(x.shape), memory[70:86].reshape(weight.shape), None)
    with pytest.raises(ValueError, match="out holds arrays that overlap"):
        kernels.conv2d_backward(np.ones((5, 1, 1, 1), np.float32), x, weight, out=out)


@pytest.mark.parametrize("name", ["stride", "dilation", "padding"])
def test_settings_beyond_any_size_are_an_error(name):
    with pytest.raises(ValueError, match=name):
        kernels.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 1, 1)), **{name: 2**64})
