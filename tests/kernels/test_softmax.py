"""Softmax and log-softmax, forward and backward: reference, PyTorch, special values, arguments."""

from importlib import import_module
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test
from programs import FUSED, TILES

from lenet5c import kernels, nn, reference
from lenet5c.kernels.ops import _softmax

DTYPES = [np.float32, np.float64]
KERNELS = {
    (isa, dtype): import_module(f"lenet5c.kernels.simd._{kind}_{isa}").direct
    for isa in TILES
    for dtype, kind in zip(DTYPES, ("tiles", "doubles"), strict=True)
}
# Every axis of them is taken: one element, vectors side by side and not, long axes, odd ends.
SHAPES = [
    (1,), (7,), (31,), (32,), (33,), (1000,), (1, 8), (5, 2), (17, 10), (16, 16), (33, 47),
    (3, 100), (2, 3, 4), (40, 3), (2, 40, 5), (3, 21, 16), (2, 4, 17), (2, 35, 20), (1, 1, 8, 8),
    (2, 3, 5, 7), (2, 1, 3, 1, 2),
]  # fmt: skip
FORWARD, BACKWARD = ("softmax", "log_softmax"), ("softmax_backward", "log_softmax_backward")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_forward = pytest.mark.parametrize("name", FORWARD)
each_function = pytest.mark.parametrize("name", FORWARD + BACKWARD)


def draw(name, shape, dtype, axis, scale=3):
    """Return the arrays that a function takes."""
    rng = np.random.default_rng(0)
    x = (scale * rng.standard_normal(shape)).astype(dtype)
    if name in FORWARD:
        return (x,)
    y = getattr(reference, name.removesuffix("_backward"))(x, axis).astype(dtype)
    return rng.standard_normal(shape).astype(dtype), y


def tolerance(shape, axis, dtype):
    """Return the tolerance of a sum along the axis."""
    return (8 + shape[axis] / 2) * np.finfo(dtype).eps


@in_one_test
@each_function
@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(shape, dtype, name):
    for axis in range(-len(shape), len(shape)):
        arrays = draw(name, shape, dtype, axis)
        expected = getattr(reference, name)(*arrays, axis)
        for threads in (1, 2, 3, 8):
            y = getattr(kernels, name)(*arrays, axis, num_threads=threads)
            assert (y.dtype, y.shape) == (dtype, shape)
            eps = tolerance(shape, axis, dtype)
            assert_allclose(y, expected, rtol=eps, atol=8 * eps)


@in_one_test
@each_function
@each_dtype
@pytest.mark.parametrize("shape, axis", [((300, 700), 1), ((70, 60, 90), 1), ((9000, 10), 1)])
def test_same_bits_at_any_thread_count(shape, axis, dtype, name):
    arrays = draw(name, shape, dtype, axis)
    expected = getattr(kernels, name)(*arrays, axis, num_threads=1)
    for threads in (2, 3, 8, None):
        y = getattr(kernels, name)(*arrays, axis, num_threads=threads)
        assert y.tobytes() == expected.tobytes()


@pytest.mark.parametrize("logarithmic, backward", list(product((False, True), repeat=2)))
@each_dtype
def test_same_bits_on_every_instruction_set(dtype, logarithmic, backward):
    for shape in ((50, 7, 1), (3, 100, 1), (4, 9, 33), (2, 150, 3)):
        rng, expected = np.random.default_rng(0), None
        a, b = (3 * rng.standard_normal((2, *shape))).astype(dtype)
        for isa in FUSED:
            to = np.full(shape, np.nan, dtype)
            output = -abs(b) if backward else None
            _softmax.apply(KERNELS[isa, dtype], logarithmic, shape, a, output, to, 2)
            expected = expected or to.tobytes()
            assert to.tobytes() == expected


@pytest.mark.parametrize("isa", TILES)
@each_dtype
def test_every_instruction_set_matches_reference(dtype, isa):
    for shape in ((50, 7, 1), (3, 100, 1), (4, 9, 33), (2, 150, 3)):
        (x,) = draw("softmax", shape, dtype, 1)
        for logarithmic, counterpart in ((False, reference.softmax), (True, reference.log_softmax)):
            y = np.full(shape, np.nan, dtype)
            _softmax.apply(KERNELS[isa, dtype], logarithmic, shape, x, None, y, 1)
            eps = tolerance(shape, 1, dtype)
            assert_allclose(y, counterpart(x, 1), rtol=eps, atol=8 * eps)


