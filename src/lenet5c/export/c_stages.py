"""The stages of a network in C: what is computed together, so that little memory is needed, and the code of each."""

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from lenet5c.export.c_text import array_text, comment_text, indented, number
from lenet5c.export.errors import ExportError
from lenet5c.export.quantization import quantized

ACTIVATIONS = ("relu", "sigmoid", "tanh", "scaled_tanh")
POOLS = ("max_pool2d", "avg_pool2d", "subsample2d")


@dataclass
class Stage:
    """A main step, activations behind it, and, of a convolution, a pooling with activations of its own.

    A convolution makes as many rows as a window of the pooling is high, and pools them at once: its maps are never
    all there.
    """

    main: object
    before: list = field(default_factory=list)
    pool: object = None
    after: list = field(default_factory=list)

    @property
    def names(self):
        return [
            step.name
            for step in (self.main, *self.before, *([self.pool] if self.pool else []), *self.after)
        ]

    @property
    def size(self):
        return prod(self.main.shape)

    @property
    def result_size(self):
        return prod((self.pool or self.main).result)

    @property
    def in_place(self):
        """Whether each value is made from the one in its place."""
        return self.main.kind in (*ACTIVATIONS, "batch_norm")

    @property
    def line_size(self):
        """Values of the rows that a convolution has at a time."""
        rows = self.pool.settings["kernel_size"][0] if self.pool else 1
        return rows * self.main.result[2] if self.main.kind == "conv2d" else 0

    @property
    def multiply_adds(self):
        if self.main.kind == "conv2d":
            table = self.main.settings["connection_table"]
            planes = (
                prod(self.main.arrays["weight"].shape[:2]) if table is None else int(table.sum())
            )
            return planes * prod(self.main.settings["kernel_size"]) * prod(self.main.result[1:])
        return self.main.arrays["weight"].size if self.main.kind == "linear" else 0


def stages(steps):
    """The steps as a list of `Stage`."""
    made = []
    for step in steps:
        last = made[-1] if made else None
        if step.kind == "flatten":
            continue  # the values lie in this order already
        if step.kind in ACTIVATIONS and last is not None and last.main.kind != "rbf":
            (last.after if last.pool else last.before).append(step)
        elif step.kind in POOLS and _can_pool(last, step):
            last.pool = step
        else:
            made.append(Stage(_as_linear(step)))
    return made


def _can_pool(stage, pool):
    """Whether windows of the pooling do not share rows of the convolution before it."""
    settings = pool.settings
    return (
        stage is not None
        and stage.main.kind == "conv2d"
        and stage.pool is None
        and settings["stride"] == settings["kernel_size"]
        and settings["padding"] == (0, 0)
    )


def _as_linear(step):
    """A convolution as large as its maps as the linear layer that it is."""
    if step.kind != "conv2d":
        return step
    settings = step.settings
    whole = (
        step.result[1:] == (1, 1)
        and settings["kernel_size"] == step.shape[1:]
        and settings["padding"] == (0, 0)
    )
    if not whole or settings["groups"] != 1 or settings["connection_table"] is not None:
        return step
    arrays = step.arrays | {"weight": step.arrays["weight"].reshape(len(step.arrays["weight"]), -1)}
    return replace(step, kind="linear", arrays=arrays, result=(step.result[0],))


class Weights:
    """The constant arrays of the file, and how many bytes they take."""

    def __init__(self, prefix, quantize):
        self.prefix, self.quantize = prefix, quantize
        self.texts, self.bytes = [], 0

    def add(self, name, array, kind="float"):
        """The name in C of a new array."""
        name = f"{self.prefix}_{name}"
        self.texts.append(array_text(name, array, kind))
        self.bytes += array.size * {"float": 4, "int8_t": 1, "int32_t": 4, "uint32_t": 4}[kind]
        return name

    def of(self, label, weight):
        """Weights (O, ...): the name of their array, and that of the scale of each output, None if they are floats."""
        if not self.quantize:
            return self.add(f"{label}_weight", weight), None
        values, scale = quantized(weight)
        return self.add(f"{label}_weight", values, "int8_t"), self.add(f"{label}_scale", scale)


def stage_code(stage, label, weights):
    """The body of a stage's function, from x to y."""
    return _BODIES[stage.main.kind](stage, label, weights)


