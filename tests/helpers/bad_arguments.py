"""Bad arguments for every compiled function and method; run as a program, as it may crash.

Prints each call before it is made, so that the last line shows a crash, and finally the calls that
should have raised an error but did not.
"""

import datetime
import sys
from dataclasses import fields, replace

import numpy as np

from lenet5c import kernels, nn
from lenet5c.kernels import _arrays, _im2col, _openmp
from lenet5c.kernels.direct import _direct
from lenet5c.kernels.engine import _program, _update, _workspace, lowering, ops
from lenet5c.kernels.ops import _distort, _softmax
from lenet5c.kernels.planes import _pooling, plan
from lenet5c.kernels.simd import _cpu, _peak, dispatch

TILES, DIRECT = dispatch.tiles, dispatch.direct["f"]
WINDOW = ((2, 2), (1, 1), (0, 0), (1, 1))
CLASSES = (
    _im2col.Columns,
    _direct.Strips,
    _distort.Warp,
    _pooling.Pooling,
    _program.Program,
    _update.Update,
    _workspace.Workspace,
)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def read_only(*shape):
    array = zeros(*shape)
    array.flags.writeable = False
    return array


# All that a warp can do, to each image.
WARP = dict.fromkeys(
    [
        "translation",
        "scaling",
        "squeeze",
        "shear",
        "rotation",
        "flip",
        "flip_vertical",
        "crop",
        "brightness",
        "contrast",
        "saturation",
        "hue",
        "grayscale",
        "erasing_area",
    ],
    0.1,
) | {"elastic": 8, "crop_padding": 2, "outside": 2, "erasing": 1, "mixup": 1, "probability": 1}


class Distortion:
    """Has a warp made anew each time, or what it is given."""

    stream = 3

    def __init__(self, *warp):
        self.given = warp

    @property
    def warp(self):
        return self.given[0] if self.given else warp()


def warp():
    return _distort.Warp(WARP, np.ones(5, np.float32) / 5, np.linspace(0, 1, 5))


def samples_with(**values):
    """Return samples of bytes, with fields changed after the check."""
    samples = nn.Samples(zeros(4, 1, 3, 3, dtype=np.uint8), offset=zeros(9))
    for name, value in values.items():
        object.__setattr__(samples, name, value)
    return samples


class Record:
    def __init__(self, losses):
        self.losses = losses


PLAN = lowering.lower((1, 3, 3), [ops.Conv2d(0, 8, 2, (2, 2)), ops.Flatten()])
PROGRAM = _program.Program(PLAN, TILES)
NO_OPS = _program.Program(lowering.lower((8,), []), TILES)
PARAMS = 10
VECTORS = {"velocity": zeros(PARAMS)}
SETTINGS = {"lr": [0.1], "momentum": 0.9, "nesterov": 0, "weight_decay": 0}
UPDATE = _update.Update(TILES, "sgd", VECTORS, SETTINGS, 1)
LABELS = zeros(4, dtype=np.int32)
X, Y = zeros(4, 9), zeros(4, 8)
PLANS = {
    purpose: _direct.Strips(DIRECT, purpose, 4, 1, (1, 3, 3), (2, 2, 2), WINDOW, 1)
    for purpose in ("y", "dx", "dweight")
}
X4, Y4, WEIGHT = zeros(36), zeros(32), zeros(8)
HALVES = ((2, 2), (2, 2), (0, 0), (1, 1))
POOLING_OF = [plan.PLANES, "f", (3, 4, 4, 1), (2, 2), HALVES, ((0, 4), (0, 4)), 0]
POOLING = _pooling.Pooling(*POOLING_OF)
BAD_SAMPLES = (
    Y, zeros(4, 8, dtype=np.uint8), zeros(4, 9, dtype=np.uint8), zeros(4, 9, dtype=np.float64),
    *(samples_with(distortion=Distortion(value)) for value in (None, object(), TILES)),
    samples_with(distortion=object()), samples_with(images=None), samples_with(offset=None),
    samples_with(offset=zeros(8)), samples_with(index=np.array([4])), samples_with(scale=None),
    samples_with(index=np.array([-1])), samples_with(index=zeros(2)),
    samples_with(numbers=np.arange(3)), samples_with(numbers=zeros(4)),
    nn.Samples.__new__(nn.Samples),
)  # fmt: skip

