"""C code of the ops of an integer model; see `lenet5c.export.integer` for their definitions."""

from collections.abc import Callable
from math import prod
from string import Template
from typing import Any

import numpy as np

from lenet5c.export.c_stages import Constants
from lenet5c.export.c_text import block, loop
from lenet5c.export.integer import (
    LOW,
    Add,
    Distances,
    Lookup,
    Op,
    Pool,
    Reorder,
    Rescale,
    Scores,
    Sums,
)

#: Functions called by several ops; $p is the prefix of all names, $P the same in uppercase.
HELPERS = {
    "dots": Template("""\
/* A right shift of a negative number keeps its sign: true of all compilers, required by none. */
typedef char ${p}_shift_keeps_sign[(-1 >> 1) == -1 ? 1 : -1];

#if defined(__ARM_FEATURE_SIMD32) && defined(__GNUC__) && !defined(${P}_PORTABLE)
/* Four int8 are two pairs of int16, of which an instruction multiplies and adds two. */
#define ${P}_PAIRS 1
static inline int32_t ${p}_even(const int8_t *from, int32_t *odd)
{
    int32_t bytes, even;
    memcpy(&bytes, from, 4);
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(*odd) : "r"(bytes));
    __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(bytes));
    return even;
}

static inline int32_t ${p}_add(int32_t sum, const int8_t *from, int32_t even, int32_t odd)
{
    int32_t other, pair = ${p}_even(from, &other);
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(pair), "r"(even));
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(other), "r"(odd));
    return sum;
}
#endif

/* Add to each sum the products of `one` with a row of `rows`, all of this length. */
static void ${p}_dots(const int8_t *one, const int8_t *rows, int32_t count, int32_t length,
                      int32_t *sums)
{
#ifdef ${P}_PAIRS
    const int8_t *const end = one + length;
    const int8_t *const fours = one + (length & ~3);
    for (; count >= 4; count -= 4, rows += 3 * length, sums += 4) {
        const int8_t *a = one, *r1 = rows + length, *r2 = r1 + length, *r3 = r2 + length;
        int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
        for (; a < fours; a += 4, rows += 4, r1 += 4, r2 += 4, r3 += 4) {
            int32_t odd, even = ${p}_even(a, &odd);
            s0 = ${p}_add(s0, rows, even, odd);
            s1 = ${p}_add(s1, r1, even, odd);
            s2 = ${p}_add(s2, r2, even, odd);
            s3 = ${p}_add(s3, r3, even, odd);
        }
        for (; a < end; a++) {
            const int32_t v = *a;
            s0 += v * *rows++;
            s1 += v * *r1++;
            s2 += v * *r2++;
            s3 += v * *r3++;
        }
        sums[0] = s0;
        sums[1] = s1;
        sums[2] = s2;
        sums[3] = s3;
    }
#endif
    for (; count >= 2; count -= 2, rows += 2 * length, sums += 2) {
        const int8_t *const r1 = rows + length;
        int32_t s0 = sums[0], s1 = sums[1], i;
        for (i = 0; i < length; i++) {
            const int32_t v = one[i];
            s0 += v * rows[i];
            s1 += v * r1[i];
        }
        sums[0] = s0;
        sums[1] = s1;
    }
    for (; count > 0; count--, rows += length, sums++) {
        int32_t sum = *sums, i;
        for (i = 0; i < length; i++) sum += (int32_t)one[i] * rows[i];
        *sums = sum;
    }
}""")
}


def op_code(op: Op, label: str, constants: Constants) -> list[str]:
    """Return the body of an op's function, from x to y."""
    return _BODIES[type(op)](op, label, constants)


def _rescaled(made: Rescale, label: str, constants: Constants, wide: bool = False) -> list[str]:
    """Return the statements that convert v, a sum of channel c, to an output."""
    factor = str(made.multiplier[0])
    if len(made.multiplier) > 1:
        factor = f"{constants.add(f'{label}_factor', made.multiplier, 'int32_t')}[c]"
    half = f"((int64_t)1 << {made.shift - 1})"
    scaled = f"(int32_t)(((int64_t)v * {factor} + {half}) >> {made.shift})"
    zero = f" {'-' if made.zero < 0 else '+'} {abs(made.zero)}" if made.zero else ""
    lines = [f"v = {scaled}{zero};"]
    if not wide:
        lines.append(f"v = v < {made.low} ? {made.low} : v > {made.high} ? {made.high} : v;")
    if made.table is not None:
        small = np.abs(made.table).max() <= 128
        name = constants.add(f"{label}_table", made.table, "int8_t" if small else "int16_t")
        shift = f" {'-' if made.low > 0 else '+'} {abs(made.low)}" if made.low else ""
        lines.append(f"v = {name}[v{shift}];")
    return lines


