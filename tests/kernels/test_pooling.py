"""Pooling of arrays: each setting compared with the reference and PyTorch, by layout and dtype."""

from importlib import import_module

import numpy as np
import pytest
from lenet5c.kernels.planes._pooling import Pooling
from numpy.testing import assert_array_equal
from one_test import in_one_test

from lenet5c import kernels, nn, reference
from lenet5c.kernels.planes import plan
from lenet5c.kernels.simd import _cpu

DTYPES = [np.float32, np.float64]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_seed = pytest.mark.parametrize("seed", range(60))

# Shapes that take every way: halved in blocks of 16, 8 and 4, with and without a rest, cut at both
# ends; rows and channels longer than a line; a window as large as the image.
HALVED = [
    ((2, 3, 28, 28), {"kernel_size": 2}),
    ((2, 3, 6, 64), {"kernel_size": 2}),
    ((2, 3, 4, 35), {"kernel_size": 2}),
    ((3, 5, 10, 10), {"kernel_size": 2}),
    ((1, 2, 9, 11), {"kernel_size": 2, "padding": 1}),
    ((1, 2, 9, 12), {"kernel_size": 2, "padding": ((1, 0), (0, 1))}),
    ((1, 2, 7, 17), {"kernel_size": 2, "ceil_mode": True}),
    ((1, 2, 5, 5), {"kernel_size": 2, "padding": "same"}),
    ((1, 1, 4, 600), {"kernel_size": 2, "padding": (0, 1)}),
]
# The same with blocks of 16, 8 and 4 channels, with too few channels, and too few in the last part.
HALVED += [
    (shape, {"kernel_size": 2, "data_format": "NHWC"} | options)
    for shape, options in [
        ((2, 6, 8, 6), {}),
        ((1, 9, 11, 4), {"padding": 1}),
        ((2, 5, 7, 17), {"ceil_mode": True}),
        ((1, 5, 9, 9), {"padding": ((1, 0), (0, 1))}),
        ((3, 2, 2, 16), {}),
        ((1, 4, 6, 133), {}),
        ((1, 4, 6, 130), {}),
        ((2, 4, 6, 3), {}),
    ]
]
LINES = [
    ((1, 2, 3, 300), {"kernel_size": 3, "stride": 1, "padding": 1}),
    ((1, 2, 5, 300), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 1, 4, 500), {"kernel_size": (2, 3), "stride": 3}),
    ((2, 2, 7, 7), {"kernel_size": 7}),
    ((2, 9, 5, 6), {"kernel_size": (5, 6)}),
    ((17, 1, 4, 5), {"kernel_size": (4, 5)}),
    ((2, 150, 5, 4), {"kernel_size": 3, "stride": 2, "padding": 1, "data_format": "NHWC"}),
    ((1, 1, 3, 3), {"kernel_size": 2, "stride": 5}),
    ((1, 1, 1, 1), {"kernel_size": 5, "padding": 4}),
]
each_shape = pytest.mark.parametrize("shape, options", HALVED + LINES, ids=str)