def test_the_exponential_of_float64_is_exact_to_an_ulp():
    """Next to a logit of 0, whose probability rounds to 1."""
    x = np.concatenate([np.linspace(-40, -37, 20000), np.linspace(-700, -40, 20000)])
    y = kernels.softmax(np.stack([np.zeros_like(x), x], axis=1))[:, 1]
    expected = np.exp(x.astype(np.longdouble))
    assert np.max(abs(y - expected) / np.spacing(expected.astype(np.float64))) < 1.01


@pytest.mark.parametrize("size", [1e4, 1e30, 3e38])
@each_dtype
def test_large_logits(dtype, size):
    x = np.array([[size, 0, -size], [size, size, 0], [-size, -size, -size]], dtype)
    expected = np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])
    for array in (x, np.repeat(x, 20, axis=1)):
        repeats = array.shape[1] // 3
        y = kernels.softmax(array)
        assert_allclose(y, np.repeat(expected, repeats, axis=1) / repeats, rtol=1e-6)
        log_y = kernels.log_softmax(array)
        with np.errstate(divide="ignore"):
            is_finite = y > 0
        assert_allclose(log_y[is_finite], np.log(y[is_finite]), atol=1e-6)
        assert np.all(log_y[~is_finite] <= -size)


@each_dtype
@pytest.mark.parametrize("repeats", [1, 15])
@pytest.mark.parametrize("axis", [0, 1])
def test_special_values(axis, repeats, dtype):
    inf, nan = np.inf, np.nan
    x = np.array([[0, -inf, 0], [-inf] * 3, [inf, 0, 1], [nan, 0, 1], [0, 1, -inf]], dtype)
    x = np.repeat(x, repeats, axis=1)
    expected = np.full(x.shape, nan)
    expected[[0, 4]] = reference.softmax(x[[0, 4]])
    x, expected = (x.T.copy(), expected.T) if axis == 0 else (x, expected)
    y, log_y = kernels.softmax(x, axis), kernels.log_softmax(x, axis)
    assert_allclose(y, expected, rtol=1e-6)
    assert_array_equal(y == 0, expected == 0)
    with np.errstate(divide="ignore"):
        assert_allclose(log_y, np.log(expected), rtol=1e-6, atol=1e-6)


@each_dtype
def test_the_gradient_of_masked_logits_is_0(dtype):
    x = np.array([[0, -np.inf, 1]], dtype)
    dy = np.ones_like(x) / 3
    for backward, forward in zip(BACKWARD, FORWARD, strict=True):
        dx = getattr(kernels, backward)(dy, getattr(kernels, forward)(x))
        assert np.all(np.isfinite(dx))
        assert forward == "log_softmax" or dx[0, 1] == 0


@pytest.mark.parametrize("shape", [(17, 10), (3, 100), (2, 5, 40), (2, 3, 4, 5)], ids=str)
@each_forward
@each_dtype
def test_against_torch(dtype, name, shape):
    torch = pytest.importorskip("torch")
    for axis in range(len(shape)):
        x, dy = (3 * np.random.default_rng(0).standard_normal((2, *shape))).astype(dtype)
        leaf = torch.tensor(x, requires_grad=True)
        expected = getattr(torch, name)(leaf, axis)
        expected.backward(torch.tensor(dy))
        y = getattr(kernels, name)(x, axis)
        eps = tolerance(shape, axis, dtype)
        assert_allclose(y, expected.detach().numpy(), rtol=eps, atol=eps)
        dx = getattr(kernels, f"{name}_backward")(dy, y, axis)
        assert_allclose(dx, leaf.grad.numpy(), rtol=eps, atol=16 * eps)


@each_function
@each_dtype
def test_layouts_and_outputs(dtype, name):
    """Strided, transposed, reversed and read-only inputs; outputs of any layout, and the input."""
    function = getattr(kernels, name)
    for shape, axis in (((6, 40), 1), ((6, 40), 0), ((3, 9, 20), 1)):
        arrays = draw(name, shape, dtype, axis)
        expected = function(*arrays, axis)
        for view in (np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2]):
            assert_array_equal(function(*map(view, arrays), axis), expected)
        reverse = tuple(np.s_[::-1] for _ in shape)
        backwards = [np.ascontiguousarray(a[reverse])[reverse] for a in arrays]
        for array in backwards:
            array.flags.writeable = False
        assert_array_equal(function(*backwards, axis), expected)
        out = np.full(shape, np.nan, dtype)
        assert function(*arrays, axis, out=out) is out
        assert_array_equal(out, expected)
        out = np.full((*shape[:-1], 2 * shape[-1]), np.nan, dtype)[..., ::2]
        assert function(*arrays, axis, out=out) is out
        assert_array_equal(out, expected)
        out = arrays[-1].copy()
        function(*arrays[:-1], out, axis, out=out)
        assert_array_equal(out, expected)


