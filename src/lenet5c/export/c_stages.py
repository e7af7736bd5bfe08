"""Stages of a model in C: groups of layers computed together to save memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import prod
from types import EllipsisType

import numpy as np

from lenet5c.export.activations import ACTIVATIONS, float_text
from lenet5c.export.c_text import array_text, block, comment_text, loop
from lenet5c.export.errors import ExportError
from lenet5c.export.network import Step
from lenet5c.export.quantization import quantize

POOLS = ("MaxPool2d", "AvgPool2d", "Subsample2d")
ALONE = ("RBF", "Residual", "Ensemble")  # activations after it form a separate stage
SIZES = {"float": 4, "int8_t": 1, "int16_t": 2, "int32_t": 4, "uint32_t": 4}  # bytes


@dataclass
class Stage:
    """A step with the following activations and, after a convolution, a pooling with activations.

    A convolution computes the rows of one pooling window at a time and pools them, so its maps are
    never completely in memory.
    """

    main: Step
    before: list[Step] = field(default_factory=list)
    pool: Step | None = None
    after: list[Step] = field(default_factory=list)
    # For a residual block, the stages of its layers and of its shortcut; for an ensemble, those of
    # # each member.
    branches: tuple[list["Stage"], ...] = ()

    @property
    def comment(self) -> str:
        """Names of the layers, for a C comment."""
        steps = [self.main, *self.before, *([self.pool] if self.pool else []), *self.after]
        return comment_text(", ".join(step.name for step in steps))

    @property
    def size(self) -> int:
        """Values of the input."""
        return prod(self.main.shape)

    @property
    def result(self) -> tuple[int, ...]:
        """Shape of the output."""
        return (self.pool or self.main).result

    @property
    def in_place(self) -> bool:
        """True if the stage can overwrite its input, because it is elementwise."""
        return self.main.kind in (*ACTIVATIONS, "BatchNorm")

    @property
    def gap(self) -> int | None:
        """Minimum distance of the output before the input in memory; None without overlap."""
        return 0 if self.in_place or self.branches else None

    @property
    def rows(self) -> int:
        """Rows that a convolution computes at a time."""
        return self.pool.window[0][0] if self.pool else 1

    @property
    def scratch(self) -> int:
        """Number of values of these rows, which are in the work area."""
        return self.rows * self.main.result[2] if self.main.kind == "Conv2d" else 0

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of convolution or linear layer."""
        if self.main.kind not in ("Conv2d", "Linear"):
            return 0
        weight = self.main.arrays["weight"]
        if self.main.kind == "Linear":
            return weight.size
        table = self.main.layer.connection_table
        planes = prod(weight.shape[:2]) if table is None else int(table.sum())
        return planes * prod(weight.shape[2:]) * prod(self.main.result[1:])


def group_stages(steps: list[Step]) -> list[Stage]:
    """Return the steps grouped into stages."""
    made: list[Stage] = []
    for step in steps:
        last = made[-1] if made else None
        if step.kind == "Flatten":
            continue  # the values are already in this order
        if step.branches:
            made.append(Stage(step, branches=tuple(map(group_stages, step.branches))))
        elif step.kind in ACTIVATIONS and last is not None and last.main.kind not in ALONE:
            (last.after if last.pool else last.before).append(step)
        elif step.kind in POOLS and last is not None and _can_pool(last, step):
            last.pool = step
        else:
            made.append(Stage(_as_linear(step)))
    return made


def all_stages(stages: list[Stage]) -> Iterator[Stage]:
    """Yield the stages that have code, including those of branches."""
    for stage in stages:
        if not stage.branches:
            yield stage
        for branch in stage.branches:
            yield from all_stages(branch)


def _can_pool(stage: Stage, pool: Step) -> bool:
    """Return True if pooling windows share no rows of the preceding convolution."""
    size, stride, padding = pool.window
    apart = stride == size and padding == (0, 0) == pool.beyond and pool.dilation == (1, 1)
    return stage.main.kind == "Conv2d" and stage.pool is None and apart


def _as_linear(step: Step) -> Step:
    """Return a convolution as large as its maps as the equivalent linear layer."""
    if step.kind != "Conv2d" or step.result[1:] != (1, 1):
        return step
    layer, weight = step.layer, step.arrays["weight"]
    dense = layer.groups == 1 and layer.connection_table is None
    if not dense or layer.kernel_size != step.shape[1:] or any(map(any, step.pads)):
        return step
    arrays = step.arrays | {"weight": weight.reshape(len(weight), -1)}
    return replace(step, kind="Linear", arrays=arrays, result=step.result[:1])