def random_case(seed, axes=2):
    """Return the shape of x and settings supported by all functions."""
    rng = np.random.default_rng(seed)

    def one_or_each(low, high):
        each = rng.integers(low, high, size=axes, endpoint=True).tolist()
        return each[0] if axes == 1 or rng.random() < 0.4 else tuple(each)

    kernel_size, stride, dilation = one_or_each(1, 5), one_or_each(1, 4), one_or_each(1, 3)
    reach = [
        d * (k - 1) + 1
        for k, d in zip(*(np.broadcast_to(v, axes) for v in (kernel_size, dilation)), strict=True)
    ]
    image = [max(d, int(rng.integers(1, 20))) for d in np.broadcast_to(dilation, axes)]
    least = [max(0, -(-(r - n) // 2)) for r, n in zip(reach, image, strict=True)]
    pads = [
        tuple(int(rng.integers(at_least, r)) for _ in range(2))
        for at_least, r in zip(least, reach, strict=True)
    ]
    padding = pads[0] if axes == 1 else tuple(pads)
    if rng.random() < 0.2:
        padding = "same"
    elif rng.random() < 0.3 and max(pad[0] for pad in pads) < min(reach):
        padding = max(pad[0] for pad in pads)
    options = {
        "kernel_size": kernel_size,
        "stride": stride if rng.random() < 0.8 else None,
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": bool(rng.integers(2)),
        "data_format": ("NCHW" if axes == 2 else "NCW"),
    }
    shape = (int(rng.integers(0, 4)), int(rng.integers(1, 6)), *image)
    if rng.random() < 0.4:
        options["data_format"] = "NHWC" if axes == 2 else "NWC"
        shape = (shape[0], *image, shape[1])
    return shape, options


def draw(shape, dtype, seed=0):
    """Return values with many ties and exact sums."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def counts(seed):
    rng = np.random.default_rng(seed + 1000)
    divisor = int(rng.integers(1, 9)) if rng.random() < 0.3 else None
    return {"count_include_pad": bool(rng.integers(2)), "divisor_override": divisor}


def check(axes, shape, options, count, dtype, **call):
    """Compare the functions for this number of axes with the reference; all sums are exact."""
    x = draw(shape, dtype)
    names = [f"{kind}_pool{axes}d" for kind in ("max", "avg")]
    y, indices = getattr(kernels, names[0])(x, **options, return_indices=True, **call)
    twin, places = getattr(reference, names[0])(x, **options, return_indices=True)
    assert (y.dtype, indices.dtype) == (dtype, np.int64)
    assert_array_equal(y, twin)
    assert_array_equal(indices, places)
    assert_array_equal(getattr(kernels, names[0])(x, **options, **call), twin)
    dy = draw(y.shape, dtype, 1)
    backward, backward_twin = (
        getattr(module, f"{names[0]}_backward") for module in (kernels, reference)
    )
    twin = backward_twin(dy, x, **options)
    dx = backward(dy, x, **options, **call)
    assert dx.dtype == dtype
    assert_array_equal(dx, twin)
    assert_array_equal(backward(dy, x.shape, **options, indices=indices, **call), twin)

    options = options | count
    y, twin = (getattr(module, names[1])(x, **options) for module in (kernels, reference))
    assert y.dtype == dtype
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, twin, rtol=2 * eps)  # the sum is exact
    dx = getattr(kernels, f"{names[1]}_backward")(dy, shape, **options, **call)
    twin, size = (
        getattr(reference, f"{names[1]}_backward")(each, shape, **options) for each in (dy, abs(dy))
    )
    assert dx.dtype == dtype
    assert np.all(abs(dx - twin) <= 16 * eps * size)


@in_one_test
@each_dtype
@each_seed
def test_pooling2d_of_random_settings(seed, dtype):
    check(2, *random_case(seed), counts(seed), dtype)


@in_one_test
@each_dtype
@each_seed
def test_pooling1d_of_random_settings(seed, dtype):
    check(1, *random_case(seed, 1), counts(seed), dtype)


@in_one_test
@each_dtype
@each_shape
def test_every_way(shape, options, dtype):
    shape = (shape[0], *shape[2:], shape[1]) if "data_format" in options else shape
    check(2, shape, options, {}, dtype)
    check(2, shape, options, {"divisor_override": 3}, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_global_maximum_has_the_same_bits_with_and_without_its_place(dtype):
    """Including the sign of zeros, and the payload of NaN."""
    nans = np.array([0x7FC00001, 0x7FC00002], np.uint32).view(np.float32)
    images = np.full((4, 1, 5, 8), -1.0, dtype)
    images[0, 0, [1, 2], [3, 0]] = 0.0, -0.0
    images[1, 0, [1, 2], [3, 0]] = -0.0, 0.0
    images[2, 0, [1, 2], [3, 0]] = nans
    y, _ = kernels.global_max_pool2d(images, return_indices=True)
    assert kernels.global_max_pool2d(images).tobytes() == y.tobytes()


@in_one_test
@each_dtype
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("image", [(1, 1), (2, 3), (7, 7), (3, 40)])
@pytest.mark.parametrize("batch, channels", [(0, 2), (1, 1), (2, 3), (3, 6), (1, 200)])
def test_global_pooling(batch, channels, image, data_format, dtype):
    shape = (batch, channels, *image) if data_format == "NCHW" else (batch, *image, channels)
    x, options = draw(shape, dtype), {"data_format": data_format}
    y, indices = kernels.global_max_pool2d(x, return_indices=True, **options)
    twin, places = reference.global_max_pool2d(x, return_indices=True, **options)
    assert_array_equal(y, twin)
    assert_array_equal(indices, places)
    assert_array_equal(kernels.global_max_pool2d(x, **options), twin)
    dy = draw(y.shape, dtype, 1)
    twin = reference.global_max_pool2d_backward(dy, x, **options)
    assert_array_equal(kernels.global_max_pool2d_backward(dy, x, **options), twin)
    dx = kernels.global_max_pool2d_backward(dy, shape, indices, **options)
    assert_array_equal(dx, twin)
    mean = kernels.global_avg_pool2d(x, **options)
    np.testing.assert_allclose(mean, reference.global_avg_pool2d(x, **options), rtol=1e-6)
    dx = kernels.global_avg_pool2d_backward(dy, shape, **options)
    twin = reference.global_avg_pool2d_backward(dy, shape, **options)
    np.testing.assert_allclose(dx, twin, rtol=1e-6)
    size = image if data_format == "NCHW" else shape[1:3]
    assert_array_equal(mean, kernels.avg_pool2d(x, size, **options))


class TestSpecialValues:
    @pytest.fixture(params=[(4, 9), (6, 40), (3, 3)], ids=str)
    def x(self, request):
        x = np.random.default_rng(0).standard_normal((5, 3, *request.param))
        x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
        x[np.random.default_rng(2).random(x.shape) < 0.3] = -np.inf
        x[3] = -np.inf
        return x

    @in_one_test
    @each_dtype
    @pytest.mark.parametrize(
        "options",
        [
            {"kernel_size": 2},
            {"kernel_size": 2, "padding": 1},
            {"kernel_size": 3, "stride": 2, "padding": 1},
            {"kernel_size": 2, "dilation": 2, "stride": 1, "padding": 1},
            {"kernel_size": (3, 3), "stride": 1, "padding": 2},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
    def test_the_first_that_is_not_a_number_wins(self, x, options, data_format, dtype):
        x = x.astype(dtype)
        if data_format == "NHWC":
            x = np.moveaxis(x, 1, -1).copy()
        check_indices(x, options | {"data_format": data_format})

    @each_dtype
    def test_of_the_whole_image(self, x, dtype):
        check_indices(x.astype(dtype), {"kernel_size": x.shape[2:]})

    @each_dtype
    def test_zeros_of_either_sign_are_equal(self, dtype):
        x = np.array([[0.0, -0.0] * 20, [-0.0, 0.0] * 20], dtype).reshape(1, 1, 2, 40)
        for size in (2, (2, 4), (2, 40)):
            assert not np.signbit(kernels.max_pool2d(x, size, size)).any()
            assert np.signbit(kernels.max_pool2d(-x, size, size)).all()


def check_indices(x, options):
    y, indices = kernels.max_pool2d(x, **options, return_indices=True)
    twin, places = reference.max_pool2d(x, **options, return_indices=True)
    assert_array_equal(y, twin)
    assert_array_equal(indices, places)
    assert_array_equal(kernels.max_pool2d(x, **options), twin)
    dy = np.arange(y.size, dtype=x.dtype).reshape(y.shape)
    twin = reference.max_pool2d_backward(dy, x, **options)
    assert_array_equal(kernels.max_pool2d_backward(dy, x, **options), twin)
    dx = kernels.max_pool2d_backward(dy, x, **options, indices=indices)
    assert_array_equal(dx, twin)


class TestAgainstTorch:
    """Settings supported by PyTorch: symmetric padding of at most half a window."""

    def random_case(self, seed):
        rng = np.random.default_rng(seed)
        kernel_size = rng.integers(1, 6, 2).tolist()
        options = {
            "kernel_size": kernel_size,
            "stride": rng.integers(1, 5, 2).tolist(),
            "padding": [int(rng.integers(k // 2 + 1)) for k in kernel_size],
            "ceil_mode": bool(rng.integers(2)),
        }
        image = [k + int(rng.integers(12)) for k in kernel_size]
        return rng, (2, 3, *image), options

    @in_one_test
    @each_dtype
    @each_seed
    def test_max_pool2d(self, torch, seed, dtype):
        rng, shape, options = self.random_case(seed)
        options["dilation"] = rng.integers(1, 3, 2).tolist()
        shape = (*shape[:2], *(2 * length for length in shape[2:]))
        x = draw(shape, dtype, seed)
        leaf = torch.tensor(x, requires_grad=True)
        expected, places = torch.nn.functional.max_pool2d(leaf, **options, return_indices=True)
        y, indices = kernels.max_pool2d(x, **options, return_indices=True)
        assert_array_equal(y, expected.detach().numpy())
        assert_array_equal(indices, places.numpy())
        dy = draw(y.shape, dtype, seed + 1)
        expected.backward(torch.tensor(dy))
        assert_array_equal(kernels.max_pool2d_backward(dy, x, **options), leaf.grad.numpy())
        dx = kernels.max_pool2d_backward(dy, x.shape, **options, indices=places)
        assert_array_equal(dx, leaf.grad.numpy())

    @in_one_test
    @each_dtype
    @each_seed
    def test_avg_pool2d(self, torch, seed, dtype):
        _, shape, options = self.random_case(seed)
        options |= counts(seed)
        x = draw(shape, dtype, seed)
        leaf = torch.tensor(x, requires_grad=True)
        expected = torch.nn.functional.avg_pool2d(leaf, **options)
        y = kernels.avg_pool2d(x, **options)
        dy = draw(y.shape, dtype, seed + 1)
        expected.backward(torch.tensor(dy))
        tolerance = {"rtol": 8 * np.finfo(dtype).eps, "atol": 32 * np.finfo(dtype).eps}
        np.testing.assert_allclose(y, expected.detach().numpy(), **tolerance)
        dx = kernels.avg_pool2d_backward(dy, shape, **options)
        np.testing.assert_allclose(dx, leaf.grad.numpy(), **tolerance)


@in_one_test
@each_seed
def test_bits_are_those_of_compiled_nets(seed):
    """float32 results of the functions and the layers are identical."""
    rng = np.random.default_rng(seed)
    kernel_size, stride = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    padding = int(rng.integers(0, kernel_size // 2 + 1))
    shape = (17, 2, *(kernel_size + rng.integers(12, size=2)).tolist())
    x = rng.standard_normal(shape).astype(np.float32)
    for layer, name in ((nn.MaxPool2d, "max_pool2d"), (nn.AvgPool2d, "avg_pool2d")):
        layer = layer(kernel_size, stride, padding)
        y = layer.forward(x, training=True)
        assert_array_equal(y, getattr(kernels, name)(x, kernel_size, stride, padding))
        dy = rng.standard_normal(y.shape).astype(np.float32)
        dx = getattr(kernels, f"{name}_backward")(dy, x, kernel_size, stride, padding)
        assert_array_equal(layer.backward(dy), dx)


SETTINGS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1, "padding": (0, 2), "dilation": 2, "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": 1, "data_format": "NHWC"},
    {"kernel_size": (48, 52)},
]
each_setting = pytest.mark.parametrize("options", SETTINGS, ids=str)


def all_results(x, options, **call):
    """Every result for one x, gradients included."""
    y, indices = kernels.max_pool2d(x, **options, return_indices=True, **call)
    mean = kernels.avg_pool2d(x, **options, **call)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
    return [
        y,
        indices,
        mean,
        kernels.max_pool2d(x, **options, **call),
        kernels.max_pool2d_backward(dy, x, **options, **call),
        kernels.max_pool2d_backward(dy, x, **options, indices=indices, **call),
        kernels.avg_pool2d_backward(dy, x.shape, **options, **call),
    ]


@each_dtype
@each_setting
def test_bits_do_not_depend_on_threads(options, dtype, monkeypatch):
    monkeypatch.setattr(plan.threads, "useful", lambda work, count: count)
    shape = (5, 48, 52, 7) if "data_format" in options else (5, 7, 48, 52)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    serial = [result.tobytes() for result in all_results(x, options, num_threads=1)]
    for count in (2, 3, 8, 100):
        results = all_results(x, options, num_threads=count)
        assert [result.tobytes() for result in results] == serial


@each_dtype
@each_setting
def test_bits_do_not_depend_on_the_instruction_set(options, dtype, monkeypatch):
    shape = (2, 48, 52, 3) if "data_format" in options else (2, 3, 48, 52)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    bits = []
    for isa in _cpu.supported():
        module = import_module(f"lenet5c.kernels.planes._planes_{isa}")
        monkeypatch.setattr(plan, "PLANES", module.kernels)
        plan._plan.cache_clear()
        bits.append([result.tobytes() for result in all_results(x, options)])
    plan._plan.cache_clear()
    assert all(each == bits[0] for each in bits)


class TestForms:
    """Supported x, dy and indices, and `out`."""

    x = draw((3, 2, 9, 8), np.float32)
    options = {"kernel_size": 3, "stride": 2, "padding": 1}

    def test_a_sample_without_batch(self):
        whole, one = all_results(self.x, self.options), all_results(self.x[1], self.options)
        for several, each in zip(whole[:4], one[:4], strict=True):
            assert_array_equal(each, several[1])
        assert [each.ndim for each in one] == [3] * 7
        y = np.empty(one[0].shape, np.float32)
        assert kernels.max_pool2d(self.x[1], **self.options, out=y) is y
        assert_array_equal(y, one[0])
        dx = kernels.max_pool2d_backward(y, (2, 9, 8), **self.options, indices=one[1])
        assert_array_equal(dx, kernels.max_pool2d_backward(y, self.x[1], **self.options))
        assert kernels.max_pool1d(self.x[0, 0], 2).shape == (9, 4)
        assert kernels.global_avg_pool2d(self.x[0]).shape == (2, 1, 1)

    @pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.int64, ">f4", bool])
    def test_other_dtypes(self, dtype):
        x = abs(self.x).astype(dtype)
        expected = x.astype(np.float64 if dtype is np.int64 else np.float32)
        results = all_results(x, self.options)[:4], all_results(expected, self.options)[:4]
        for a, b in zip(*results, strict=True):
            assert a.dtype == b.dtype
            assert_array_equal(a, b)
        dy = np.ones((3, 2, 5, 4), np.float32)
        dx = kernels.max_pool2d_backward(dy, x, **self.options)
        assert dx.dtype == expected.dtype
        assert_array_equal(dx, kernels.max_pool2d_backward(dy, expected, **self.options))

    def test_outs_of_indices(self):
        y, indices = kernels.max_pool2d(self.x, **self.options, return_indices=True)
        outs = np.empty_like(y), np.full((*indices.shape[:3], 2 * indices.shape[3]), -1)[..., ::2]
        results = kernels.max_pool2d(self.x, **self.options, return_indices=True, out=outs)
        assert results[0] is outs[0] and results[1] is outs[1]
        assert_array_equal(outs[0], y)
        assert_array_equal(outs[1], indices)
        results = kernels.max_pool2d(
            self.x, **self.options, return_indices=True, out=(None, outs[1])
        )
        assert results[0] is not outs[0] and results[1] is outs[1]

    def test_out_may_overlap_what_is_read(self):
        y, indices = kernels.max_pool2d(self.x, **self.options, return_indices=True)
        memory = np.zeros(2 * self.x.size)
        given = memory[: indices.size].view(np.int64).reshape(indices.shape)
        given[...] = indices
        dy = y.astype(np.float64)
        expected = kernels.max_pool2d_backward(dy, self.x, **self.options)
        out = memory[: self.x.size].reshape(self.x.shape)
        kernels.max_pool2d_backward(dy, self.x.shape, **self.options, indices=given, out=out)
        assert_array_equal(out, expected)
        x = memory[: self.x.size].reshape(self.x.shape)
        x[...] = self.x
        outs = memory[: y.size].reshape(y.shape), memory[y.size :][: y.size].view(np.int64)
        outs = outs[0], outs[1].reshape(y.shape)
        kernels.max_pool2d(x, **self.options, return_indices=True, out=outs)
        assert_array_equal(outs[0], y)
        assert_array_equal(outs[1], indices)

    @pytest.mark.parametrize("dtype", [np.int32, np.uint64, ">i8"])
    @pytest.mark.parametrize("size", [2, 3])
    def test_indices_in_other_dtypes(self, dtype, size):
        y, indices = kernels.max_pool2d(self.x, size, return_indices=True)
        dx = kernels.max_pool2d_backward(y, self.x.shape, size, indices=indices.astype(dtype))
        assert_array_equal(dx, kernels.max_pool2d_backward(y, self.x, size))

    @pytest.mark.parametrize("size", [2, 3])
    def test_indices_of_another_window_are_followed(self, size):
        dy = draw((3, 2, 9 // size, 20 // size), np.float32)
        indices = np.random.default_rng(0).integers(0, 9 * 20, dy.shape)
        dx = kernels.max_pool2d_backward(dy, (3, 2, 9, 20), size, indices=indices)
        twin = reference.max_pool2d_backward(dy, np.zeros((3, 2, 9, 20)), size, indices=indices)
        assert_array_equal(dx, twin)


class TestRefusals:
    x = np.zeros((2, 3, 9, 20), np.float32)

    @in_one_test
    @pytest.mark.parametrize("size", [2, 3, (9, 20)])
    @pytest.mark.parametrize("wrong", [-1, 180, 2**31, 2**32, 2**62, -(2**63), -(2**32)])
    @pytest.mark.parametrize("place", [0, -1])
    def test_indices_outside_the_image(self, size, wrong, place):
        y, indices = kernels.max_pool2d(self.x, size, return_indices=True)
        indices.reshape(-1)[place] = wrong
        with pytest.raises(ValueError, match=f"indices must be .* less than 180.* got {wrong};"):
            kernels.max_pool2d_backward(y, self.x.shape, size, indices=indices)

    @pytest.mark.parametrize(
        "indices, error",
        [(np.zeros((2, 3, 4, 10)), TypeError), (np.zeros((2, 3, 4, 9), int), ValueError)],
    )
    def test_indices_that_are_none(self, indices, error):
        with pytest.raises(error, match="indices"):
            kernels.max_pool2d_backward(np.zeros((2, 3, 4, 10)), self.x, 2, indices=indices)

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"padding": 3}, "padding must be less than the window"),
            ({"padding": ((0, 3), (0, 0))}, "padding must be less than the window"),
            ({"padding": "full"}, "padding"),
            ({"data_format": "NCW"}, 'data_format must be "NCHW" or "NHWC", got .NCW.'),
            (
                {"dilation": 11, "padding": ((1, 13), (7, 7))},
                "leave every window a pixel of the image",
            ),
            ({"kernel_size": 10}, "kernel_size"),
            ({"kernel_size": None}, "kernel_size"),
        ],
        ids=str,
    )
    def test_settings(self, options, message):
        options = {"kernel_size": 3} | options
        for function in (kernels.max_pool2d, kernels.avg_pool2d):
            with pytest.raises(ValueError, match=message):
                function(self.x, **options)

    @pytest.mark.parametrize("value", [0, -1, 1.5, (1, 2), 2**40])
    def test_divisors(self, value):
        with pytest.raises(ValueError, match="divisor_override"):
            kernels.avg_pool2d(self.x, 2, divisor_override=value)

    @pytest.mark.parametrize("out", [x[:, :, :4, :10].copy(), (None,), (None, None, None), [1, 2]])
    def test_indices_want_two_outs(self, out):
        with pytest.raises(TypeError, match="out must be a tuple of two"):
            kernels.max_pool2d(self.x, 2, return_indices=True, out=out)

    @pytest.mark.parametrize(
        "shape", [(3, 9, 20, 1, 1), (2, 3, 9, 0), (2, 3), 5, (2, 3, 9, 1.5), None]
    )
    def test_shapes(self, shape):
        dy = np.zeros((2, 3, 4, 10), np.float32)
        with pytest.raises(ValueError, match="x_shape"):
            kernels.avg_pool2d_backward(dy, shape, 2)
        with pytest.raises(ValueError, match=r"\bx\b"):
            kernels.max_pool2d_backward(dy, shape, 2, indices=np.zeros(dy.shape, int))

    def test_places_of_huge_images(self):
        window = (2, 2), (2, 2), (0, 0), (1, 1)
        shape, size = (0, 2**16, 2**15, 1), (2**15, 2**14)
        pooling = Pooling(plan.PLANES, "f", shape, size, window, ((0, 2**16), (0, 2**15)), 0)
        empty, places = np.empty(0, np.float32), np.empty(0, np.int64)
        pooling.maximum(empty, empty, None, 1)
        for call in (
            lambda: pooling.maximum(empty, empty, places, 1),
            lambda: pooling.maximum_backward(empty, empty, None, empty, 1),
        ):
            with pytest.raises(ValueError, match="2147483647 pixels"):
                call()


def test_a_window_of_billions_takes_no_longer_than_what_it_sees():
    x = draw((1, 1, 4, 4), np.float32)
    for padding in ((0, 2**30), ((0, 0), (2**30, 2**30))):
        y = kernels.max_pool2d(x, (1, 2**31 - 1), padding=padding)
        assert_array_equal(y, x.max(axis=3, keepdims=True))
    y = kernels.avg_pool2d(x, (1, 2**31 - 1), padding=(0, 2**30), count_include_pad=False)
    assert_array_equal(y, x.mean(axis=3, keepdims=True))


@each_dtype
def test_nothing_is_written_beside_the_outputs(dtype):
    for shape, options in HALVED + LINES[:6]:
        x = draw(shape, dtype)
        memory = np.full(2 * x.size + 64, 7, dtype)
        y = kernels.max_pool2d(x, **options)
        places = np.full(y.size + 32, 7)
        for function, argument, out in (
            (kernels.max_pool2d, (x,), y),
            (kernels.avg_pool2d, (x,), y),
            (kernels.max_pool2d_backward, (y, x), x),
            (kernels.avg_pool2d_backward, (y, x), x),
        ):
            memory[:] = 7
            function(*argument, **options, out=memory[16 : 16 + out.size].reshape(out.shape))
            assert np.all(memory[:16] == 7) and np.all(memory[16 + out.size :] == 7)
        outs = np.empty_like(y), places[16:-16].reshape(y.shape)
        kernels.max_pool2d(x, **options, return_indices=True, out=outs)
        assert np.all(places[:16] == 7) and np.all(places[-16:] == 7)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 9, 130])
def test_the_mean_of_a_large_plane_is_that_of_doubles(channels, data_format):
    """A float sum stops growing if values are less than its last digit."""
    x = np.random.default_rng(0).random((1, channels, 300, 301), np.float32)
    expected = x.mean((2, 3), dtype=np.float64).astype(np.float32)
    given = np.moveaxis(x, 1, -1) if data_format == "NHWC" else x
    y = kernels.global_avg_pool2d(given, data_format=data_format)
    assert_array_equal(y.reshape(1, channels), expected)


def test_a_result_and_its_indices_may_not_share_memory():
    y = np.empty((1, 1, 2, 2))
    out = y, y.view(np.int64)
    with pytest.raises(ValueError, match="out must hold arrays that do not overlap"):
        kernels.max_pool2d(np.ones((1, 1, 4, 4)), 2, return_indices=True, out=out)


def test_masked_indices_are_refused():
    indices = np.ma.masked_equal(np.zeros((1, 1, 2, 2), int), 1)
    with pytest.raises(
        TypeError, match=r"indices must be an array of real numbers without a mask.*filled\(0\)"
    ):
        kernels.max_pool2d_backward(np.ones((1, 1, 2, 2)), (1, 1, 4, 4), 2, indices=indices)