def _activation_lines(steps):
    lines = {
        "relu": lambda step: "v = v > 0.0f ? v : 0.0f;",
        # expf without overflow: with -ffast-math the quotient of an infinity would be no number.
        "sigmoid": lambda step: "v = 1.0f / (1.0f + expf(v < -80.0f ? 80.0f : -v));",
        "tanh": lambda step: "v = tanhf(v);",
        "scaled_tanh": lambda step: (
            f"v = {number(step.settings['amplitude'])} * tanhf({number(step.settings['slope'])} * v);"
        ),
    }
    return [lines[step.kind](step) for step in steps]


def _conv2d(stage, label, weights):
    step, settings = stage.main, stage.main.settings
    (_, H, W), (O, _, OW) = step.shape, step.result
    KH, KW = settings["kernel_size"]
    weight, table = step.arrays["weight"], settings["connection_table"]
    if table is None:
        inputs = weight.shape[1]
        first = f"c / {O // settings['groups']} * {inputs}" if settings["groups"] > 1 else None
        values, scale = weights.of(label, weight)
        head = [
            f"for (k = 0; k < {inputs}; k++) {{",
            f"    const float *map = x + {f'({first} + k)' if first else 'k'} * {H * W};",
            f"    const {_type(scale)} *w = {values} + (c * {inputs} + k) * {KH * KW};",
        ]
    else:
        values, scale = _table_weights(weights, label, weight, table)
        ends = weights.add(f"{label}_ends", np.cumsum([0, *table.sum(axis=0)]), "int32_t")
        links = weights.add(f"{label}_links", np.nonzero(table.T)[1], "int32_t")
        head = [
            f"for (k = {ends}[c]; k < {ends}[c + 1]; k++) {{",
            f"    const float *map = x + {links}[k] * {H * W};",
            f"    const {_type(scale)} *w = {values} + k * {KH * KW};",
        ]
    bias = weights.add(f"{label}_bias", step.arrays["bias"])
    rows = stage.pool.settings["kernel_size"][0] if stage.pool else 1
    pooled = (stage.pool or step).result
    body = [
        f"float line[{rows * OW}];",
        "int32_t c, k, py, px, r, i, kh;",
        *_pool_declarations(stage.pool),
        f"for (c = 0; c < {O}; c++) {{",
        f"    for (py = 0; py < {pooled[1]}; py++) {{",
        f"        for (r = 0; r < {rows}; r++) {{",
        f"            float *out = line + r * {OW};",
        f"            for (i = 0; i < {OW}; i++) out[i] = {'0.0f' if scale else f'{bias}[c]'};",
    ]
    body += indented(head, 3)
    body += indented(_taps(step, f"(py * {rows} + r)" if rows > 1 else "py"), 4) + ["            }"]
    lines = ([f"v = v * {scale}[c] + {bias}[c];"] if scale else []) + _activation_lines(
        stage.before
    )
    if lines and stage.pool:
        body += [
            f"            for (i = 0; i < {OW}; i++) {{",
            "                float v = out[i];",
            *indented(lines, 4),
            "                out[i] = v;",
            "            }",
        ]
        lines = []
    body += ["        }"]
    if stage.pool:
        value = _pooled(stage.pool, weights, label, "line", OW, "0")
    else:
        value = ["float v = line[px];", *lines]
    body += [
        f"        for (px = 0; px < {pooled[2]}; px++) {{",
        *indented(value, 3),
        *indented(_activation_lines(stage.after), 3),
        "            *y++ = v;",
        "        }",
        "    }",
        "}",
    ]
    return body


def _table_weights(weights, label, dense, table):
    """The weights of connected maps alone, (connections, KH, KW), with scales of the outputs."""
    if not weights.quantize:
        return weights.add(f"{label}_weight", dense[table.T]), None
    values, scale = quantized(dense)
    return weights.add(f"{label}_weight", values[table.T], "int8_t"), weights.add(
        f"{label}_scale", scale
    )