# What raises for any argument that may not be None, and what is added for arrays and numbers.
ANY = (object(), "text", b"bytes", datetime.datetime_CAPI, [], {}, 1j)
OUTPUT = "output"
ARRAY = (zeros(1), zeros(1, dtype=np.int8), zeros(0), zeros(0, 3), zeros(2, 2, 2, 2), 3, np.nan)
NUMBER = (2**70, -(2**70), zeros(3), 0.5 + 1j)
# May raise or not.
SIZES = (-1, -(2**31), 2**31 - 1, 2**62, -(2**62), 0)


class Call:
    """A call with valid arguments, and bad values of each in addition to None and `ANY`."""

    def __init__(self, name, function, good, bad, optional=()):
        self.name, self.function, self.good, self.bad = name, function, good, bad
        self.optional = optional


def array(shape=None, dtype=np.float32, output=False):
    """Return bad values for an array argument; of an output, also a read-only array."""
    bad = [*ARRAY, *([read_only(*shape)] if output and shape else [])]
    return [each for each in bad if not (np.shape(each) == shape and np.ndim(each))]


def pooling_calls():
    yield Call(
        "Pooling", _pooling.Pooling, POOLING_OF,
        [[TILES], ["g"], [(3, 4, 4), (-1, 4, 4, 1), (3, 0, 4, 1), (3, 2**62, 4, 1)],
         [(0, 0), (-1, 2), (2**62, 2**62), (2,), (2, 2, 2), (2**70, 1), (3, 2), (2, 3)],
         [tuple(tuple(x if k == i else y for y in w) for k, w in enumerate(HALVES))
          for i in range(4) for x in (-1, 2**62, 2**70)]
         + [HALVES[:3], (*HALVES[:2], (2, 0), (1, 1))],
         [((0, 4), (0, 3)), ((1, 4), (0, 4)), ((0, 4), (0, 2**62)), ((0, 4),), ((0,), (0, 4))],
         [-1, 2**62]],
    )  # fmt: skip
    x, y, places = zeros(48), zeros(12), zeros(12, dtype=np.int64)
    indices = [*array(), y, zeros(12, dtype=np.int32), places[::-1]]
    yield Call(
        "Pooling.maximum", POOLING.maximum, [x, y, places, 1],
        [array(), [*array(), read_only(12)], indices, NUMBER], [2],
    )  # fmt: skip
    gradient = [*array(), read_only(48)]
    yield Call(
        "Pooling.maximum_backward of x", POOLING.maximum_backward, [y, x, None, x.copy(), 1],
        [array(), array(), [places], gradient, NUMBER], [2],
    )  # fmt: skip
    yield Call(
        "Pooling.maximum_backward", POOLING.maximum_backward, [y, None, places, x, 1],
        [array(), [x], indices, gradient, NUMBER], [1],
    )  # fmt: skip
    yield Call(
        "Pooling.mean", POOLING.mean, [x, y, 1],
        [array(), [*array(), read_only(12)], NUMBER],
    )  # fmt: skip
    yield Call("Pooling.mean_backward", POOLING.mean_backward, [y, x, 1],
               [array(), gradient, NUMBER])  # fmt: skip


