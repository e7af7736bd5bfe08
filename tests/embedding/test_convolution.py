"""Convolutions of the C surface: bit-identical to the functions on arrays, and the reference."""

import numpy as np
import pytest
from consumer_settings import Scratch, conv2d_settings, flat_like, values
from one_test import in_one_test

from lenet5c import kernels, reference

CONV2D_CASES = [
    conv2d_settings((1, 1, 5, 5), (1, 3, 3)),
    conv2d_settings((1, 3, 32, 30), (16, 5, 5), padding=2),
    conv2d_settings((3, 6, 14, 14), (16, 5, 5)),
    conv2d_settings((17, 1, 28, 28), (6, 5, 5), padding=2),
    conv2d_settings((2, 20, 13, 11), (37, 3, 2), stride=(2, 3), padding=(1, 0), dilation=(1, 2)),
    conv2d_settings((1, 4, 9, 9), (3, 1, 1), stride=4),
    conv2d_settings((2, 8, 12, 12), (24, 3, 3), padding=1, groups=8),
    conv2d_settings((2, 48, 7, 9), (48, 3, 3), stride=2, padding=3, groups=48),
    conv2d_settings((5, 12, 8, 8), (10, 2, 2), groups=2),
    conv2d_settings((2, 16, 5, 5), (120, 5, 5)),
    conv2d_settings((1, 3, 130, 260), (40, 7, 7), stride=2, padding=3),
    conv2d_settings((0, 3, 8, 8), (4, 3, 3)),
    # tiles: by Winograd's algorithm, padded, strided, of more shards than one, of one filter place
    conv2d_settings((33, 6, 14, 14), (16, 5, 5)),
    conv2d_settings((19, 5, 9, 8), (7, 3, 5), padding=(1, 2)),
    conv2d_settings((16, 3, 9, 8), (7, 3, 2), stride=(2, 3), padding=(0, 1), dilation=(1, 2)),
    conv2d_settings((1050, 1, 5, 6), (2, 3, 3)),
    conv2d_settings((4, 16, 5, 5), (120, 5, 5)),
    conv2d_settings((70, 3, 5, 3), (13, 5, 3)),
    conv2d_settings((20, 2, 3, 3), (5, 5, 5), padding=1),
]
DTYPES = ["float32", "float64"]


