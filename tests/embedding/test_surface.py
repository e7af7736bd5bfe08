"""Frozen declarations of cykernels, statuses, and complete examples."""

import ctypes
import re
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from consumer_settings import conv2d_settings, values, window_settings
from one_test import in_one_test

from lenet5c import reference
from lenet5c.kernels import cykernels
from lenet5c.kernels.simd import _peak, dispatch

# Frozen: a line may be added, with a new version of the package; a line that changes breaks what
# others have compiled.
CONV2D, TRANSPOSED, POOL2D, WINDOWS, IM2COL = (
    f"struct __pyx_t_7lenet5c_7kernels_9cykernels_{name} const *"
    for name in (
        "Conv2dSizes",
        "ConvTranspose2dSizes",
        "Pool2dSizes",
        "Pool2dWindows",
        "Im2colSizes",
    )
)
SIGNATURES = {
    "abi_version": "int (void)",
    "instruction_set": "char const *(void)",
    "status_message": "char const *(Py_ssize_t)",
    "output_extent": "Py_ssize_t (Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t)",
    "pool2d_output": f"int ({WINDOWS}, Py_ssize_t *, Py_ssize_t *)",
    "conv_transpose2d_output": f"int ({TRANSPOSED}, Py_ssize_t *, Py_ssize_t *)",
    "conv2d_scratch": f"Py_ssize_t ({CONV2D})",
    "conv2d_scratch_f64": f"Py_ssize_t ({CONV2D})",
    "conv2d_backward_scratch": f"Py_ssize_t ({CONV2D})",
    "conv2d_backward_scratch_f64": f"Py_ssize_t ({CONV2D})",
    "conv_transpose2d_scratch": f"Py_ssize_t ({TRANSPOSED})",
    "conv_transpose2d_scratch_f64": f"Py_ssize_t ({TRANSPOSED})",
    "pool2d_scratch": f"Py_ssize_t ({POOL2D})",
    "im2col_scratch": f"Py_ssize_t ({IM2COL})",
}
for real, dtype in (("float", "f32"), ("double", "f64")):
    SIGNATURES |= {
        f"conv2d_{dtype}": f"int ({CONV2D}, {3 * f'{real} const *, '}{real} *, void *)",
        f"conv2d_backward_{dtype}": (
            f"int ({CONV2D}, {3 * f'{real} const *, '}{3 * f'{real} *, '}void *)"
        ),
        f"conv_transpose2d_{dtype}": (
            f"int ({TRANSPOSED}, {3 * f'{real} const *, '}{real} *, void *)"
        ),
        f"conv_transpose2d_backward_{dtype}": (
            f"int ({TRANSPOSED}, {3 * f'{real} const *, '}{3 * f'{real} *, '}void *)"
        ),
        f"max_pool2d_{dtype}": f"int ({POOL2D}, {real} const *, {real} *, void *)",
        f"max_pool2d_backward_{dtype}": (
            f"int ({POOL2D}, {real} const *, {real} const *, {real} *, void *)"
        ),
        f"avg_pool2d_{dtype}": f"int ({POOL2D}, {real} const *, {real} *, void *)",
        f"avg_pool2d_backward_{dtype}": f"int ({POOL2D}, {real} const *, {real} *, void *)",
        f"max_pool2d_with_indices_{dtype}": f"int ({WINDOWS}, {real} const *, {real} *, int64_t *)",
        f"max_pool2d_with_indices_backward_{dtype}": (
            f"int ({WINDOWS}, {real} const *, int64_t const *, {real} *)"
        ),
        f"avg_pool2d_with_divisor_{dtype}": f"int ({WINDOWS}, {real} const *, {real} *)",
        f"avg_pool2d_with_divisor_backward_{dtype}": f"int ({WINDOWS}, {real} const *, {real} *)",
        f"im2col_{dtype}": f"int ({IM2COL}, {real} const *, {real} *)",
        f"col2im_{dtype}": f"int ({IM2COL}, {real} const *, {real} *)",
    }
