"""Projects of others: tests/consumer, built out of tree against this lenet5c, and run."""

import ctypes
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from functional_cases import plan_of

from lenet5c import kernels, reference
from lenet5c.kernels import cykernels
from lenet5c.kernels.simd import _peak, dispatch

CONSUMER = Path(__file__).parent / "consumer"
DOCUMENT = (Path(__file__).parent.parent / "docs" / "embedding.md").read_text(encoding="utf-8")

# Frozen: a line may be added, with a new version of the package; a line that changes breaks what
# others have compiled.
CONV2D, POOL2D, IM2COL = (
    f"struct __pyx_t_7lenet5c_7kernels_9cykernels_{name} const *"
    for name in ("Conv2dSizes", "Pool2dSizes", "Im2colSizes")
)
SIGNATURES = {
    "abi_version": "int (void)",
    "instruction_set": "char const *(void)",
    "status_message": "char const *(Py_ssize_t)",
    "output_extent": "Py_ssize_t (Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t)",
    "conv2d_scratch": f"Py_ssize_t ({CONV2D})",
    "conv2d_backward_scratch": f"Py_ssize_t ({CONV2D})",
    "pool2d_scratch": f"Py_ssize_t ({POOL2D})",
    "im2col_scratch": f"Py_ssize_t ({IM2COL})",
    "conv2d_f32": f"int ({CONV2D}, float const *, float const *, float const *, float *, void *)",
    "conv2d_backward_f32": f"int ({CONV2D}, {3 * 'float const *, '}{3 * 'float *, '}void *)",
    "max_pool2d_f32": f"int ({POOL2D}, float const *, float *, void *)",
    "max_pool2d_backward_f32": f"int ({POOL2D}, float const *, float const *, float *, void *)",
    "avg_pool2d_f32": f"int ({POOL2D}, float const *, float *, void *)",
    "avg_pool2d_backward_f32": f"int ({POOL2D}, float const *, float *, void *)",
    "im2col_f32": f"int ({IM2COL}, float const *, float *)",
    "im2col_f64": f"int ({IM2COL}, double const *, double *)",
    "col2im_f32": f"int ({IM2COL}, float const *, float *)",
    "col2im_f64": f"int ({IM2COL}, double const *, double *)",
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
}
WINDOW = "stride_h stride_w padding_h padding_w"
FIELDS = {
    "Conv2dSizes": f"N C H W O KH KW {WINDOW} dilation_h dilation_w groups".split(),
    "Pool2dSizes": f"N C H W KH KW {WINDOW} count_include_pad".split(),
    "Im2colSizes": f"N C H W KH KW {WINDOW} dilation_h dilation_w".split(),
}


def declarations():
    """cykernels.pxd as it is installed, without comments."""
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
    assert {name for name in [*SIGNATURES, *CONSTANTS] if f"`{name}`" not in DOCUMENT} == set()