class Constants:
    """Constant arrays of the file, and their total size."""

    def __init__(self, prefix: str, quantize: bool = False) -> None:
        self.prefix, self.quantize = prefix, quantize
        self.texts: list[str] = []
        self.bytes = 0

    def add(self, name: str, array: np.ndarray, kind: str = "float") -> str:
        """Add an array; return its name in C."""
        name = f"{self.prefix}_{name}"
        self.texts.append(array_text(name, array, kind))
        self.bytes += array.size * SIZES[kind]
        return name

    def add_weight(
        self, label: str, weight: np.ndarray, chosen: np.ndarray | EllipsisType = ...
    ) -> tuple[str, str, str | None]:
        """Add the selected part of a weight (O, ...); return its name, its type and its scales.

        There is a scale for each of the O outputs, and none for float weights.
        """
        if not self.quantize:
            return self.add(f"{label}_weight", weight[chosen]), "float", None
        values, scale = quantize(weight)
        name = self.add(f"{label}_weight", values[chosen], "int8_t")
        return name, "int8_t", self.add(f"{label}_scale", scale)


def stage_code(stage: Stage, label: str, constants: Constants) -> list[str]:
    """Return the body of a stage's function, from x to y."""
    return _BODIES[stage.main.kind](stage, label, constants)


def _activations(steps: list[Step]) -> list[str]:
    return [ACTIVATIONS[step.kind].c(step.layer) for step in steps]


def _conv2d(stage: Stage, label: str, constants: Constants) -> list[str]:
    step, layer = stage.main, stage.main.layer
    (_, H, W), (O, _, OW), rows = step.shape, step.result, stage.rows
    weight, table, taps = step.arrays["weight"], layer.connection_table, prod(layer.kernel_size)
    if table is None:
        inputs = weight.shape[1]
        values, kind, scale = constants.add_weight(label, weight)
        each_map = f"for (k = 0; k < {inputs}; k++)"
        map_index = f"(c / {O // layer.groups} * {inputs} + k)" if layer.groups > 1 else "k"
        first = f"(c * {inputs} + k)"
    else:
        values, kind, scale = constants.add_weight(label, weight, table.T)
        ends = constants.add(f"{label}_ends", np.cumsum([0, *table.sum(axis=0)]), "int32_t")
        links = constants.add(f"{label}_links", np.nonzero(table.T)[1], "int32_t")
        each_map = f"for (k = {ends}[c]; k < {ends}[c + 1]; k++)"
        map_index, first = f"{links}[k]", "k"
    bias = constants.add(f"{label}_bias", step.arrays["bias"])
    row = f"(py * {rows} + r)" if rows > 1 else "py"
    line = [
        f"float *out = line + r * {OW};",
        f"for (i = 0; i < {OW}; i++) out[i] = {'0.0f' if scale else f'{bias}[c]'};",
        *block(
            each_map,
            [
                f"const float *map = x + {map_index} * {H * W};",
                f"const {kind} *w = {values} + {first} * {taps};",
                *_taps(step, row),
            ],
        ),
    ]
    change = [f"v = v * {scale}[c] + {bias}[c];"] if scale else []
    change += _activations(stage.before)
    if stage.pool:
        if change:
            line += loop("i", OW, ["float v = out[i];", *change, "out[i] = v;"])
        value = _pooled(stage.pool, constants, label, OW)
    else:
        value = ["float v = line[px];", *change]
    value += [*_activations(stage.after), "*y++ = v;"]
    rows_of_maps = [*loop("r", rows, line), *loop("px", stage.result[2], value)]
    return [
        "int32_t c, k, py, px, r, i, kh;",
        *(["int32_t ph, pw;"] if stage.pool else []),
        *loop("c", O, loop("py", stage.result[1], rows_of_maps)),
    ]