def _sums(op: Sums, label: str, constants: Constants) -> list[str]:
    """Gather the windows of the input, then multiply by each row of weights."""
    O, taps = len(op.weight), op.taps
    weight = constants.add(f"{label}_weight", op.weight, "int8_t")
    bias = constants.add(f"{label}_bias", op.bias, "int32_t")
    pooled = op.pool is not None
    finish = []
    if op.outer:
        finish = _rescaled(op.outer, label, constants, op.wide)
    store = "*y++ = v;" if op.wide else "*y++ = (int8_t)v;"
    of_group = O // op.groups
    inputs = "x" if op.whole else "patches"
    if pooled:
        positions = prod(op.window)
        body = [
            f"int32_t sums[{positions}], v, j;",
            f"for (j = 0; j < {positions}; j++) sums[j] = {bias}[c];",
            f"{constants.prefix}_dots({weight} + c * {taps}, {inputs}, {positions}, {taps}, sums);",
            *_pooled(op, label, constants),
            *finish,
            store,
        ]
        channels = (
            loop("c", of_group, body)
            if op.groups == 1
            else block(f"for (c = g * {of_group}; c < (g + 1) * {of_group}; c++)", body)
        )
    else:
        end = str(O) if op.groups == 1 else f"(g + 1) * {of_group}"
        count = "4" if of_group % 4 == 0 else "count"
        rows = min(4, of_group)
        body = [
            f"int32_t sums[{rows}], j;",
            *(
                [f"const int32_t count = {end} - c < {rows} ? {end} - c : {rows};"]
                if count == "count"
                else []
            ),
            f"for (j = 0; j < {count}; j++) sums[j] = {bias}[c + j];",
            f"{constants.prefix}_dots({inputs}, {weight} + c * {taps}, {count}, {taps}, sums);",
            *block(f"for (j = 0; j < {count}; j++, c++)", ["int32_t v = sums[j];", *finish, store]),
        ]
        start = "0" if op.groups == 1 else f"g * {of_group}"
        channels = block(f"for (c = {start}; c < {end};)", body)
    if op.whole:
        return ["int32_t c;", *channels]
    names = ["c", "py", "px", "kh", *(["ph", "pw"] if pooled else [])]
    pixel = ["int8_t *p = patches;", *_gather(op, pooled), *channels]
    if op.groups > 1:
        names.append("g")
        pixel = loop("g", op.groups, pixel)
    if _has_edges(op):
        names += ["kw", "i"]
    pixels = loop("py", op.result[0], loop("px", op.result[1], pixel))
    return [f"int32_t {', '.join(names)};", *pixels]


def _has_edges(op: Sums) -> bool:
    """Return True if the rows of a window are not contiguous in memory or exceed the input."""
    (H, W, _), (OH, OW), (_, KH, KW, _) = op.shape, op.grid, op.weight.shape
    bottom = (OH - 1) * op.stride[0] + (KH - 1) * op.dilation[0] + 1 - op.pads[0]
    right = (OW - 1) * op.stride[1] + (KW - 1) * op.dilation[1] + 1 - op.pads[1]
    inside = not any(op.pads) and bottom <= H and right <= W
    return op.groups > 1 or op.dilation[1] > 1 or not inside


def _gather(op: Sums, pooled: bool) -> list[str]:
    """Copy the windows of one output to `patches`."""
    (_, KH, KW, I), (H, W, C) = op.weight.shape, op.shape
    (SH, SW), (DH, DW), (top, left) = op.stride, op.dilation, op.pads
    row, column = ("py", "px")
    if pooled:
        row, column = (
            f"({at} * {size} + {inner})" if size > 1 else at
            for at, size, inner in zip((row, column), op.window, ("ph", "pw"), strict=True)
        )
    row += f" * {SH}" if SH > 1 else ""
    column += f" * {SW}" if SW > 1 else ""
    down = "kh" + (f" * {DH}" if DH > 1 else "")
    if _has_edges(op):
        across = "kw" + (f" * {DW}" if DW > 1 else "")
        group = f" + g * {I}" if op.groups > 1 else ""
        inside = f"h >= 0 && h < {H} && w >= 0 && w < {W}"
        lines = [
            f"const int32_t h = {row} + {down}{f' - {top}' if top else ''};",
            *loop(
                "kw",
                KW,
                [
                    f"const int32_t w = {column} + {across}{f' - {left}' if left else ''};",
                    f"const int inside = {inside};",
                    f"const int8_t *in = x + (inside ? (h * {W} + w) * {C}{group} : 0);",
                    f"for (i = 0; i < {I}; i++) *p++ = inside ? in[i] : (int8_t){op.fill};",
                ],
            ),
        ]
    else:
        lines = [
            f"const int8_t *in = x + (({row} + {down}) * {W} + {column}) * {C};",
            f"memcpy(p, in, {KW * I});",
            f"p += {KW * I};",
        ]
    lines = loop("kh", KH, lines)
    if not pooled:
        return lines
    return loop("ph", op.window[0], loop("pw", op.window[1], lines))