def calls():
    pair = ((0, 0), (-1, 2), (2**62, 2**62), (2,), (2, 2, 2), (2**70, 1))
    shapes = (
        (2, 3, 3),
        (-1, 3, 3, 3),
        (2, 0, 3, 3),
        (2, 3, 0, 3),
        (2**62, 1, 3, 3),
        (2**70, 1, 3, 3),
    )
    windows = [
        tuple(tuple(x if k == i else y for y in w) for k, w in enumerate(WINDOW))
        for i in (0, 1, 3)
        for x in (0, -1, 2**62, 2**70)
    ]
    windows += [WINDOW[:3], *((*WINDOW[:2], pads, WINDOW[3]) for pads in ((2**63 - 1,) * 2, (2,)))]
    yield Call(
        "Columns", _im2col.Columns, [(2, 3, 3, 3), (2, 2), WINDOW, False, False],
        [shapes, pair, windows, (), ()],
    )  # fmt: skip
    for rows, last in ((False, False), (True, True)):
        columns = _im2col.Columns((2, 3, 3, 3), (2, 2), WINDOW, rows, last)
        wrong = zeros(2, 12, 4, dtype=np.float64)
        yield Call(
            "Columns.im2col", columns.im2col, [zeros(2, 3, 3, 3), zeros(2, 12, 4), 1],
            [array(), [*array((2, 12, 4), output=True), wrong], NUMBER],
        )  # fmt: skip
        yield Call(
            "Columns.col2im", columns.col2im, [zeros(2, 12, 4), zeros(2, 3, 3, 3), 1],
            [[*array(), wrong], array((2, 3, 3, 3), output=True), NUMBER],
        )  # fmt: skip
    yield from pooling_calls()
    yield Call("Workspace", _workspace.Workspace, [5], [[*NUMBER, -1, 2**62]])
    yield Call("instructions", _peak.instructions, [TILES], [()])
    yield Call("burst", _peak.burst, [TILES, 1, 1], [(), NUMBER, NUMBER])
    yield Call("kernels_read", _program.kernels_read, [TILES, "conv2d"], [(), ["none"]])
    yield Call(
        "Warp", _distort.Warp, [WARP, np.ones(3, np.float32), np.linspace(0, 1, 3)],
        [[*(WARP | {"hue": x} for x in (*NUMBER[2:], -1, np.nan, 1e300)),
          WARP | {"outside": 3}, WARP | {"wave": 1}],
         [*ARRAY[1:5], zeros(2)], [*ARRAY[1:4], np.zeros(1), zeros(3)]],
    )  # fmt: skip
    yield Call(
        "Warp.apply", warp().apply,
        [TILES, zeros(4, 1, 3, 3, dtype=np.uint8), np.array([2, 0]), 7, zeros(2, 1, 3, 3), 1,
         np.arange(4)],
        [(), [zeros(4, 1, 3, 3), *(zeros(*shape, dtype=np.uint8) for shape in
                                   ((1, 1, 3, 3), (4, 1, 2, 3), (4, 3, 3)))],
         [np.array([4, 0]), np.array([-1, 0]), np.array([2**62, 0]), np.array([1])],
         [-1, 2**64], array((2, 1, 3, 3), output=True), NUMBER, [np.arange(3), zeros(4)]], [6],
    )  # fmt: skip
    yield Call(
        "Warp.mix_shares", warp().mix_shares, [TILES, np.arange(4), 7],
        [(), [zeros(4), np.zeros((2, 2), int)], [-1, 2**64]],
    )  # fmt: skip
    yield Call(
        "Strips", _direct.Strips,
        [DIRECT, "y", 4, 1, (1, 3, 3), (2, 2, 2), WINDOW, 1, "NHWC", "units"],
        [(TILES,), ["y "], [-1, 2**62], [0, -1, 2**62], [(0, 3, 3), (1, 3), (1, 2**62, 1)],
         [(2, 0, 2), (2, 2**62, 2)],
         [tuple(tuple(x if k == i else y for y in w) for k, w in enumerate(WINDOW))
          for i in range(4) for x in (-1, 2**62, 2**70)] + [WINDOW[:3]],
         [0, -1, 2**31 - 1], ["NWHC", ("NHWC",)], ["rows"]], [9],
    )  # fmt: skip
    for dtype in (np.float32, np.float64):
        six = zeros(6, dtype=dtype)
        others = [six.astype(each) for each in (np.float32, np.float64, np.int64) if each != dtype]
        bad = [*array((6,)), *others]
        yield Call(
            f"softmax {dtype.__name__}", _softmax.apply,
            [dispatch.direct[six.dtype.char], False, (2, 3, 1), six, six.copy(), six.copy(), 1],
            [(), (), [(2, 3), (2, 3, 2), (0, 3, 1), (-2, -3, 1), (2**62, 2, 3), (2**70, 1, 1), 6],
             bad, bad, [*bad, read_only(6)], NUMBER], [4],
        )  # fmt: skip
    pixels = [DIRECT, "dweight", 4, 1, (1, 3, 3), (2, 2, 2), WINDOW, 1, "NHWC", "pixels"]
    yield Call("Strips of pixels", _direct.Strips, pixels, None)
    yield Call(
        "convolve", _direct.convolve, [PLANS["y"], X4, WEIGHT, None, Y4, 1],
        [[PLANS["dweight"]], array((36,)), array((8,)), array((2,)), array((32,), output=True),
         NUMBER], [3],
    )  # fmt: skip
    yield Call(
        "weight_gradient", _direct.weight_gradient,
        [PLANS["dweight"], X4, Y4, WEIGHT, zeros(2), 1],
        [[PLANS["y"], PLANS["dx"]], array(), array(), array((8,), output=True),
         array((2,), output=True), NUMBER], [3, 4],
    )  # fmt: skip
    yield Call(
        "sum_channels", _direct.sum_channels, [Y4, (4, 2, 4), zeros(2), 1],
        [[*array((32,)), np.zeros(32)], [(4, 2), (4, 2, 3), (-4, -2, 4), (2**62, 2, 4), 32],
         [*array((2,), output=True), np.zeros(2)], NUMBER],
    )  # fmt: skip
    yield Call("are_plain", _arrays.are_plain, [(X,)], [[zeros(1)]])
    yield Call(
        "Update", _update.Update, [TILES, "sgd", VECTORS, SETTINGS, 1],
        [(), ["none"], [{"velocity": each} for each in (*ARRAY[3:], read_only(10), ARRAY[1])],
         [SETTINGS | {"lr": each} for each in ([1, 2], "x", [])],
         [*NUMBER, -1, 2**62]],
    )  # fmt: skip
    yield Call(
        "Update.apply", UPDATE.apply, [zeros(PARAMS), zeros(PARAMS), 0],
        [array((10,), output=True), array(), [*NUMBER, -1, 1, 2**62]],
    )  # fmt: skip
    yield Call("Program", _program.Program, [PLAN, TILES], [(), ()])
    params, grads = zeros(PARAMS), zeros(PARAMS)
    yield Call(
        "forward", PROGRAM.forward, [X, params, Y.copy(), 1, False],
        [BAD_SAMPLES, array(), array((4, 8), output=True), NUMBER, ()],
    )  # fmt: skip
    yield Call(
        "backward", PROGRAM.backward, [X, Y, params, grads, zeros(4, 9), 1, False],
        [BAD_SAMPLES, array(), array(), array((10,), output=True),
         array((4, 9), output=True), NUMBER, ()], [4],
    )  # fmt: skip
    bad_labels = [np.array([0, 0, 0, label], np.int32) for label in (8, -1, 2**31 - 1)]
    bad_labels += [zeros(3, dtype=np.int32), zeros(4), zeros(4, dtype=np.int64)]
    losses = np.zeros(4)
    weights = [zeros(8), zeros(4), -100, True]
    bad_weights = [array((8,)), array((4,)), NUMBER, ()]
    bad_losses = [zeros(4), np.zeros(3), np.zeros((2, 2))]
    yield Call(
        "train_step", PROGRAM.train_step,
        [X, LABELS, params, grads, 1, "mse", 0.0, Y, Y.copy(), zeros(4, 9), False, *weights,
         losses],
        [BAD_SAMPLES, bad_labels, array(), array((10,), output=True), NUMBER, ["none"], (),
         array(), array((4, 8), output=True), array((4, 9), output=True), (), *bad_weights,
         bad_losses], [8, 9, 11, 12, 13, 15],
    )  # fmt: skip
    yield Call(
        "loss", NO_OPS.loss, [Y, LABELS, 1, "mse", 0.0, Y, *weights, losses],
        [[zeros(4, 7), zeros(4)], bad_labels, NUMBER, ["none"], (), array(), *bad_weights,
         bad_losses], [1, 6, 7, 8, 10],
    )  # fmt: skip
    maps = zeros(2, 16)
    yield Call(
        "loss of places", NO_OPS.loss,
        [maps, LABELS, 1, "cross_entropy", 0.0, maps, *weights, losses, 2],
        [array((2, 16)), bad_labels, NUMBER, ["none"], (), array((2, 16)), *bad_weights,
         bad_losses, [*NUMBER, -1, 0, 1, 3, 2**62]], [1, 5, 6, 7, 8, 10],
    )  # fmt: skip
    yield Call(
        "train_step of places", NO_OPS.train_step,
        [maps, LABELS, zeros(0), zeros(0), 1, "cross_entropy", 0.0, maps, None, maps.copy(), False,
         *weights, losses, True, 2],
        [array((2, 16)), bad_labels, (), (), NUMBER, ["none"], (), array((2, 16)),
         array((4, 8), output=True), array((2, 16), output=True), (), *bad_weights, bad_losses, (),
         [*NUMBER, -1, 0, 1, 3, 2**62]], [7, 8, 9, 11, 12, 13, 15],
    )  # fmt: skip
    yield Call("loss with ops", PROGRAM.loss, [X, LABELS, 1, "mse", 0.0, Y], None)
    yield Call(
        "train_steps", PROGRAM.train_steps,
        [X, LABELS, params, grads, 1, 4, UPDATE, Record(np.zeros(1)), "mse", 0.0, Y, False,
         zeros(8), zeros(4) + 1, -100, True],
        [BAD_SAMPLES, bad_labels, array((10,), output=True), array((10,), output=True), NUMBER,
         [0, -1, 3, -(2**62)], [warp()],
         [Record(each) for each in (None, np.zeros(2), np.zeros(0), zeros(1), [0.0])],
         ["none"], (), array(), (), *bad_weights], [12, 13, 14],
    )  # fmt: skip
    for number, field in enumerate(fields(PLAN)):
        plan = replace(PLAN, **{field.name: None})
        if field.name not in ("sample", "gaps", "penalties"):
            yield Call(f"Program {number} {field.name}", _program.Program, [plan, TILES], None)