@each_function
def test_inputs_of_other_kinds(name):
    function = getattr(kernels, name)
    arrays = draw(name, (5, 7), np.float64, 1)
    for dtype in (np.float16, np.int8, np.uint8):
        plain = [a.astype(dtype) for a in arrays]
        expected = function(*(a.astype(np.float32) for a in plain))
        assert expected.dtype == np.float32
        assert_array_equal(function(*plain), expected)
    lists = function(*(a.tolist() for a in arrays))
    assert_array_equal(lists, function(*arrays))
    swapped = function(*(a.astype(a.dtype.newbyteorder()) for a in arrays))
    assert_array_equal(swapped, lists)


@each_function
@pytest.mark.parametrize("shape, axis", [((0, 3), 1), ((3, 0), 0), ((2, 0, 5), 2)])
def test_nothing(shape, axis, name):
    empty = np.zeros(shape, np.float32)
    arrays = (empty,) if name in FORWARD else (empty, empty)
    y = getattr(kernels, name)(*arrays, axis)
    assert (y.shape, y.dtype) == (shape, np.float32)


@in_one_test
@each_function
class TestErrors:
    def check(self, name, error, message, *arrays, **options):
        arrays = arrays if name in FORWARD or len(arrays) > 1 else 2 * arrays
        with pytest.raises(error, match=message):
            getattr(kernels, name)(*arrays, **options)

    def test_an_empty_axis(self, name):
        for shape, axis in (((3, 0), 1), ((0,), 0), ((0, 0), -1)):
            self.check(name, ValueError, "must not be empty along", np.zeros(shape), axis=axis)

    def test_an_axis_that_is_not_there(self, name):
        for shape, axis in (((3, 2), 2), ((3,), -2), ((), -1), ((), 0)):
            self.check(
                name, ValueError, f"axis must be an axis of .*got {axis}", np.ones(shape), axis=axis
            )

    @pytest.mark.parametrize("axis", [None, 1.0, "1", (0, 1), [1], True])
    def test_an_axis_of_another_kind(self, name, axis):
        self.check(name, TypeError, "axis must be an integer", np.ones((3, 2)), axis=axis)

    def test_arrays(self, name):
        self.check(name, TypeError, "x|y", np.ones(3, complex))
        self.check(name, TypeError, "x|y", np.ma.masked_array([1.0, 2]))
        self.check(name, TypeError, "x|y", None)
        for out in (np.ones(2), np.ones(3, np.float32), [1.0] * 3):
            self.check(name, (TypeError, ValueError), "out must", np.ones(3), out=out)
        for count in (0, 1.5, "2"):
            self.check(name, ValueError, "num_threads", np.ones(3), num_threads=count)

    def test_shapes(self, name):
        if name in BACKWARD:
            self.check(name, ValueError, r"dy must have the shape \(3,\)", np.ones(4), np.ones(3))


def test_the_compiled_function_checks_its_arrays():
    doubles, x, y = KERNELS[next(iter(TILES)), np.float64], np.ones((2, 3)), np.ones((2, 3))
    for shape in ((2, 3, 2), (2, 2, 1), (0, 3, 1), (-2, -3, 1), (2**40, 2**40, 1)):
        with pytest.raises((ValueError, OverflowError)):
            _softmax.apply(doubles, False, shape, x, None, y, 1)
    for a, b, to in (
        (x.astype(np.float32), None, y),
        (x, x.astype(np.float32), y),
        (x, np.ones(5), y),
        (x, None, np.ones(6, np.int64)),
        (x.astype(complex), None, y),
    ):
        with pytest.raises(ValueError, match="array"):
            _softmax.apply(doubles, False, (2, 3, 1), a, b, to, 1)
    with pytest.raises((ValueError, BufferError)):
        _softmax.apply(doubles, False, (2, 3, 1), x.T.copy().T, None, y, 1)
    y.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        _softmax.apply(doubles, False, (2, 3, 1), x, None, y, 1)


def test_the_layers_use_it():
    assert nn.softmax is kernels.softmax
