"""Random calls of the kernels on plain arrays, from Python and from C, compared with references."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from lenet5c import kernels, reference
from lenet5c.kernels import cykernels
from torture.guarded import GuardedMemory
from torture.rounding import AMPLIFICATION, amplification, check, sum_error

# A case takes a generator and memory, and returns its results, whose bits are the same for any
# number of threads, and with AVX2 as with AVX-512 where it has the mark `SAME`.
Results = list[np.ndarray]
Case = Callable[[np.random.Generator, GuardedMemory], Results]


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, exact: bool) -> np.ndarray:
    """Return small integers, whose sums are exact, or normal numbers."""
    if exact:
        return rng.integers(-3, 4, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def size(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    """Return a pair of sizes, as often as not equal ones."""
    a, b = rng.integers(low, high, size=2, endpoint=True).tolist()
    return (a, a) if rng.random() < 0.5 else (a, b)


class Window:
    """Random settings of a window, and an image that has room for it."""

    def __init__(self, rng: np.random.Generator, pooling: bool) -> None:
        self.kernel, self.stride = size(rng, 1, 5), size(rng, 1, 4)
        self.dilation = (1, 1) if pooling else size(rng, 1, 3)
        self.padding = size(rng, 0, 3)
        if pooling:
            self.padding = tuple(int(rng.integers(k // 2, endpoint=True)) for k in self.kernel)
        span = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        self.image = tuple(
            max(1, s - 2 * p) + int(rng.integers(8))
            for s, p in zip(span, self.padding, strict=True)
        )
        self.options = {"stride": self.stride, "padding": self.padding}
        if not pooling:
            self.options["dilation"] = self.dilation
        self.out = reference.output_shape(self.image, self.kernel, **self.options)
        self.taps = self.kernel[0] * self.kernel[1]
        self.batch = int(rng.choice([0, 1, 1, 2, 3, 5, 15, 16, 17, 33, 50]))


def call(rng: np.random.Generator, memory: GuardedMemory, name: str, arrays: list[np.ndarray],
         options: dict[str, Any], shapes: list[tuple[int, ...]]) -> Results:  # fmt: skip
    """Call a kernel with arrays under guard, with `out` or without, on 1 to 3 threads."""
    dtype, given = arrays[0].dtype, [memory.put(array) for array in arrays]
    if rng.random() < 0.5:
        out = [memory.empty(shape, dtype) for shape in shapes]
        options = options | {"out": out[0] if len(out) == 1 else tuple(out)}
    results = getattr(kernels, name)(*given, **options, num_threads=int(rng.integers(1, 4)))
    if rng.random() < 0.2:
        options = {key: value for key, value in options.items() if key != "out"}
        others = getattr(kernels, name)(*given, **options, num_threads=int(rng.integers(1, 4)))
        for a, b in zip(_as_list(results), _as_list(others), strict=True):
            assert a.tobytes() == b.tobytes(), "bits depend on the number of threads"
    return _as_list(results)


def _as_list(results: Any) -> Results:
    return list(results) if isinstance(results, tuple) else [results]


class Convolution:
    """A random convolution, its counterparts' results, and their errors."""

    def __init__(self, rng: np.random.Generator, dtype: Any) -> None:
        w = self.window = Window(rng, pooling=False)
        self.groups = int(rng.choice([1, 1, 1, 2, 3]))
        if rng.random() < 0.2:  # as Winograd's transforms take them
            taps = int(rng.choice([3, 5]))
            w.kernel, w.padding = (taps, taps), (taps // 2, taps // 2)
            w.stride, w.dilation = (1, 1), (1, 1)
            w.options = {"stride": 1, "padding": taps // 2, "dilation": 1}
            w.out, w.taps = w.image, taps * taps
        C, O = (self.groups * rng.integers(1, 6, size=2)).tolist()
        if rng.random() < 0.2:
            C, O = (self.groups * rng.integers(1, 40, size=2)).tolist()
            w.batch = min(w.batch, 3)
        self.C, self.O, self.dtype = C, O, dtype
        per_group, outputs = C // self.groups, O // self.groups
        self.amplification = 0.0
        if dtype == np.float32:
            self.amplification = amplification(w.kernel, w.stride, w.dilation, per_group, outputs)
        five_taps = self.amplification == AMPLIFICATION[5]
        self.exact = bool(rng.random() < 0.3) and not five_taps
        self.x = draw(rng, (w.batch, C, *w.image), dtype, self.exact)
        self.weight = draw(rng, (O, per_group, *w.kernel), dtype, self.exact)
        self.bias = draw(rng, (O,), dtype, self.exact) if rng.random() < 0.7 else None
        self.dy = draw(rng, (w.batch, O, *w.out), dtype, self.exact)
        self.options = w.options | {"groups": self.groups}
        self.terms = (
            per_group * w.taps, outputs * w.taps, w.batch * w.out[0] * w.out[1],
            w.batch * w.out[0] * w.out[1],
        )  # fmt: skip

    def error(self, part: int, sizes: np.ndarray) -> np.ndarray:
        """Return the error of the result, dx, dweight or dbias; Winograd's mix neighbors."""
        if self.exact or not sizes.size:
            return np.zeros(sizes.shape)
        if self.amplification:
            sizes = np.full(sizes.shape, self.amplification * sizes.max())
        return sum_error(self.terms[part], self.dtype) * sizes

    def check_forward(self, y: np.ndarray) -> None:
        """Compare y with the counterpart's."""
        bias = None if self.bias is None else abs(self.bias)
        sizes = reference.conv2d(abs(self.x), abs(self.weight), bias, **self.options)
        counterpart = reference.conv2d(self.x, self.weight, self.bias, **self.options)
        check("y", y, counterpart, self.error(0, sizes), self.dtype)

    def check_backward(self, results: Results) -> None:
        """Compare dx, dweight and dbias with the counterpart's."""
        magnitudes = abs(self.dy), abs(self.x), abs(self.weight)
        sizes = reference.conv2d_backward(*magnitudes, **self.options)
        counterparts = reference.conv2d_backward(self.dy, self.x, self.weight, **self.options)
        for part, (name, result) in enumerate(
            zip(("dx", "dweight", "dbias"), results, strict=True)
        ):
            check(name, result, counterparts[part], self.error(part + 1, sizes[part]), self.dtype)


def _dtype(rng: np.random.Generator) -> Any:
    return np.float32 if rng.random() < 0.75 else np.float64


def conv2d(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    case = Convolution(rng, _dtype(rng))
    arrays = [case.x, case.weight, *([] if case.bias is None else [case.bias])]
    shape = (case.window.batch, case.O, *case.window.out)
    results = call(rng, memory, "conv2d", arrays, case.options, [shape])
    case.check_forward(results[0])
    return results


def conv2d_backward(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    case = Convolution(rng, _dtype(rng))
    arrays = [case.dy, case.x, case.weight]
    shapes = [case.x.shape, case.weight.shape, (case.O,)]
    results = call(rng, memory, "conv2d_backward", arrays, case.options, shapes)
    case.check_backward(results)
    return results


class Pooling:
    """A random pooling with many ties, its counterparts' results, and their errors."""

    def __init__(self, rng: np.random.Generator, dtype: Any) -> None:
        w = self.window = Window(rng, pooling=True)
        self.options: dict[str, Any] = w.options | {"kernel_size": w.kernel}
        self.count: dict[str, Any] = {"count_include_pad": bool(rng.integers(2))}
        self.C = int(rng.integers(1, 7))
        self.draw(rng, (w.batch, self.C, *w.image), dtype)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> None:
        """Draw the arrays for an x of this shape."""
        self.dtype = dtype
        self.x = draw(rng, shape, dtype, exact=True)
        out = reference.avg_pool2d(self.x, **self.options).shape
        self.dy = draw(rng, out, dtype, exact=bool(rng.random() < 0.5))
        if rng.random() < 0.1 and self.x.size:
            self.x.reshape(-1)[int(rng.integers(self.x.size))] = -np.inf

    def check(self, name: str, result: np.ndarray) -> None:
        """Compare with the counterpart; what a maximum picks is exact."""
        factor = sum_error(self.window.taps, self.dtype)
        if name == "max_pool2d":
            check("y", result, reference.max_pool2d(self.x, **self.options), 0, self.dtype)
        elif name == "max_pool2d_backward":
            counterpart, sizes = (
                reference.max_pool2d_backward(dy, self.x, **self.options)
                for dy in (self.dy, abs(self.dy))
            )
            check("dx", result, counterpart, factor * sizes, self.dtype)
        elif name == "avg_pool2d":
            options = self.options | self.count
            counterpart, sizes = (reference.avg_pool2d(x, **options) for x in (self.x, abs(self.x)))
            check("y", result, counterpart, factor * sizes, self.dtype)
        else:
            options = self.options | self.count
            counterpart, sizes = (
                reference.avg_pool2d_backward(dy, self.x.shape, **options)
                for dy in (self.dy, abs(self.dy))
            )
            check("dx", result, counterpart, factor * sizes, self.dtype)


class AnyPooling(Pooling):
    """The same with all that the functions on arrays take."""

    def __init__(self, rng: np.random.Generator, dtype: Any) -> None:
        super().__init__(rng, dtype)
        w = self.window
        if rng.random() < 0.3:  # windows that are halved
            w.kernel, w.stride, w.taps = (2, 2), (2, 2), 4
            w.image = size(rng, 2, 40)
        dilation = (1, 1) if w.kernel == w.stride == (2, 2) else size(rng, 1, 3)
        reach = [d * (k - 1) + 1 for k, d in zip(w.kernel, dilation, strict=True)]
        w.image = tuple(max(n, r) for n, r in zip(w.image, reach, strict=True))
        padding: Any = tuple(
            tuple(rng.integers(0, r, size=2).tolist()) if rng.random() < 0.5 else (0, 0)
            for r in reach
        )
        self.options |= {
            "kernel_size": w.kernel,
            "stride": w.stride,
            "dilation": dilation,
            "padding": "same" if rng.random() < 0.1 else padding,
            "ceil_mode": bool(rng.integers(2)),
            "data_format": "NHWC" if rng.random() < 0.3 else "NCHW",
        }
        if rng.random() < 0.3:
            self.count["divisor_override"] = int(rng.integers(1, 10))
        self.C = int(rng.choice([1, 2, 3, 5, 16, 130]))
        shape = (min(w.batch, 3 if self.C > 5 else 50), self.C, *w.image)
        if self.options["data_format"] == "NHWC":
            shape = (shape[0], *w.image, self.C)
        self.draw(rng, shape, dtype)


def pool2d(rng: np.random.Generator, memory: GuardedMemory, name: str) -> Results:
    """Call one of the four functions of pooling."""
    case = AnyPooling(rng, _dtype(rng))
    backward, options = name.endswith("backward"), dict(case.options)
    if name.startswith("avg"):
        case.x = np.where(np.isfinite(case.x), case.x, case.dtype(0))
        options |= case.count
    arrays = {
        "max_pool2d": [case.x],
        "avg_pool2d": [case.x],
        "max_pool2d_backward": [case.dy, case.x],
    }
    if name == "avg_pool2d_backward":
        options["x_shape"] = case.x.shape
    shape = case.x.shape if backward else case.dy.shape
    results = call(rng, memory, name, arrays.get(name, [case.dy]), options, [shape])
    case.check(name, results[0])
    return results


def pool2d_indices(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    """Call max pooling for its indices, and its backward with them, or with wrong ones."""
    case = AnyPooling(rng, _dtype(rng))
    x, dy, options = memory.put(case.x), memory.put(case.dy), case.options
    outs = memory.empty(case.dy.shape, case.dtype), memory.empty(case.dy.shape, np.int64)
    threads = int(rng.integers(1, 4))
    y, indices = kernels.max_pool2d(
        x, **options, return_indices=True, out=outs if rng.random() < 0.5 else None,
        num_threads=threads,
    )  # fmt: skip
    case.check("max_pool2d", y)
    _, counterpart = reference.max_pool2d(case.x, **options, return_indices=True)
    assert np.array_equal(indices, counterpart), "indices differ from the counterpart's"
    indices = memory.put(indices)
    options = options | {"num_threads": threads}
    dx = kernels.max_pool2d_backward(dy, case.x.shape, **options, indices=indices)
    case.check("max_pool2d_backward", dx)
    if indices.size and rng.random() < 0.3:
        wrong = indices.copy()
        wrong.reshape(-1)[int(rng.integers(wrong.size))] = int(rng.choice([-1, 2**31, 2**62]))
        try:
            kernels.max_pool2d_backward(dy, case.x.shape, **options, indices=memory.put(wrong))
        except ValueError:
            pass
        else:
            raise AssertionError("an index outside the image was taken")
    return [y, dx]


def _columns(rng: np.random.Generator) -> tuple[tuple[int, ...], dict[str, Any], Any]:
    """Return the shape of images, the settings of their windows, in any layout, and a dtype."""
    window, channels = Window(rng, pooling=False), int(rng.integers(1, 5))
    options = {"kernel_size": window.kernel, **window.options}
    if rng.random() < 0.3:
        more = rng.integers(4, size=2).tolist()
        options["padding"] = tuple(
            (before, before + after) for before, after in zip(window.padding, more, strict=True)
        )
    elif rng.random() < 0.2:
        options["padding"] = "same"
    options["layout"] = str(rng.choice(["columns", "rows"]))
    options["data_format"] = str(rng.choice(["NCHW", "NHWC"]))
    image = (channels, *window.image)
    if options["data_format"] == "NHWC":
        image = (*window.image, channels)
    return (window.batch, *image), options, _dtype(rng)


def im2col(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    shape, options, dtype = _columns(rng)
    x = draw(rng, shape, dtype, exact=False)
    counterpart = reference.im2col(x, **options)
    results = call(rng, memory, "im2col", [x], options, [counterpart.shape])
    check("col", results[0], counterpart, 0, dtype)
    return results


def col2im(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    shape, options, dtype = _columns(rng)
    col = draw(rng, reference.im2col(np.zeros(shape), **options).shape, dtype, exact=False)
    options["output_size"] = shape[1:3] if options["data_format"] == "NHWC" else shape[2:]
    counterpart, sizes = (reference.col2im(each, **options) for each in (col, abs(col)))
    results = call(rng, memory, "col2im", [col], options, [counterpart.shape])
    taps = options["kernel_size"][0] * options["kernel_size"][1]
    check("x", results[0], counterpart, sum_error(taps, dtype) * sizes, dtype)
    return results


# From C: pointers, and scratch of as many bytes as the functions ask for


@cache
def function(name: str) -> Any:
    """Return a function of cykernels, whose arguments are addresses."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = cykernels.__pyx_capi__[name]
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    signature = name_of(capsule)
    arguments = [ctypes.c_void_p] * (signature.count(b",") + 1)
    result = ctypes.c_ssize_t if "scratch" in name else ctypes.c_int
    return ctypes.CFUNCTYPE(result, *arguments)(pointer(capsule, signature))


def address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def run_c(name: str, sizes: list[int], arrays: list[np.ndarray | None], memory: GuardedMemory,
          scratch: str | None) -> None:  # fmt: skip
    """Call a function of cykernels on C-contiguous arrays."""
    structure = (ctypes.c_ssize_t * len(sizes))(*sizes)
    at = ctypes.addressof(structure)
    arguments = [address(array) for array in arrays]
    if scratch:
        needed = function(scratch)(at)
        assert needed >= 0, f"{scratch} returned {needed}"
        arguments.append(memory.scratch(needed))
    status = function(name)(at, *arguments)
    assert status == 0, f"{name} returned {status}"


def _plain(memory: GuardedMemory, array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else memory.put(array, ("contiguous",))


def c_conv2d(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    case = Convolution(rng, _dtype(rng))
    w, doubles = case.window, case.dtype == np.float64
    y = memory.empty(case.dy.shape, case.dtype, ("contiguous",))
    arrays = [_plain(memory, array) for array in (case.x, case.weight, case.bias)]
    name, scratch = ("conv2d_f64", "_f64") if doubles else ("conv2d_f32", "")
    run_c(name, _conv_sizes(case), [*arrays, y], memory, f"conv2d_scratch{scratch}")
    case.check_forward(y)
    assert y.shape == (w.batch, case.O, *w.out)
    return [y]


def c_conv2d_backward(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    case = Convolution(rng, _dtype(rng))
    arrays = [_plain(memory, array) for array in (case.dy, case.x, case.weight)]
    shapes = (case.x.shape, case.weight.shape, (case.O,))
    outs = [memory.empty(shape, case.dtype, ("contiguous",)) for shape in shapes]
    doubles = case.dtype == np.float64
    name, scratch = ("backward_f64", "_f64") if doubles else ("backward_f32", "")
    run_c(
        f"conv2d_{name}",
        _conv_sizes(case),
        [*arrays, *outs],
        memory,
        f"conv2d_backward_scratch{scratch}",
    )
    case.check_backward(outs)
    return outs


def _conv_sizes(case: Convolution) -> list[int]:
    w = case.window
    return [w.batch, case.C, *w.image, case.O, *w.kernel, *reference.pair(w.options["stride"]),
            *reference.pair(w.options["padding"]), *reference.pair(w.options["dilation"]),
            case.groups]  # fmt: skip


def c_pool2d(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    case = Pooling(rng, _dtype(rng))
    name = str(
        rng.choice(["max_pool2d", "max_pool2d_backward", "avg_pool2d", "avg_pool2d_backward"])
    )
    if name.startswith("avg"):
        case.x = np.where(np.isfinite(case.x), case.x, case.dtype(0))
    w = case.window
    sizes = [w.batch, case.C, *w.image, *w.kernel, *w.stride, *w.padding,
             int(case.count["count_include_pad"])]  # fmt: skip
    arrays = {
        "max_pool2d_backward": [case.dy, case.x], "avg_pool2d_backward": [case.dy],
    }.get(name, [case.x])  # fmt: skip
    shape = case.x.shape if name.endswith("backward") else case.dy.shape
    out, bits = memory.empty(shape, case.dtype, ("contiguous",)), 8 * np.dtype(case.dtype).itemsize
    given = [_plain(memory, array) for array in arrays]
    run_c(f"{name}_f{bits}", sizes, [*given, out], memory, "pool2d_scratch")
    case.check(name, out)
    return [out]


def c_columns(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    window, dtype, C = Window(rng, pooling=False), _dtype(rng), int(rng.integers(1, 5))
    bits, to_columns = np.dtype(dtype).itemsize * 8, bool(rng.integers(2))
    sizes = [window.batch, C, *window.image, *window.kernel, *window.stride, *window.padding,
             *window.dilation]  # fmt: skip
    x_shape = (window.batch, C, *window.image)
    col_shape = (window.batch, C * window.taps, window.out[0] * window.out[1])
    given = draw(rng, x_shape if to_columns else col_shape, dtype, exact=False)
    out = memory.empty(col_shape if to_columns else x_shape, dtype, ("contiguous",))
    options = {"kernel_size": window.kernel, **window.options}
    run_c(f"{'im2col' if to_columns else 'col2im'}_f{bits}", sizes, [_plain(memory, given), out],
          memory, None)  # fmt: skip
    if to_columns:
        check("col", out, reference.im2col(given, **options), 0, dtype)
    else:
        counterpart, magnitude = (
            reference.col2im(each, window.image, **options) for each in (given, abs(given))
        )
        check("x", out, counterpart, sum_error(window.taps, dtype) * magnitude, dtype)
    return [out]


def _pooling(name: str) -> Case:
    return lambda rng, memory: pool2d(rng, memory, name)


CASES: dict[str, Case] = {
    "conv2d": conv2d,
    "conv2d_backward": conv2d_backward,
    **{
        name: _pooling(name)
        for name in ("max_pool2d", "max_pool2d_backward", "avg_pool2d", "avg_pool2d_backward")
    },
    "max_pool2d with indices": pool2d_indices,
    "im2col": im2col,
    "col2im": col2im,
    "cykernels.conv2d": c_conv2d,
    "cykernels.conv2d_backward": c_conv2d_backward,
    "cykernels.pool2d": c_pool2d,
    "cykernels.columns": c_columns,
}