def shown(value):
    return type(value).__name__ if isinstance(value, nn.Samples) else repr(value)


def may_crash(call, arguments):
    """Make a call; return whether it raised."""
    print(call.name, *map(shown, arguments), file=sys.stderr, flush=True)
    try:
        call.function(*arguments)
    except Exception:
        return True
    return False


def without_init():
    """Call layers and models without `__init__`."""
    made, x = 0, zeros(4, 1, 28, 28)
    for name in sorted(set(nn.__all__)):
        cls = getattr(nn, name)
        if not (isinstance(cls, type) and issubclass(cls, nn.Layer)):
            continue
        for method, arguments in (("forward", (x, True)), ("backward", (x,)),
                                  ("backward_second", (x,)), ("train_step", (x, LABELS, None)),
                                  ("forward", (None,))):  # fmt: skip
            if function := getattr(cls.__new__(cls), method, None):
                may_crash(Call(f"{name}.{method}", function, (), None), arguments)
                made += 1
    return made


def functional():
    """Call the functions on plain arrays, which check everything themselves."""
    made, x, weight = 0, zeros(2, 3, 4, 4), zeros(2, 3, 2, 2)
    for name, good in (
        ("conv2d", [x, weight, zeros(2), 1, 0, 1, 1]),
        ("conv2d_backward", [zeros(2, 2, 3, 3), x, weight, 1, 0, 1, 1]),
        ("max_pool2d", [x, 2, 2, 0, 1, False, True, "NCHW"]),
        ("max_pool2d_backward", [zeros(2, 3, 2, 2), x, 2, 2, 0, 1, False, None, "NCHW"]),
        ("max_pool2d_backward",
         [zeros(2, 3, 2, 2), x.shape, 2, 2, 0, 1, False, zeros(2, 3, 2, 2, dtype=int), "NCHW"]),
        ("avg_pool2d", [x, 2, 2, 0, 1, False, True, 4, "NCHW"]),
        ("avg_pool2d_backward",
         [zeros(2, 3, 2, 2), x.shape, 2, 2, 0, 1, False, True, 4, "NCHW"]),
        ("global_max_pool2d", [x, True, "NCHW"]), ("global_avg_pool2d", [x, "NCHW"]),
        ("global_max_pool2d_backward", [zeros(2, 3, 1, 1), x, None, "NCHW"]),
        ("global_avg_pool2d_backward", [zeros(2, 3, 1, 1), x.shape, "NCHW"]),
        ("max_pool1d", [x[0], 2, 2, 0, 1, False, True, "NCW"]),
        ("max_pool1d_backward", [zeros(3, 4, 2), x[0], 2, 2, 0, 1, False, None, "NCW"]),
        ("avg_pool1d", [x[0], 2, 2, 0, 1, False, True, 4, "NCW"]),
        ("avg_pool1d_backward",
         [zeros(3, 4, 2), x[0].shape, 2, 2, 0, 1, False, True, 4, "NCW"]),
        ("softmax", [x, 1]), ("softmax_backward", [x, x, 1]), ("log_softmax", [x, 1]),
        ("log_softmax_backward", [x, x, 1]),
        ("im2col", [x, 2, 1, 0, 1]), ("col2im", [zeros(2, 12, 9), (4, 4), 2, 1, 0, 1]),
    ):  # fmt: skip
        call = Call(name, getattr(kernels, name), good, None)
        assert not may_crash(call, good), f"{name} refused good arguments"
        for i in range(len(good)):
            for value in (*ANY, *SIZES, *ARRAY[:5], 2**70, (2**31 - 1, 2**31 - 1)):
                may_crash(call, [*good[:i], value, *good[i + 1 :]])
                made += 1
    return made