def conv2d_arguments(settings, dtype):
    """Return x, weight, bias, dy, and the keyword arguments of the functions on arrays."""
    (N, C, H, W), (O, KH, KW) = settings["x"], settings["filters"]
    keywords = {key: settings[key] for key in ("stride", "padding", "dilation", "groups")}
    size = reference.output_shape(
        (H, W), (KH, KW), settings["stride"], settings["padding"], settings["dilation"]
    )
    weight = values(O, C // settings["groups"], KH, KW, dtype=dtype, seed=1)
    bias, dy = values(O, dtype=dtype, seed=2), values(N, O, *size, dtype=dtype, seed=3)
    return values(N, C, H, W, dtype=dtype), weight, bias, dy, keywords


def check_close(ours, expected, scale=1.0):
    """Compare with values whose rounding errors are proportional to `scale`."""
    tolerance = 1e-4 if ours.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(
        ours.reshape(expected.shape), expected, rtol=tolerance, atol=tolerance * scale
    )


def gradient_scale(expected):
    return 0.1 * max(1, np.abs(expected).max(initial=0))


def compare(ours, theirs):
    assert ours.tobytes() == theirs.tobytes()


def gradients(run, scratch, settings, arrays, wanted):
    """Return dx, dweight and dbias of a function of the consumer; None if not requested."""
    dy, x, weight, bias = arrays
    outs = [
        flat_like(array) if want else None
        for array, want in zip((x, weight, bias), wanted, strict=True)
    ]
    scratch = Scratch(scratch(settings, dy.dtype))
    needed = x.ravel() if wanted[1] else None, weight.ravel() if wanted[0] else None
    assert run(settings, dy.ravel(), *needed, *outs, scratch.memory) == 0
    scratch.check()
    return outs


@in_one_test
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("settings", CONV2D_CASES, ids=str)
class TestConv2d:
    def test_forward(self, calls, settings, dtype):
        x, weight, bias, dy, keywords = conv2d_arguments(settings, dtype)
        for given in (bias, None):
            y, scratch = flat_like(dy), Scratch(calls.conv2d_scratch(settings, dtype))
            arrays = x.ravel(), weight.ravel(), given, y
            assert calls.conv2d(settings, *arrays, scratch.memory) == 0
            scratch.check()
            theirs = kernels.conv2d(x, weight, given, **keywords)
            compare(y, theirs)
            check_close(y, reference.conv2d(x, weight, given, **keywords))

    def test_backward(self, calls, settings, dtype):
        x, weight, _, dy, keywords = conv2d_arguments(settings, dtype)
        grads = self.backward(calls, settings, dtype, (True, True, True))
        of_numpy = kernels.conv2d_backward(dy, x, weight, **keywords)
        of_reference = reference.conv2d_backward(dy, x, weight, **keywords)
        for ours, theirs, expected in zip(grads, of_numpy, of_reference, strict=True):
            compare(ours, theirs)
            check_close(ours, expected, gradient_scale(expected))

    def test_backward_computes_what_is_wanted(self, calls, settings, dtype):
        every = self.backward(calls, settings, dtype, (True, True, True))
        for wanted in np.ndindex(2, 2, 2):
            some = self.backward(calls, settings, dtype, wanted)
            for ours, expected in zip(some, every, strict=True):
                assert ours is None or ours.tobytes() == expected.tobytes()

    @staticmethod
    def backward(calls, settings, dtype, wanted):
        x, weight, bias, dy, _ = conv2d_arguments(settings, dtype)
        arrays = dy, x, weight, bias
        return gradients(
            calls.conv2d_backward, calls.conv2d_backward_scratch, settings, arrays, wanted
        )


def test_the_same_way_is_chosen(calls):
    """Random sizes: bits differ if the functions on arrays use another algorithm."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        N, C, O = int(rng.choice([1, 3, 4, 15, 16, 17, 40])), *map(int, rng.integers(1, 20, 2))
        size, filters = rng.integers(3, 13, 2), rng.integers(1, 6, 2)
        settings = conv2d_settings(
            (N, C, *map(int, size)), (O, *map(int, np.minimum(size, filters)))
        )
        for dtype in DTYPES:
            x, weight, bias, dy, _ = conv2d_arguments(settings, dtype)
            y, scratch = flat_like(dy), Scratch(calls.conv2d_scratch(settings, dtype))
            calls.conv2d(settings, x.ravel(), weight.ravel(), bias, y, scratch.memory)
            assert y.tobytes() == kernels.conv2d(x, weight, bias).tobytes(), settings
            grads = TestConv2d.backward(calls, settings, dtype, (True, True, True))
            of_numpy = kernels.conv2d_backward(dy, x, weight)
            for ours, theirs in zip(grads, of_numpy, strict=True):
                assert ours.tobytes() == theirs.tobytes(), settings


TRANSPOSED_CASES = [
    conv2d_settings((1, 1, 5, 5), (1, 3, 3), output_padding=0),
    conv2d_settings((3, 6, 7, 5), (4, 3, 2), stride=2, padding=(1, 0), output_padding=1),
    conv2d_settings((17, 8, 4, 6), (6, 2, 3), stride=(3, 1), output_padding=(2, 0), groups=2),
    conv2d_settings((2, 5, 6, 6), (20, 3, 3), dilation=(1, 3), output_padding=(0, 2)),
    conv2d_settings((2, 3, 3, 3), (2, 1, 1), stride=3, output_padding=(2, 1)),
    conv2d_settings((0, 3, 3, 3), (2, 1, 1), output_padding=0),
]


def transposed_arguments(settings, dtype):
    (N, C, H, W), (O, KH, KW) = settings["x"], settings["filters"]
    keywords = {
        key: settings[key] for key in ("stride", "padding", "output_padding", "groups", "dilation")
    }
    x = values(N, C, H, W, dtype=dtype)
    weight = values(C, O // settings["groups"], KH, KW, dtype=dtype, seed=1)
    return x, weight, values(O, dtype=dtype, seed=2), keywords


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("settings", TRANSPOSED_CASES, ids=str)
class TestConvTranspose2d:
    def test_forward(self, calls, settings, dtype):
        x, weight, bias, keywords = transposed_arguments(settings, dtype)
        for given in (bias, None):
            expected = reference.conv_transpose2d(x, weight, given, **keywords)
            y = np.full(expected.size, np.nan, dtype)
            scratch = Scratch(calls.conv_transpose2d_scratch(settings, dtype))
            arrays = x.ravel(), weight.ravel(), given, y
            assert calls.conv_transpose2d(settings, *arrays, scratch.memory) == 0
            scratch.check()
            assert calls.conv_transpose2d_output(settings) == (0, expected.shape[2:])
            check_close(y, expected)
            theirs = kernels.conv_transpose2d(x, weight, given, **keywords)
            assert y.tobytes() == theirs.tobytes()

    def test_backward(self, calls, settings, dtype):
        x, weight, bias, keywords = transposed_arguments(settings, dtype)
        shape = kernels.conv_transpose2d(x, weight, bias, **keywords).shape
        dy = values(*shape, dtype=dtype, seed=3)
        expected = reference.conv_transpose2d_backward(dy, x, weight, **keywords)
        every = self.backward(calls, settings, (dy, x, weight, bias), (True, True, True))
        for ours, right in zip(every, expected, strict=True):
            check_close(ours, right, gradient_scale(right))
        for wanted in np.ndindex(2, 2, 2):
            some = self.backward(calls, settings, (dy, x, weight, bias), wanted)
            for ours, right in zip(some, every, strict=True):
                assert ours is None or ours.tobytes() == right.tobytes()

    @staticmethod
    def backward(calls, settings, arrays, wanted):
        run, scratch = calls.conv_transpose2d_backward, calls.conv_transpose2d_scratch
        return gradients(run, scratch, settings, arrays, wanted)