# The same for what is compiled into the caller: constants, and the fields of the structures in
# order.
CONSTANTS = {
    "ABI_VERSION": 1,
    "OK": 0,
    "INVALID_SIZE": -1,
    "INVALID_GROUPS": -2,
    "WINDOW_TOO_LARGE": -3,
    "PADDING_TOO_LARGE": -4,
    "TOO_LARGE": -5,
    "NULL_POINTER": -6,
    "INVALID_INDEX": -7,
}
STEPS = "stride_h stride_w padding_h padding_w"
SIDES = "padding_top padding_bottom padding_left padding_right"
FIELDS = {
    "Conv2dSizes": f"N C H W O KH KW {STEPS} dilation_h dilation_w groups".split(),
    "ConvTranspose2dSizes": (
        f"N C H W O KH KW {STEPS} output_padding_h output_padding_w dilation_h dilation_w groups"
    ).split(),
    "Pool2dSizes": f"N C H W KH KW {STEPS} count_include_pad".split(),
    "Pool2dWindows": (
        f"N C H W KH KW stride_h stride_w {SIDES} dilation_h dilation_w ceil_mode "
        "count_include_pad divisor"
    ).split(),
    "Im2colSizes": f"N C H W KH KW {STEPS} dilation_h dilation_w".split(),
}


def declarations():
    """Return the installed cykernels.pxd without comments."""
    return re.sub(r" *#.*", "", (resources.files("lenet5c.kernels") / "cykernels.pxd").read_text())


def test_functions_are_the_frozen_ones():
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    assert {
        name: name_of(capsule).decode() for name, capsule in cykernels.__pyx_capi__.items()
    } == SIGNATURES


def test_constants_are_the_frozen_ones():
    assert {
        name: int(value)
        for name, value in re.findall(r"^    (\w+) = (-?\d+)$", declarations(), re.M)
    } == CONSTANTS


def test_structures_are_the_frozen_ones():
    found = {}
    for name, body in re.findall(r"^cdef struct (\w+):\n((?:    .*\n)+)", declarations(), re.M):
        types, fields = zip(*(line.split(maxsplit=1) for line in body.splitlines()), strict=True)
        assert set(types) == {"Py_ssize_t"}
        found[name] = ", ".join(fields).split(", ")
    assert found == FIELDS


def test_every_function_and_status_is_documented():
    page = Path(__file__).parents[2] / "docs" / "reference" / "c-surface.md"
    document = page.read_text(encoding="utf-8")
    assert {name for name in [*SIGNATURES, *CONSTANTS] if f"`{name}`" not in document} == set()


def test_the_numpy_example_of_the_document_runs(document):
    example = re.search(r"^```python\n(import numpy.*?)^```", document, re.DOTALL | re.MULTILINE)[1]
    exec(example, {})


# From here on with the consumer

GOOD = conv2d_settings((2, 4, 9, 9), (6, 3, 3), groups=2, output_padding=0)
GOOD_WINDOW = window_settings((2, 4, 9, 9), (3, 3), dilation=1)
LARGE = 2**62


def any_windows(settings):
    """Return the same settings for general windows."""
    sides = tuple((padding, padding) for padding in settings["padding"])
    return {"dilation": (1, 1), "ceil_mode": False} | settings | {"padding": sides}