def _taps(step: Step, row: str) -> list[str]:
    """Add the contribution of one input map to a row of the output, `out`."""
    (KH, KW), (SH, SW), (PH, PW) = step.window
    (DH, DW), (_, H, W), OW = step.dilation, step.shape, step.result[2]
    at = row + (f" * {SH}" if SH > 1 else "") + " + kh" + (f" * {DH}" if DH > 1 else "")
    if any(step.pads[0]):
        lines = [
            f"const int32_t at = {at} - {PH};",
            "const float *in;",
            f"if (at < 0 || at >= {H}) continue;",
            f"in = map + at * {W};",
        ]
    else:
        lines = [f"const float *in = map + ({at}) * {W};"]
    column = f"i * {SW}" if SW > 1 else "i"
    if any(step.pads[1]) or KW > 8:
        seen = False
        for j in range(KW):
            shift = j * DW - PW
            low = max(0, -(shift // SW)) if shift < 0 else 0  # first output that uses the map
            high = min(OW, (W - 1 - shift) // SW + 1)
            if low < high:
                seen = True
                sign = "-" if shift < 0 else "+"
                place = f"{column} {sign} {abs(shift)}" if shift else column
                head = f"for (i = {low}; i < {high}; i++)"
                lines.append(f"{head} out[i] += (float)w[{j}] * in[{place}];")
        if not seen:
            lines.append("(void)in; /* only padding */")
    else:
        terms = [f"(float)w[{j}] * in[{column}{f' + {j * DW}' if j else ''}]" for j in range(KW)]
        total = "\n        + ".join(terms)
        lines += loop("i", OW, f"out[i] += {total};".split("\n"))
    return block(f"for (kh = 0; kh < {KH}; kh++, w += {KW})", lines)


def _pooled(pool: Step, constants: Constants, label: str, width: int) -> list[str]:
    """Compute the value v of the window at column px times its width, in rows of this width."""
    KH, KW = pool.window[0]
    at = f"line[ph * {width} + px * {KW} + pw]"
    if pool.kind == "MaxPool2d":
        take = [f"const float u = {at};", "v = u > v ? u : v;"]
        first = at.replace("ph", "0").replace("pw", "0")
        return [f"float v = {first};", *loop("ph", KH, loop("pw", KW, take))]
    lines = ["float v = 0.0f;", *loop("ph", KH, loop("pw", KW, [f"v += {at};"]))]
    count = KH * KW
    if pool.kind == "Subsample2d":
        return [*lines, _affine(pool, constants, f"{label}_pool")]
    exact = count & (count - 1) == 0  # the reciprocal of a power of two
    return [*lines, f"v *= {float_text(1 / count)};" if exact else f"v /= {float_text(count)};"]


def _affine(step: Step, constants: Constants, label: str) -> str:
    weight, bias = (
        constants.add(f"{label}_{name}", step.arrays[name]) for name in ("weight", "bias")
    )
    return f"v = v * {weight}[c] + {bias}[c];"


def _pool(stage: Stage, label: str, constants: Constants) -> list[str]:
    """Pool as a separate stage, with any stride and padding."""
    step = stage.main
    (C, H, W), (_, OH, OW), is_max = step.shape, step.result, step.kind == "MaxPool2d"
    (KH, KW), (SH, SW), (PH, PW) = step.window
    (DH, DW), dilated = step.dilation, step.dilation != (1, 1)
    at = f"x[h * {W} + w]"
    take = f"if ({at} > v) v = {at};" if is_max else f"v += {at};"
    # A dilated window may have no pixels in the image.
    first = ("-INFINITY" if dilated else f"x[h0 * {W} + w0]") if is_max else "0.0f"
    value = [
        f"const int32_t top = py * {SH} - {PH}, left = px * {SW} - {PW};",
        *_bounds("h", "top", KH, DH, H),
        *_bounds("w", "left", KW, DW, W),
        f"float v = {first};",
        *_along("h", DH, _along("w", DW, [take])),
    ]
    if step.kind == "AvgPool2d":
        (_, bottom), (_, right) = step.pads
        divisor = "(float)((h1 - h0) * (w1 - w0))"
        if step.layer.count_include_pad and any(step.beyond):
            ends = ((H + bottom, "top", KH), (W + right, "left", KW))
            sides = (f"({end} - {at} < {K} ? {end} - {at} : {K})" for end, at, K in ends)
            divisor = f"(float)({' * '.join(sides)})"
        elif step.layer.count_include_pad:
            divisor = float_text(KH * KW)
        value.append(f"v /= {divisor};")
    elif step.kind == "Subsample2d":
        value.append(_affine(step, constants, label))
    value += [*_activations(stage.before), "*y++ = v;"]
    each_map = f"for (c = 0; c < {C}; c++, x += {H * W})"
    return ["int32_t c, py, px, h, w;", *block(each_map, loop("py", OH, loop("px", OW, value)))]


def _bounds(axis: str, start: str, count: int, dilation: int, length: int) -> list[str]:
    """Declare the first and the end pixel of a window inside the image."""
    first, reach = f"{start} > 0 ? {start} : 0", (count - 1) * dilation + 1
    if dilation > 1:
        steps = f"({dilation - 1} - {start}) / {dilation}"
        first = f"{start} < 0 ? {start} + {steps} * {dilation} : {start}"
    end = f"{start} + {reach}"
    return [f"const int32_t {axis}0 = {first}, {axis}1 = {end} < {length} ? {end} : {length};"]


def _along(axis: str, dilation: int, lines: list[str]) -> list[str]:
    """Return a loop over the pixels of a window."""
    step = f"{axis}++" if dilation == 1 else f"{axis} += {dilation}"
    return block(f"for ({axis} = {axis}0; {axis} < {axis}1; {step})", lines)


def _linear(stage: Stage, label: str, constants: Constants) -> list[str]:
    """Sum in four independent parts, to avoid a dependency between additions."""
    O, I = stage.main.arrays["weight"].shape
    values, kind, scale = constants.add_weight(label, stage.main.arrays["weight"])
    bias, whole = constants.add(f"{label}_bias", stage.main.arrays["bias"]), I - I % 4
    body = ["float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f, v;"]
    if whole:
        places = ["i", "i + 1", "i + 2", "i + 3"]
        sums = [f"s{j} += (float)w[{at}] * x[{at}];" for j, at in enumerate(places)]
        body += block(f"for (i = 0; i < {whole}; i += 4)", sums)
    if whole < I:
        body += [f"for (i = {whole}; i < {I}; i++) s0 += (float)w[i] * x[i];"]
    total = "(s0 + s1) + (s2 + s3)"
    body += [
        f"v = ({total}) * {scale}[c] + {bias}[c];" if scale else f"v = {bias}[c] + ({total});",
        *_activations(stage.before),
        "y[c] = v;",
    ]
    each_output = f"for (c = 0; c < {O}; c++, w += {I})"
    return [f"const {kind} *w = {values};", "int32_t c, i;", *block(each_output, body)]


def _rbf(stage: Stage, label: str, constants: Constants) -> list[str]:
    codes = stage.main.arrays["codes"]
    classes, features = codes.shape
    small = (codes == np.rint(codes)).all() and np.abs(codes).max() <= 127
    kind = "int8_t" if small else "float"
    name = constants.add(f"{label}_codes", codes.astype(np.int8) if small else codes, kind)
    add = ["const float distance = x[i] - (float)code[i];", "v += distance * distance;"]
    return [
        f"const {kind} *code = {name};",
        "int32_t c, i;",
        *block(
            f"for (c = 0; c < {classes}; c++, code += {features})",
            ["float v = 0.0f;", *loop("i", features, add), "y[c] = v;"],
        ),
    ]


def _elementwise(stage: Stage, label: str, constants: Constants) -> list[str]:
    step = stage.main
    if step.kind == "BatchNorm":
        plane = prod(step.shape[1:])
        scale, shift = (
            constants.add(f"{label}_{name}", step.arrays[name].astype(np.float32))
            for name in ("scale", "shift")
        )
        at = f"[i / {plane}]" if plane > 1 else "[i]"
        change = [f"v = v * {scale}{at} + {shift}{at};"]
    else:
        change = _activations([step])
    change += _activations(stage.before)
    return ["int32_t i;", *loop("i", stage.size, ["float v = x[i];", *change, "y[i] = v;"])]


_BODIES: dict[str, Callable[[Stage, str, Constants], list[str]]] = {
    "Conv2d": _conv2d,
    "Linear": _linear,
    "RBF": _rbf,
    "BatchNorm": _elementwise,
    **dict.fromkeys(ACTIVATIONS, _elementwise),
    **dict.fromkeys(POOLS, _pool),
}


def check_size(total: int) -> None:
    """Raise an error if the indices of an array exceed int32."""
    if total >= 2**31:
        raise ExportError(f"arrays must have fewer than {2**31:,} values in C, got {total:,}")
