"""Pooling and columns of the C surface compared with the functions on arrays and the reference."""

import numpy as np
import pytest
from consumer_settings import Scratch, flat_like, values, window_settings
from one_test import in_one_test

from lenet5c import kernels, reference

DTYPES = ["float32", "float64"]


def with_specials(x, special):
    if special is not None:
        x[np.random.default_rng(1).random(x.shape) < 0.2] = special
    return x


@in_one_test
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("special", [None, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "settings",
    [
        window_settings((1, 1, 4, 4), 2, 2),
        window_settings((3, 7, 10, 10), 2, 2),
        window_settings((2, 5, 9, 7), (3, 2), (2, 1), (1, 1)),
        window_settings((1, 16, 6, 6), 3, 1, 1, count_include_pad=False),
        window_settings((0, 16, 6, 6), 3),
    ],
    ids=str,
)
def test_pooling(calls, settings, special, kind, dtype):
    x = with_specials(values(*settings["x"], dtype=dtype), special)
    arguments = {key: settings[key] for key in ("kernel_size", "stride", "padding")}
    if kind == "avg":
        arguments["count_include_pad"] = settings.get("count_include_pad", True)
    with np.errstate(invalid="ignore"):
        expected = getattr(kernels, f"{kind}_pool2d")(x, **arguments)
    y, scratch = flat_like(expected), Scratch(calls.pool2d_scratch(settings))
    assert getattr(calls, f"{kind}_pool2d")(settings, x.ravel(), y, scratch.memory) == 0
    assert np.array_equal(y, expected.ravel(), equal_nan=True)
    dy, dx = values(*expected.shape, dtype=dtype, seed=1), flat_like(x)
    expected = getattr(kernels, f"{kind}_pool2d_backward")(
        dy, x if kind == "max" else x.shape, **arguments
    )
    needed = (x.ravel(),) if kind == "max" else ()
    assert (
        getattr(calls, f"{kind}_pool2d_backward")(settings, dy.ravel(), *needed, dx, scratch.memory)
        == 0
    )
    assert dx.tobytes() == expected.tobytes()
    scratch.check()


def any_windows(x, kernel_size, stride, padding, dilation=1, ceil_mode=False, **others):
    settings = window_settings(x, kernel_size, stride, 0, dilation=dilation)
    return settings | {"padding": padding, "ceil_mode": ceil_mode, **others}


WINDOWS = [
    any_windows((2, 3, 9, 7), (3, 2), (2, 1), ((0, 1), (1, 0))),
    any_windows((1, 5, 10, 10), 3, 2, ((0, 0), (0, 0)), ceil_mode=True),
    any_windows((3, 2, 11, 8), 3, (3, 2), ((2, 1), (0, 2)), 2, True, count_include_pad=False),
    any_windows((1, 1, 6, 6), 2, 2, ((0, 0), (0, 0)), divisor=3),
    any_windows((0, 2, 6, 6), 2, 2, ((0, 0), (0, 0))),
]


def window_arguments(settings):
    names = ("kernel_size", "stride", "padding", "ceil_mode")
    return {name: settings[name] for name in names}


@in_one_test
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("special", [None, np.nan, -np.inf])
@pytest.mark.parametrize("settings", WINDOWS, ids=str)
def test_maxima_with_indices(calls, settings, special, dtype):
    x = with_specials(values(*settings["x"], dtype=dtype), special)
    arguments = window_arguments(settings) | {"dilation": settings["dilation"]}
    expected, places = kernels.max_pool2d(x, **arguments, return_indices=True)
    assert calls.pool2d_output(settings) == (0, expected.shape[2:])
    y, indices = flat_like(expected), np.full(expected.size, -1)
    assert calls.max_pool2d_with_indices(settings, x.ravel(), y, indices) == 0
    assert y.tobytes() == expected.tobytes() and np.array_equal(indices, places.ravel())
    y[...] = 0
    assert calls.max_pool2d_with_indices(settings, x.ravel(), y, None) == 0
    assert y.tobytes() == expected.tobytes()
    dy, dx = values(*expected.shape, dtype=dtype, seed=1), flat_like(x)
    assert calls.max_pool2d_with_indices_backward(settings, dy.ravel(), indices, dx) == 0
    counterpart = reference.max_pool2d_backward(dy, x, **arguments)
    np.testing.assert_allclose(dx.reshape(x.shape), counterpart, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("index", [-1, 36, 2**40])
def test_an_index_beyond_the_plane_is_refused(calls, index):
    settings = any_windows((1, 2, 6, 6), 2, 2, ((0, 0), (0, 0)))
    dy, dx = values(18), np.zeros(72, np.float32)
    indices = np.zeros(18, np.int64)
    assert calls.max_pool2d_with_indices_backward(settings, dy, indices, dx) == 0
    indices[12] = index
    assert calls.max_pool2d_with_indices_backward(settings, dy, indices, dx) == -7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "settings", [settings for settings in WINDOWS if settings["dilation"] == (1, 1)], ids=str
)
def test_means_with_divisor(calls, settings, dtype):
    x = values(*settings["x"], dtype=dtype)
    arguments = window_arguments(settings) | {
        "count_include_pad": settings.get("count_include_pad", True)
    }
    if "divisor" in settings:
        arguments["divisor_override"] = settings["divisor"]
    expected = kernels.avg_pool2d(x, **arguments)
    y = flat_like(expected)
    assert calls.avg_pool2d_with_divisor(settings, x.ravel(), y) == 0
    assert y.tobytes() == expected.tobytes()
    dy, dx = values(*expected.shape, dtype=dtype, seed=1), flat_like(x)
    assert calls.avg_pool2d_with_divisor_backward(settings, dy.ravel(), dx) == 0
    assert dx.tobytes() == kernels.avg_pool2d_backward(dy, x.shape, **arguments).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "settings",
    [
        window_settings((2, 3, 7, 9), (3, 2), (2, 1), (1, 2), dilation=(1, 2)),
        window_settings((1, 1, 4, 4), 4, dilation=1),
    ],
    ids=str,
)
def test_columns(calls, settings, dtype):
    x = values(*settings["x"], dtype=dtype)
    arguments = [settings[name] for name in ("kernel_size", "stride", "padding", "dilation")]
    expected = reference.im2col(x, *arguments)
    assert calls.im2col_scratch(settings) == 0
    col, back = np.full(expected.size, np.nan, dtype), flat_like(x)
    assert calls.im2col(settings, x.ravel(), col) == 0
    assert np.array_equal(col, expected.ravel())
    assert calls.col2im(settings, col, back) == 0
    np.testing.assert_allclose(
        back.reshape(x.shape), reference.col2im(expected, x.shape[2:], *arguments), rtol=1e-6
    )