def test_the_numpy_example_of_the_document_runs():
    example = re.search(r"^```python\n(import numpy.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)[1]
    exec(example, {})


# From here on with the consumer


@pytest.fixture(scope="session")
def consumer(tmp_path_factory):
    """Return a function that imports a consumer's module; `document` is of docs/embedding.md."""
    for tool in ("Cython", "setuptools"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed")
    compiler = (sysconfig.get_config_var("CC") or "").split(" ")[0]
    if compiler and shutil.which(compiler) is None:
        pytest.skip(f"there is no C compiler: {compiler}")
    folder = tmp_path_factory.mktemp("embedding") / "project"
    shutil.copytree(
        CONSUMER, folder, ignore=shutil.ignore_patterns("build", "*.c", "*.so", "__pycache__")
    )
    (example,) = re.findall(r"^```cython\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    (folder / "consumer" / "document.pyx").write_text(example)
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    built = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert built.returncode == 0, built.stdout
    sys.path.insert(0, str(folder))
    try:
        yield lambda name: importlib.import_module(f"consumer.{name}")
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def calls(consumer):
    return consumer("calls")


class Scratch:
    """Memory of an exact size at an odd address, full of not-a-number, watched on both sides."""

    def __init__(self, size):
        assert size >= 0
        self.all = np.full(size + 130, 0xFF, np.uint8)
        self.memory = self.all[65 : 65 + size]

    def check(self):
        assert np.all(self.all[:65] == 0xFF) and np.all(self.all[65 + len(self.memory) :] == 0xFF)


def conv2d_settings(x, filters, stride=1, padding=0, dilation=1, groups=1):
    pairs = {"stride": stride, "padding": padding, "dilation": dilation}
    return {"x": x, "filters": filters, "groups": groups} | {
        key: reference.pair(v) for key, v in pairs.items()
    }


def window_settings(x, kernel_size, stride=1, padding=0, **others):
    settings = {"kernel_size": kernel_size, "stride": stride, "padding": padding, **others}
    return {"x": x} | {
        key: v if key == "count_include_pad" else reference.pair(v) for key, v in settings.items()
    }


def values(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


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
]


def conv2d_arguments(settings):
    """x, weight, bias, dy, and the keyword arguments of the functions on arrays."""
    (N, C, H, W), (O, KH, KW) = settings["x"], settings["filters"]
    keywords = {key: settings[key] for key in ("stride", "padding", "dilation", "groups")}
    size = reference.output_shape(
        (H, W), (KH, KW), settings["stride"], settings["padding"], settings["dilation"]
    )
    weight = values(O, C // settings["groups"], KH, KW, seed=1)
    return values(N, C, H, W), weight, values(O, seed=2), values(N, O, *size, seed=3), keywords


def ways(x, weight, keywords):
    conv = plan_of(x, weight, **keywords)
    return {conv.way, conv.dx_way}


def flat_like(array):
    return np.full(array.size, np.nan, array.dtype)


@pytest.mark.parametrize("settings", CONV2D_CASES, ids=str)
class TestConv2d:
    def test_forward(self, calls, settings):
        x, weight, bias, dy, keywords = conv2d_arguments(settings)
        for given in (bias, None):
            y, scratch = flat_like(dy), Scratch(calls.conv2d_scratch(settings))
            assert calls.conv2d(settings, x.ravel(), weight.ravel(), given, y, scratch.memory) == 0
            scratch.check()
            self.compare(y, kernels.conv2d(x, weight, given, **keywords), ways(x, weight, keywords))
            np.testing.assert_allclose(
                y.reshape(dy.shape),
                reference.conv2d(x, weight, given, **keywords),
                rtol=1e-4,
                atol=1e-4,
            )

    def test_backward(self, calls, settings):
        x, weight, _, dy, keywords = conv2d_arguments(settings)
        grads = self.backward(calls, settings, (True, True, True))
        used = ways(x, weight, keywords)
        of_numpy = kernels.conv2d_backward(dy, x, weight, **keywords)
        of_reference = reference.conv2d_backward(dy, x, weight, **keywords)
        for ours, theirs, expected in zip(grads, of_numpy, of_reference, strict=True):
            self.compare(ours, theirs, used)
            scale = max(1, np.abs(expected).max(initial=0))
            np.testing.assert_allclose(
                ours.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5 * scale
            )

    def test_backward_computes_what_is_wanted(self, calls, settings):
        every = self.backward(calls, settings, (True, True, True))
        for wanted in np.ndindex(2, 2, 2):
            for ours, expected in zip(self.backward(calls, settings, wanted), every, strict=True):
                assert ours is None or ours.tobytes() == expected.tobytes()

    @staticmethod
    def backward(calls, settings, wanted):
        x, weight, bias, dy, _ = conv2d_arguments(settings)
        outs = [
            flat_like(array) if want else None
            for array, want in zip((x, weight, bias), wanted, strict=True)
        ]
        scratch = Scratch(calls.conv2d_backward_scratch(settings))
        needed = x.ravel() if wanted[1] else None, weight.ravel() if wanted[0] else None
        assert calls.conv2d_backward(settings, dy.ravel(), *needed, *outs, scratch.memory) == 0
        scratch.check()
        return outs

    @staticmethod
    def compare(ours, theirs, used):
        if used <= {"channels", "units"}:
            assert ours.tobytes() == theirs.tobytes()
        else:  # the functions on arrays know more ways, which add up in another order
            np.testing.assert_allclose(ours, theirs.ravel(), rtol=1e-4, atol=1e-4)


def test_all_ways_are_compared():
    used = set()
    for settings in CONV2D_CASES:
        x, weight, *_, keywords = conv2d_arguments(settings)
        used |= ways(x, weight, keywords)
    assert used == {"channels", "units", "tiles", "columns"}


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
def test_pooling(calls, settings, special, kind):
    x = values(*settings["x"])
    if special is not None:
        x[np.random.default_rng(1).random(x.shape) < 0.2] = special
    arguments = [settings["kernel_size"], settings["stride"], settings["padding"]]
    arguments += [settings.get("count_include_pad", True)] if kind == "avg" else []
    with np.errstate(invalid="ignore"):
        expected = getattr(kernels, f"{kind}_pool2d")(x, *arguments)
    y, scratch = flat_like(expected), Scratch(calls.pool2d_scratch(settings))
    assert getattr(calls, f"{kind}_pool2d")(settings, x.ravel(), y, scratch.memory) == 0
    assert np.array_equal(y, expected.ravel(), equal_nan=True)
    dy, dx = values(*expected.shape, seed=1), flat_like(x)
    expected = getattr(kernels, f"{kind}_pool2d_backward")(
        dy, x if kind == "max" else x.shape, *arguments
    )
    needed = (x.ravel(),) if kind == "max" else ()
    assert (
        getattr(calls, f"{kind}_pool2d_backward")(settings, dy.ravel(), *needed, dx, scratch.memory)
        == 0
    )
    assert dx.tobytes() == expected.tobytes()
    scratch.check()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
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


GOOD = conv2d_settings((2, 4, 9, 9), (6, 3, 3), groups=2)
GOOD_WINDOW = window_settings((2, 4, 9, 9), (3, 3), dilation=1)
LARGE = 2**62


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
    assert calls.conv2d_scratch(settings) == calls.conv2d(settings, *nothing[:5]) == code
    assert (
        calls.conv2d_backward_scratch(settings)
        == calls.conv2d_backward(settings, *nothing[:7])
        == code
    )
    if "groups" in change or "filters" in change:
        return
    settings = GOOD_WINDOW | change
    assert calls.im2col_scratch(settings) == calls.im2col(settings, None, None) == code
    assert calls.col2im(settings, None, None) == code
    if "dilation" not in change and "padding" not in change:
        assert calls.pool2d_scratch(settings) == calls.max_pool2d(settings, *nothing[:3]) == code
        assert (
            calls.avg_pool2d(settings, *nothing[:3])
            == calls.avg_pool2d_backward(settings, *nothing[:3])
            == code
        )
        assert calls.max_pool2d_backward(settings, *nothing[:4]) == code


def test_poolings_padding_is_half_a_window_at_most(calls):
    assert (
        calls.pool2d_scratch(window_settings((1, 1, 4, 4), 2, padding=2))
        == CONSTANTS["PADDING_TOO_LARGE"]
    )


def test_missing_arrays_are_refused(calls):
    code, nothing = CONSTANTS["NULL_POINTER"], [None] * 8
    assert calls.without_sizes() == {code}
    assert calls.conv2d(GOOD, *nothing[:5]) == calls.conv2d_backward(GOOD, *nothing[:7]) == code
    assert (
        calls.max_pool2d(GOOD_WINDOW, *nothing[:3])
        == calls.avg_pool2d(GOOD_WINDOW, *nothing[:3])
        == code
    )
    assert calls.max_pool2d_backward(GOOD_WINDOW, *nothing[:4]) == code
    assert calls.avg_pool2d_backward(GOOD_WINDOW, *nothing[:3]) == code
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