@in_one_test
@pytest.mark.parametrize(
    "change, status",
    [
        ({"x": (-1, 4, 9, 9)}, "INVALID_SIZE"),
        ({"x": (2, 0, 9, 9)}, "INVALID_SIZE"),
        ({"x": (2, 4, 0, 9)}, "INVALID_SIZE"),
        ({"x": (2, 4, 9, -9)}, "INVALID_SIZE"),
        ({"filters": (6, 0, 3)}, "INVALID_SIZE"),
        ({"filters": (0, 3, 3)}, "INVALID_SIZE"),
        ({"groups": 0}, "INVALID_SIZE"),
        ({"stride": (1, 0)}, "INVALID_SIZE"),
        ({"padding": (-1, 0)}, "INVALID_SIZE"),
        ({"dilation": (0, 1)}, "INVALID_SIZE"),
        ({"groups": 3}, "INVALID_GROUPS"),
        ({"groups": 4}, "INVALID_GROUPS"),
        ({"filters": (6, 10, 3)}, "WINDOW_TOO_LARGE"),
        ({"dilation": (1, 5)}, "WINDOW_TOO_LARGE"),
        ({"dilation": (2**31 - 1, 1)}, "WINDOW_TOO_LARGE"),
        ({"x": (LARGE, 4, 9, 9)}, "TOO_LARGE"),
        ({"x": (2, LARGE, 9, 9)}, "TOO_LARGE"),
        ({"x": (2, 4, LARGE, 9)}, "TOO_LARGE"),
        ({"x": (2**30, 2**30, 2**30, 2**30)}, "TOO_LARGE"),
        ({"x": (0, 4, 2**30, 2**30)}, "TOO_LARGE"),
        ({"filters": (2**61, 3, 3)}, "TOO_LARGE"),
        ({"filters": (6, LARGE, 3)}, "TOO_LARGE"),
        ({"stride": (LARGE, 1)}, "TOO_LARGE"),
        ({"padding": (LARGE, 1)}, "TOO_LARGE"),
        ({"padding": (2**30, 2**30)}, "TOO_LARGE"),
        ({"dilation": (1, LARGE)}, "TOO_LARGE"),
    ],
    ids=str,
)
def test_bad_sizes_are_refused(calls, change, status):
    code = CONSTANTS[status]
    settings, nothing = GOOD | change, [None] * 8
    for dtype in ("float32", "float64"):
        assert calls.conv2d_scratch(settings, dtype) == code
        assert calls.conv2d_backward_scratch(settings, dtype) == code
        if status != "WINDOW_TOO_LARGE" and change not in (
            {"padding": (2**30, 2**30)},
            {"dilation": (2**31 - 1, 1)},
        ):
            assert calls.conv_transpose2d_scratch(settings, dtype) == code
    assert calls.conv2d(settings, *nothing[:5]) == code
    assert calls.conv2d_backward(settings, *nothing[:7]) == code
    if "groups" in change or "filters" in change:
        return
    settings = GOOD_WINDOW | change
    assert calls.im2col_scratch(settings) == calls.im2col(settings, None, None) == code
    assert calls.col2im(settings, None, None) == code
    if "padding" not in change:
        windows = any_windows(settings)
        assert calls.max_pool2d_with_indices(windows, None, None, None) == code
        assert calls.max_pool2d_with_indices_backward(windows, None, None, None) == code
        assert calls.avg_pool2d_with_divisor(windows, None, None) == code
        assert calls.avg_pool2d_with_divisor_backward(windows, None, None) == code
    if "dilation" not in change and "padding" not in change:
        assert calls.pool2d_scratch(settings) == calls.max_pool2d(settings, *nothing[:3]) == code
        assert (
            calls.avg_pool2d(settings, *nothing[:3])
            == calls.avg_pool2d_backward(settings, *nothing[:3])
            == code
        )
        assert calls.max_pool2d_backward(settings, *nothing[:4]) == code


@pytest.mark.parametrize(
    "change, status",
    [
        ({"output_padding": (-1, 0)}, "INVALID_SIZE"),
        ({"output_padding": (0, 1)}, "INVALID_SIZE"),
        ({"padding": (6, 0)}, "INVALID_SIZE"),
        ({"stride": (2**31 - 1, 2**31 - 1)}, "TOO_LARGE"),
    ],
    ids=str,
)
def test_bad_sizes_of_a_transposed_convolution_are_refused(calls, change, status):
    code, nothing, settings = CONSTANTS[status], [None] * 7, GOOD | change
    assert calls.conv_transpose2d_scratch(settings) == code
    assert calls.conv_transpose2d(settings, *nothing[:5]) == code
    assert calls.conv_transpose2d_backward(settings, *nothing) == code


def test_every_window_of_a_pooling_sees_the_image(calls):
    code = CONSTANTS["PADDING_TOO_LARGE"]
    assert calls.pool2d_scratch(window_settings((1, 1, 4, 4), 2, padding=2)) == code
    windows = any_windows(window_settings((1, 1, 4, 4), 2, padding=1))
    for padding in (((2, 0), (0, 0)), ((0, 2), (0, 0)), ((0, 0), (2, 0)), ((0, 0), (0, 2))):
        assert calls.avg_pool2d_with_divisor(windows | {"padding": padding}, None, None) == code
    # Of two places 5 pixels apart, one is among 5 pixels, but not among 4.
    between = {"padding": ((4, 4), (4, 4)), "dilation": (5, 5), "stride": (1, 1)}
    calls_of = [(windows | between | {"x": (1, 1, n, n)}, None, None, None) for n in (4, 5)]
    assert calls.max_pool2d_with_indices(*calls_of[0]) == code
    assert calls.max_pool2d_with_indices(*calls_of[1]) == CONSTANTS["NULL_POINTER"]