def _pooled(op: Sums, label: str, constants: Constants) -> list[str]:
    """Return the statements that compute v from the sums of a window."""
    change = _rescaled(op.inner, f"{label}_inner", constants) if op.inner else []
    if op.floor and not op.inner:
        change = ["v = v > 0 ? v : 0;"]
    count = prod(op.window)
    if not change:
        take = "if (sums[j] > v) v = sums[j];" if op.pool == "max" else "v += sums[j];"
        return ["v = sums[0];", f"for (j = 1; j < {count}; j++) {take}"]
    take = "if (v > best) best = v;" if op.pool == "max" else "best += v;"
    first = "-2147483647" if op.pool == "max" else "0"
    lines = loop("j", count, ["v = sums[j];", *change, take])
    return block("", [f"int32_t best = {first};", *lines, "v = best;"])


def _pool(op: Pool, label: str, constants: Constants) -> list[str]:
    (H, W, C), (OH, OW, _) = op.shape, op.result
    (KH, KW), (SH, SW), (DH, DW) = op.size, op.stride, op.dilation
    (top, bottom), (left, right) = op.pads
    take = ["if (x[i] > v) v = x[i];"] if op.is_max else [f"v += x[i] - ({op.fill});"]
    if not op.is_max and not op.count_padding:
        take.append("pixels++;")
    inside = f"if (h < 0 || h >= {H} || w < 0 || w >= {W}) continue;"
    window = loop(
        "kh",
        KH,
        [
            f"const int32_t h = py * {SH} + kh * {DH} - {top};",
            *loop(
                "kw",
                KW,
                [
                    f"const int32_t w = px * {SW} + kw * {DW} - {left};",
                    f"const int32_t i = (h * {W} + w) * {C} + c;",
                    inside,
                    *take,
                ],
            ),
        ],
    )
    value = [f"int32_t v = {LOW if op.is_max else 0};"]
    if not op.is_max:
        if op.count_padding:
            high = f"{H + bottom + top} - py * {SH}"
            wide = f"{W + right + left} - px * {SW}"
            pixels = f"({high} < {KH} ? {high} : {KH}) * ({wide} < {KW} ? {wide} : {KW})"
            value.append(f"const int32_t pixels = {pixels};")
        else:
            value.append("int32_t pixels = 0;")
    value += window
    if not op.is_max:
        value.append("v = v * 256 / pixels;")
    if op.outer:
        value += _rescaled(op.outer, label, constants, op.wide)
    value.append("*y++ = v;" if op.wide else "*y++ = (int8_t)v;")
    pixels_loop = loop("py", OH, loop("px", OW, loop("c", C, value)))
    return ["int32_t c, py, px, kh, kw;", *pixels_loop]


def _lookup(op: Lookup, label: str, constants: Constants) -> list[str]:
    name = constants.add(f"{label}_table", op.table, "int8_t")
    return ["int32_t i;", f"for (i = 0; i < {prod(op.shape)}; i++) y[i] = {name}[x[i] + 128];"]


def _scores(op: Scores, label: str, constants: Constants) -> list[str]:
    lines = [f"int32_t v = x[c] - ({op.zero});", *_rescaled(op.outer, label, constants, True)]
    return ["int32_t c;", *loop("c", prod(op.result), [*lines, "y[c] = v;"])]


def _distances(op: Distances, label: str, constants: Constants) -> list[str]:
    classes, features = op.codes.shape
    small = np.abs(op.codes).max() <= 127
    kind = "int8_t" if small else "int16_t"
    name = constants.add(f"{label}_codes", op.codes, kind)
    add = [f"const int32_t apart = x[i] - {name}[c * {features} + i];", "v += apart * apart;"]
    store = "y[c] = v;" if op.wide else "y[c] = (int8_t)v;"
    finish = _rescaled(op.outer, label, constants, op.wide)
    body = ["int32_t v = 0;", *loop("i", features, add), *finish, store]
    return ["int32_t c, i;", *loop("c", classes, body)]


def _reorder(op: Reorder, label: str, constants: Constants) -> list[str]:
    H, W, C = op.shape
    copy = f"for (i = 0; i < {H * W}; i++) *y++ = x[i * {C} + c];"
    return ["int32_t c, i;", f"for (c = 0; c < {C}; c++) {copy}"]


def _add(op: Add, label: str, constants: Constants) -> list[str]:
    first, second = op.multipliers
    lines = [
        f"int32_t v = (a[i] * {first} + b[i] * {second} + {op.offset}) >> {op.shift};",
        "v = v < -128 ? -128 : v > 127 ? 127 : v;",
        "y[i] = (int8_t)v;",
    ]
    return ["int32_t i;", *loop("i", prod(op.result), lines)]


_BODIES: dict[type, Callable[[Any, str, Constants], list[str]]] = {
    Sums: _sums,
    Pool: _pool,
    Lookup: _lookup,
    Scores: _scores,
    Distances: _distances,
    Reorder: _reorder,
    Add: _add,
}