def _taps(step, row):
    """Add what one input map gives to a row of the output, `out`."""
    settings = step.settings
    (KH, KW), (SH, SW), (PH, PW) = (settings[name] for name in ("kernel_size", "stride", "padding"))
    (DH, DW), (_, H, W), OW = settings["dilation"], step.shape, step.result[2]
    at = f"{row}{f' * {SH}' if SH > 1 else ''} + kh{f' * {DH}' if DH > 1 else ''}{f' - {PH}' if PH else ''}"
    lines = [f"for (kh = 0; kh < {KH}; kh++, w += {KW}) {{"]
    if PH:
        lines += [
            f"    const int32_t at = {at};",
            "    const float *in;",
            f"    if (at < 0 || at >= {H}) continue;",
            f"    in = map + at * {W};",
        ]
    else:
        lines += [f"    const float *in = map + ({at}) * {W};"]
    step_of_i = f"i * {SW}" if SW > 1 else "i"
    if PW or KW > 8:
        for j in range(KW):
            shift = j * DW - PW
            low = max(0, -(shift // SW)) if shift < 0 else 0  # the first output that sees the map
            high = min(OW, (W - 1 - shift) // SW + 1)
            if low < high:
                place = (
                    f"{step_of_i} {'-' if shift < 0 else '+'} {abs(shift)}" if shift else step_of_i
                )
                lines += [
                    f"    for (i = {low}; i < {high}; i++) out[i] += (float)w[{j}] * in[{place}];"
                ]
        if "out[i]" not in lines[-1]:
            lines += ["    (void)in; /* the padding is all it sees */"]
    else:
        terms = [f"(float)w[{j}] * in[{step_of_i}{f' + {j * DW}' if j else ''}]" for j in range(KW)]
        sums = [
            f"        out[i] += {terms[0]}",
            *(f"                + {term}" for term in terms[1:]),
        ]
        lines += [f"    for (i = 0; i < {OW}; i++) {{", *sums[:-1], f"{sums[-1]};", "    }"]
    return [*lines, "}"]


def _pool_declarations(pool):
    return ["int32_t ph, pw;"] if pool else []


def _pooled(pool, weights, label, rows, width, top):
    """The value v of a window that begins in row `top` of rows of this width, at column px times the window's."""
    KH, KW = pool.settings["kernel_size"]
    at = (
        f"{rows}[({top} + ph) * {width} + px * {KW} + pw]"
        if top != "0"
        else f"{rows}[ph * {width} + px * {KW} + pw]"
    )
    loop = [f"for (ph = 0; ph < {KH}; ph++) {{", f"    for (pw = 0; pw < {KW}; pw++) {{"]
    if pool.kind == "max_pool2d":
        first = at.replace("ph", "0").replace("pw", "0")
        return [
            f"float v = {first};",
            *loop,
            f"        const float u = {at};",
            "        v = u > v ? u : v;",
            "    }",
            "}",
        ]
    lines = ["float v = 0.0f;", *loop, f"        v += {at};", "    }", "}"]
    if pool.kind == "avg_pool2d":
        return [
            *lines,
            f"v *= {number(1 / (KH * KW))};"
            if _is_power_of_two(KH * KW)
            else f"v /= {number(KH * KW)};",
        ]
    weight, bias = (
        weights.add(f"{label}_pool_{name}", pool.arrays[name]) for name in ("weight", "bias")
    )
    return [*lines, f"v = v * {weight}[c] + {bias}[c];"]


def _is_power_of_two(count):
    return count & (count - 1) == 0


def _pool(stage, label, weights):
    """A pooling on its own, with any stride and padding."""
    step, settings = stage.main, stage.main.settings
    (C, H, W), (_, OH, OW) = step.shape, step.result
    (KH, KW), (SH, SW), (PH, PW) = (settings[name] for name in ("kernel_size", "stride", "padding"))
    is_max = step.kind == "max_pool2d"
    body = [
        "int32_t c, py, px, h, w;",
        f"for (c = 0; c < {C}; c++, x += {H * W}) {{",
        f"    for (py = 0; py < {OH}; py++) {{",
        f"        for (px = 0; px < {OW}; px++) {{",
        f"            const int32_t top = py * {SH} - {PH}, left = px * {SW} - {PW};",
        f"            const int32_t h0 = top > 0 ? top : 0, h1 = top + {KH} < {H} ? top + {KH} : {H};",
        f"            const int32_t w0 = left > 0 ? left : 0, w1 = left + {KW} < {W} ? left + {KW} : {W};",
        f"            float v = {f'x[h0 * {W} + w0]' if is_max else '0.0f'};",
        "            for (h = h0; h < h1; h++) {",
        "                for (w = w0; w < w1; w++) {",
    ]
    if is_max:
        body += [f"                    if (x[h * {W} + w] > v) v = x[h * {W} + w];"]
    else:
        body += [f"                    v += x[h * {W} + w];"]
    body += ["                }", "            }"]
    if step.kind == "avg_pool2d":
        inside = not settings["count_include_pad"]
        body += [
            f"            v /= {'(float)((h1 - h0) * (w1 - w0))' if inside else number(KH * KW)};"
        ]
    elif step.kind == "subsample2d":
        weight, bias = (
            weights.add(f"{label}_{name}", step.arrays[name]) for name in ("weight", "bias")
        )
        body += [f"            v = v * {weight}[c] + {bias}[c];"]
    return [
        *body,
        *indented(_activation_lines(stage.before), 3),
        "            *y++ = v;",
        "        }",
        "    }",
        "}",
    ]


def _linear(stage, label, weights):
    """Four sums beside one another: none has to wait for the one before it."""
    O, I = stage.main.arrays["weight"].shape
    values, scale = weights.of(label, stage.main.arrays["weight"])
    bias = weights.add(f"{label}_bias", stage.main.arrays["bias"])
    whole = I - I % 4
    body = [
        f"const {_type(scale)} *w = {values};",
        "int32_t c, i;",
        f"for (c = 0; c < {O}; c++, w += {I}) {{",
        "    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f, v;",
    ]
    if whole:
        body += [
            f"    for (i = 0; i < {whole}; i += 4) {{",
            *(
                f"        s{j} += (float)w[i{f' + {j}' if j else ''}] * x[i{f' + {j}' if j else ''}];"
                for j in range(4)
            ),
            "    }",
        ]
    if whole < I:
        body += [f"    for (i = {whole}; i < {I}; i++) s0 += (float)w[i] * x[i];"]
    total = "(s0 + s1) + (s2 + s3)"
    body += [
        f"    v = ({total}) * {scale}[c] + {bias}[c];"
        if scale
        else f"    v = {bias}[c] + ({total});"
    ]
    return [*body, *indented(_activation_lines(stage.before), 1), "    y[c] = v;", "}"]


def _rbf(stage, label, weights):
    codes = stage.main.arrays["codes"]
    classes, features = codes.shape
    small = (codes == np.rint(codes)).all() and np.abs(codes).max() <= 127
    kind = "int8_t" if small else "float"
    name = weights.add(f"{label}_codes", codes.astype(np.int8) if small else codes, kind)
    return [
        f"const {kind} *code = {name};",
        "int32_t c, i;",
        f"for (c = 0; c < {classes}; c++, code += {features}) {{",
        "    float v = 0.0f;",
        f"    for (i = 0; i < {features}; i++) {{",
        "        const float distance = x[i] - (float)code[i];",
        "        v += distance * distance;",
        "    }",
        "    y[c] = v;",
        "}",
    ]


def _elementwise(stage, label, weights):
    if stage.main.kind == "batch_norm":
        C, plane = stage.main.shape[0], prod(stage.main.shape[1:])
        scale = weights.add(f"{label}_scale", stage.main.arrays["scale"].astype(np.float32))
        shift = weights.add(f"{label}_shift", stage.main.arrays["shift"].astype(np.float32))
        at = f"[i / {plane}]" if plane > 1 else "[i]"
        lines, count = [f"v = v * {scale}{at} + {shift}{at};"], C * plane
    else:
        lines, count = _activation_lines([stage.main]), stage.size
    lines += _activation_lines(stage.before)
    return [
        "int32_t i;",
        f"for (i = 0; i < {count}; i++) {{",
        "    float v = x[i];",
        *indented(lines, 1),
        "    y[i] = v;",
        "}",
    ]


_BODIES = {
    "conv2d": _conv2d,
    "linear": _linear,
    "rbf": _rbf,
    "batch_norm": _elementwise,
    **dict.fromkeys(ACTIVATIONS, _elementwise),
    **dict.fromkeys(POOLS, _pool),
}


def _type(scale):
    return "int8_t" if scale else "float"


def stage_comment(stage):
    return comment_text(", ".join(stage.names))


def check_size(total):
    """Indices are int32."""
    if total >= 2**31:
        raise ExportError(
            f"the model has an array of {total:,} values, which is too many for a C file"
        )
