"""Cases for the functional kernels, and their expected values."""

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
    """Return the cases of a convolution, forward and backward, for an x of this shape."""
    weight = (channels, x[1] // groups, *reference.pair(kernel_size))
    dy = (x[0], channels, *reference.output_shape(x[2:], kernel_size, **options))
    options = options | ({"groups": groups} if groups > 1 else {})
    forward = (x, weight, (channels,)) if bias else (x, weight)
    return [Case("conv2d", forward, options), Case("conv2d_backward", (dy, x, weight), options)]


def pool(x, kernel_size, **options):
    """Return the cases of both poolings, the mean with and without counting the padding."""
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
    """Return a convolution, pooling and unfolding with random geometry."""
    rng = np.random.default_rng(seed)

    def size(low, high):
        """Return an int or a pair, with equal probability."""
        a, b = rng.integers(low, high, size=2, endpoint=True).tolist()
        return a if rng.random() < 0.5 else (a, b)

    N, groups = rng.choice([1, 2, 15, 16, 17, 33]).item(), rng.choice([1, 1, 2, 3]).item()
    C, O = (groups * rng.integers(1, 6, size=2)).tolist()
    kernel_size, padding, dilation = size(1, 5), size(0, 3), size(1, 3)
    pairs = zip(reference.pair(kernel_size), reference.pair(dilation), strict=True)
    span = [d * (k - 1) + 1 for k, d in pairs]
    image = tuple(
        max(1, s - 2 * p) + rng.integers(6).item()
        for s, p in zip(span, reference.pair(padding), strict=True)
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
    # few samples of a fully connected layer
    *conv((1, 401, 3, 1), 1730, (3, 1)),
    *conv((3, 30, 21, 35), 101, (21, 35)),
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
    # fully connected: as many samples as are computed together, more and fewer values than lanes
    *(case for N in (0, 1, 2, 3, 4) for case in conv((N, 7, 5, 3), 10, (5, 3))),
    *(case for N in (1, 2, 3) for case in conv((N, 3, 1, 2), 5, (1, 2), bias=False)),
    *(case for N in (1, 2, 3) for case in conv((N, 37, 2, 2), 150, 2)),
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
    """Return normal arrays for a case; what is max-pooled has few values, hence many ties."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in case.shapes]
    if case.name.startswith("max_pool2d"):
        arrays[-1] = np.trunc(2 * arrays[-1]) + dtype(0)  # no negative zeros
    return arrays


def plan_of(x, weight, stride=1, padding=0, dilation=1, groups=1, data_format="NCHW"):
    """Return the plan of a convolution of two arrays, with `algorithm` and `dx_algorithm`."""
    settings = stride, padding, dilation, groups, data_format
    return convolution.plan(2, x.shape, weight.shape, None, x.dtype, *settings)


def call(module, case, arrays, **options):
    """Every result of a call as a tuple."""
    result = getattr(module, case.name)(*arrays, **case.options, **options)
    return result if isinstance(result, tuple) else (result,)


def run(case, arrays, **options):
    """Call the kernel, and check that its inputs are unchanged."""
    before = [a.copy() for a in arrays]
    results = call(kernels, case, arrays, **options)
    assert_same(arrays, before)
    return results


def out_argument(outs):
    """Return the value of `out=`: an array, or a tuple if there are several results."""
    return outs[0] if len(outs) == 1 else tuple(outs)


def assert_same(actual, expected):
    """Assert that two lists of arrays are bit-identical."""
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes(), f"{np.sum(a != b)} of {a.size} elements differ"


def assert_matches_reference(case, arrays, results):
    """Hold each element within 16 eps of the reference, relative to the sum of its terms' sizes.

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


def zeros(case, dtype=np.float32):
    return [np.zeros(shape, dtype) for shape in case.shapes]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a