def test_missing_arrays_are_refused(calls):
    code, nothing = CONSTANTS["NULL_POINTER"], [None] * 8
    assert calls.without_sizes() == {code}
    assert calls.conv2d(GOOD, *nothing[:5]) == calls.conv2d_backward(GOOD, *nothing[:7]) == code
    assert calls.conv_transpose2d(GOOD, *nothing[:5]) == code
    assert calls.conv_transpose2d_backward(GOOD, *nothing[:7]) == code
    assert (
        calls.max_pool2d(GOOD_WINDOW, *nothing[:3])
        == calls.avg_pool2d(GOOD_WINDOW, *nothing[:3])
        == code
    )
    assert calls.max_pool2d_backward(GOOD_WINDOW, *nothing[:4]) == code
    assert calls.avg_pool2d_backward(GOOD_WINDOW, *nothing[:3]) == code
    windows = any_windows(GOOD_WINDOW)
    assert calls.max_pool2d_with_indices(windows, *nothing[:3]) == code
    assert calls.max_pool2d_with_indices_backward(windows, *nothing[:3]) == code
    assert calls.avg_pool2d_with_divisor(windows, *nothing[:2]) == code
    assert calls.avg_pool2d_with_divisor_backward(windows, *nothing[:2]) == code
    assert calls.im2col(GOOD_WINDOW, None, None) == calls.col2im(GOOD_WINDOW, None, None) == code


def test_every_status_has_its_own_message(calls):
    messages = {calls.status_message(status) for status in [*CONSTANTS.values(), -99]}
    assert len(messages) == len(set(CONSTANTS.values()) | {-99}) - 1  # of 0 and 1, both a success


@pytest.mark.parametrize("window", [(5, 1, 0, 1), (3, 2, 1, 2), (9, 9, 0, 1)])
def test_output_extent(calls, window):
    assert calls.output_extent(9, *window) == reference.output_shape((9, 9), *window)[0]


def test_what_runs(calls):
    assert calls.abi == (1, 1)
    assert calls.isa == _peak.instructions(dispatch.tiles)
    assert calls.struct_sizes == {name: len(fields) for name, fields in FIELDS.items()}


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_features_on_the_consumers_own_threads(consumer, num_threads):
    x, weight, bias = values(9, 1, 28, 28), values(6, 1, 5, 5, seed=1), values(6, seed=2)
    y, used = consumer("features").features(x, weight, bias, num_threads)
    expected = reference.max_pool2d(np.maximum(reference.conv2d(x, weight, bias), 0), 2)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    assert y.tobytes() == consumer("features").features(x, weight, bias, 1)[0].tobytes()
    if sys.platform == "linux":
        assert used == num_threads


def test_the_cython_example_of_the_document(consumer):
    x, weight = values(5, 3, 9, 8), values(4, 3, 3, 2, seed=1)
    y = consumer("document").conv2d(x, weight, 2)
    np.testing.assert_allclose(y, reference.conv2d(x, weight), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="larger than the padded image"):
        consumer("document").conv2d(x[:, :, :2].copy(), weight, 2)


def test_features_refuses_bad_sizes(consumer):
    with pytest.raises(ValueError, match="a window is larger than the padded image"):
        consumer("features").features(values(1, 1, 4, 4), values(6, 1, 5, 5), values(6), 1)


def test_edges_from_python(consumer):
    images = values(3, 12, 10)
    sobel = consumer("edges").SOBEL
    across, down = reference.conv2d(images[:, None], sobel, padding=1).swapaxes(0, 1)
    expected = reference.max_pool2d(np.hypot(across, down)[:, None], 2)[:, 0]
    np.testing.assert_allclose(consumer("edges").edges(images), expected, rtol=1e-4, atol=1e-5)