def main():
    """Make all calls; print the ones that should have raised."""
    made = 0
    for call in calls():
        if call.bad is None:
            assert may_crash(call, call.good), f"{call.name} took bad arguments"
            made += 1
            continue
        assert not may_crash(call, call.good), f"{call.name} refused good arguments"
        for i, bad in enumerate(call.bad):
            optional, good = i in call.optional, call.good[i]
            flag = isinstance(good, bool)
            must = [] if flag else [*ANY, *bad] + [None] * (not optional)
            for value in must:
                arguments = [*call.good[:i], value, *call.good[i + 1 :]]
                if not may_crash(call, arguments):
                    print(f"{call.name} took {value!r} as argument {i}")
            may = [*SIZES, None] if not isinstance(good, bool | int) or call.name != "burst" else []
            for value in may:
                may_crash(call, [*call.good[:i], value, *call.good[i + 1 :]])
            made += len(must) + len(may)
        made += 1
        for count in range(len(call.good)):
            may_crash(call, call.good[:count])
    for cls in CLASSES:
        for arguments in ((), (None,), (TILES,)):
            assert may_crash(Call(cls.__name__, cls.__new__, None, None), (cls, *arguments))
    # A warp of its own for each look at it: the program holds the one that it uses.
    PROGRAM.train_step(samples_with(distortion=Distortion()), LABELS, zeros(10), zeros(10), 1)
    PROGRAM.forward(samples_with(distortion=Distortion()), zeros(10), zeros(4, 8), 1)
    made += without_init() + functional()
    assert _cpu.supported() and _openmp.processors() > 0
    print("made", made)


if __name__ == "__main__":
    main()
