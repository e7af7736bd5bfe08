"""A model as one file of C99 that depends on nothing but the C library's mathematics."""

from collections.abc import Iterable
from dataclasses import replace
from math import prod
from string import Template

import numpy as np

import lenet5c
from lenet5c import nn
from lenet5c.datasets.resampling import UNIT, resize_matrix
from lenet5c.export.activations import float_text
from lenet5c.export.c_memory import Call, Place, calls, work_size
from lenet5c.export.c_stages import (
    Constants,
    Stage,
    all_stages,
    check_size,
    group_stages,
    stage_code,
)
from lenet5c.export.c_text import array_text, block, function, loop, prefix_of, string
from lenet5c.export.errors import ExportError
from lenet5c.export.network import Network, all_steps, fold_batch_norm, to_network
from lenet5c.export.quantization import round_weights
from lenet5c.training import TrainedModel

QUANTIZATIONS = ("none", "int8")

# $p is the prefix of all names, $P the same in capitals.
FILE = """\
/* A $model for $sides $unit and $classes classes, written by lenet5c $version.
 *
 *     flash  $flash bytes of constants$weights
 *     RAM    $ram bytes, static; at most $stack more on the stack
 *     work   $work multiply-adds a call
 *
 *     $input
 *     float scores[$classes];
 *     int best = ${p}_$predict($argument, scores);   $result
 *     ${p}_class_names[best]
 *
 * Compile this file once, as C99 or C++, and link with -lm. Where the functions are called, define
 * ${P}_DECLARATIONS_ONLY and include it. The work area is static: one call at a time.
 * Compiled with -DLENET5C_MODEL_MAIN it is a program that checks itself on the target.
 */
#ifndef ${P}_DECLARED
#define ${P}_DECLARED
#include <stdint.h>

#define ${P}_CLASSES $classes
$defines#define ${P}_INPUT $count

#ifdef __cplusplus
extern "C" {
#endif
extern const char *const ${p}_class_names[${P}_CLASSES]; /* UTF-8 */
$declaration/* The class of an input that is prepared already. */
int ${p}_predict_input(const float *input, float *scores);
/* Probabilities of the scores$heat; may be the same array. */
void ${p}_softmax(const float *scores, float *probabilities);
#ifdef __cplusplus
}
#endif
#endif /* ${P}_DECLARED */

#if !defined(${P}_DECLARATIONS_ONLY) && !defined(${P}_DEFINED)
#define ${P}_DEFINED

#include <math.h>
#include <stddef.h>

#if !defined(__cplusplus) && defined(__STDC_VERSION__) && __STDC_VERSION__ >= 199901L
#define ${P}_RESTRICT restrict
#else
#define ${P}_RESTRICT
#endif

const char *const ${p}_class_names[${P}_CLASSES] = {
$names
};

$functions

void ${p}_softmax(const float *scores, float *probabilities)
{
    float largest = scores[0], sum = 0.0f;
    int32_t c;
    for (c = 1; c < $classes; c++) largest = scores[c] > largest ? scores[c] : largest;
    for (c = 0; c < $classes; c++) {
        probabilities[c] = expf($exponent);
        sum += probabilities[c];
    }
    for (c = 0; c < $classes; c++) probabilities[c] /= sum;
}

#ifdef LENET5C_MODEL_MAIN
#include <stdio.h>

$given

$expected

int main(void)
{
    float scores[${P}_CLASSES], worst = 0.0f;
    int c, best;
    best = ${p}_$predict(${p}_test_$argument, scores);
    for (c = 0; c < ${P}_CLASSES; c++) {
        const float expected = ${p}_test_scores[c];
        const float error = fabsf(scores[c] - expected) / (1.0f + fabsf(expected));
        printf("%-20s %12.6f expected %12.6f\\n", ${p}_class_names[c], (double)scores[c],
               (double)expected);
        worst = error < worst ? worst : error;
    }
    printf("class %d %s, largest difference %.2g: %s\\n", best, ${p}_class_names[best],
           (double)worst, worst < 1e-3f && best == $best ? "passed" : "FAILED");
    return worst < 1e-3f && best == $best ? 0 : 1;
}
#endif

#endif /* ${P}_DECLARATIONS_ONLY */
"""


def to_c(
    model: TrainedModel | nn.Sequential,
    name: str = "lenet5",
    *,
    quantize: str = "none",
    input_shape: tuple[int, ...] | None = None,
    image: np.ndarray | None = None,
) -> str:
    r"""Return the text of a C file that computes what the model does.

    It compiles as C99 and as C++. Weights are constants, so that they stay in flash; the work area
    is static, and as small as two neighboring layers, since convolution and pooling are computed
    together.

    Parameters
    ----------
    model : TrainedModel or lenet5c.nn.Sequential
        A `Sequential` is bare: there is no function for uint8 images then.
    name : str, optional
        Prefix of all symbols, a C identifier.
    quantize : {'none', 'int8'}, optional
        'int8' stores each weight in one byte, with a scale for each output channel; activations
        stay floats.
    input_shape : tuple of int, optional
        Shape of one sample, for a `Sequential` that does not know its own.
    image : ndarray of uint8, shape (C, h, w), optional
        Image of the file's self-test; a pattern by default.

    Returns
    -------
    str
        ASCII. The comment at its beginning says how to use it, and how much memory it takes.

    Raises
    ------
    ExportError
        If a layer has no counterpart, or `name` is not a C identifier.
    ValueError
        If `quantize` or `image` is not as above.

    Examples
    --------
    >>> from lenet5c.export import to_c
    >>> from lenet5c.training import open_model
    >>> text = to_c(open_model(), "digits", quantize="int8")
    >>> print(*text.splitlines()[2:5], sep="\n")
     *     flash  63,358 bytes of constants, weights as int8
     *     RAM    8,800 bytes, static; at most 224 more on the stack
     *     work   416,520 multiply-adds a call
    >>> "int digits_predict(const uint8_t *image, float *scores);" in text
    True
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize must be one of {', '.join(QUANTIZATIONS)}, got {quantize!r}")
    net = to_network(model, input_shape)
    return _Writer(net, prefix_of(name), quantize == "int8").text(image)


class _Writer:
    def __init__(self, net: Network, prefix: str, quantize: bool) -> None:
        if len(net.output_shape) != 1:
            raise ExportError(
                f"model must have one row of class scores for C, got outputs {net.output_shape}; "
                "end it with Flatten and Linear"
            )
        self.net, self.prefix, self.quantize = net, prefix, quantize
        self.constants = Constants(prefix, quantize)
        self.chain = group_stages(fold_batch_norm(net.steps))
        self.stages = list(all_stages(self.chain))
        if not self.chain:
            raise ExportError("model must have a layer with an effect, got none; add one")
        self.classes = net.output_shape[0]
        self.work = work_size(self.chain, prod(net.input_shape))
        arrays = (array.size for step in all_steps(net.steps) for array in step.arrays.values())
        check_size(max(self.work, *arrays, 0))

    def text(self, image: np.ndarray | None) -> str:
        net, p, P = self.net, self.prefix, self.prefix.upper()
        functions = [self.stage(i, stage) for i, stage in enumerate(self.stages, start=1)]
        functions += [*self.helpers(), self.predict_input()]
        class_names: Iterable[str] = map(str, range(self.classes))
        defines, declaration = "", ""
        if net.trained is None:
            shape: tuple[int, ...] = net.input_shape
            unit, kind, argument = "values", "float", "input"
            order = "in the order of lenet5c, (C, H, W)"
            x = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
        else:
            shape = net.image_shape
            unit, kind, argument = "pixels", "uint8_t", "image"
            order = "rows from top to bottom, one channel after the other, 0 to 255"
            x = _test_image(shape, image)[np.newaxis]
            class_names = net.trained.class_names
            sides = zip(("CHANNELS", "HEIGHT", "WIDTH"), shape, strict=True)
            defines = "".join(f"#define {P}_{side} {length}\n" for side, length in sides)
            head = f"int {p}_predict(const uint8_t *image, float *scores)"
            declaration = f"/* The class of an image as it is. */\n{head};\n"
            functions.insert(-1, self.prepare())
            call = f"{p}_predict_input({p}_work, scores)"
            functions.append(function(head, [f"{p}_prepare(image, {p}_work);", f"return {call};"]))
        if self.quantize:  # what is expected is by the weights as they are in the file
            net = replace(net, model=round_weights(fold_batch_norm(net.steps)))
        expected = net.logits(x)[0]
        work = f"static float {p}_work[{self.work}];"
        heat, exponent = "", "scores[c] - largest"
        if net.temperature != 1:
            heat = f" at the temperature {net.temperature:g}"
            exponent = f"({exponent}) / {float_text(net.temperature)}"
        return Template(FILE).substitute(
            p=p,
            P=P,
            model=type(self.net.model).__name__,
            sides=" x ".join(map(str, shape)),
            unit=unit,
            classes=self.classes,
            version=lenet5c.__version__,
            flash=f"{self.constants.bytes:,}",
            weights=", weights as int8" if self.quantize else "",
            ram=f"{4 * self.work:,}",
            stack=f"{4 * max((stage.line_size for stage in self.stages), default=0):,}",
            work=f"{sum(stage.multiply_adds for stage in self.stages):,}",
            input=f"{kind} {argument}[{prod(shape)}];   {order}",
            argument=argument,
            result="the index of the largest score; scores may be NULL",
            predict="predict_input" if net.trained is None else "predict",
            defines=defines,
            count=prod(net.input_shape),
            declaration=declaration,
            heat=heat,
            exponent=exponent,
            names=",\n".join(f"    {string(name)}" for name in class_names),
            functions="\n\n".join([*self.constants.texts, work, *functions]),
            given=array_text(f"{p}_test_{argument}", x, kind),
            expected=array_text(f"{p}_test_scores", expected, "float"),
            best=int(expected.argmax()),
        )

    def stage(self, number: int, stage: Stage) -> str:
        label = f"stage{number}"
        body = stage_code(stage, label, self.constants)
        # A stage that works in place has the same array twice.
        restrict = "" if stage.in_place else f"{self.prefix.upper()}_RESTRICT "
        head = f"static void {self.prefix}_{label}(const float *{restrict}x, float *{restrict}y)"
        comment = f"/* {stage.comment}: {stage.size} values to {prod(stage.result)} */"
        return comment + "\n" + function(head, body)

    def prepare(self) -> str:
        net, (C, h, w), (_, H, W) = self.net, self.net.image_shape, self.net.input_shape
        scale, offset = net.scale_and_offset
        shift = f"{self.constants.add('offset', offset)}[i]" if offset.ndim else float_text(offset)
        if net.margins is None:
            pixel = self.resized(h, w, H, W)
        elif (h, w) == (H, W):
            pixel = [f"float v = (float)image[(c * {h} + py) * {w} + px];"]
        else:
            top, left, _, _ = net.margins
            inside = f"py >= {top} && py < {top + h} && px >= {left} && px < {left + w}"
            at = f"(c * {h} + py - {top}) * {w} + px - {left}"
            pixel = ["float v = 0.0f;", f"if ({inside}) v = (float)image[{at}];"]
        pixel.append(f"*x++ = v * {float_text(scale)} + {shift};")
        if offset.ndim:
            pixel.append("i++;")
        body = [
            f"int32_t c, py, px{', i = 0' if offset.ndim else ''};",
            *loop("c", C, loop("py", H, loop("px", W, pixel))),
        ]
        return function(f"static void {self.prefix}_prepare(const uint8_t *image, float *x)", body)

    def resized(self, h: int, w: int, H: int, W: int) -> list[str]:
        """Compute a pixel of the resized image in integers, exactly as lenet5c does."""
        names = []
        for axis, length, source in (("row", H, h), ("column", W, w)):
            units = np.rint(resize_matrix(length, source) * 2**UNIT).astype(np.int64)
            first = (units > 0).argmax(axis=1)
            taps = int((source - (units > 0)[:, ::-1].argmax(axis=1) - first).max())
            first = np.minimum(first, source - taps)
            chosen = np.take_along_axis(units, first[:, None] + np.arange(taps), axis=1)
            add = self.constants.add
            names += [taps, add(f"{axis}_first", first, "int32_t")]
            names += [add(f"{axis}_share", chosen, "uint32_t")]
        tall, row_first, row_share, wide, column_first, column_share = names
        start = f"(c * {h} + {row_first}[py] + a) * {w} + {column_first}[px]"
        row = [
            f"const uint8_t *in = image + {start};",
            "uint32_t part = 0;",
            f"for (b = 0; b < {wide}; b++) part += {column_share}[px * {wide} + b] * in[b];",
            f"sum += (uint64_t){row_share}[py * {tall} + a] * part;",
        ]
        return [
            f"uint64_t sum = (uint64_t)1 << {2 * UNIT - 1};",
            "float v;",
            "int32_t a, b;",
            *loop("a", tall, row),
            f"v = (float)(sum >> {2 * UNIT});",
        ]

    def predict_input(self) -> str:
        """Call the stages; their outputs lie in the work area as `c_memory` places them."""
        made = calls(self.chain, prod(self.net.input_shape))
        sign, lines = "-" if self.net.negated else "", [self.call(each) for each in made]
        copy = f"for (c = 0; c < {self.classes}; c++) scores[c] = {sign}result[c];"
        body = [
            f"const float *result = {self.pointer(made[-1].target)};",
            "int32_t best = 0, c;",
            *lines,
            *loop("c", self.classes, [f"if ({sign}result[c] > {sign}result[best]) best = c;"], 1),
            *block("if (scores != NULL)", [copy]),
            "return (int)best;",
        ]
        head = f"int {self.prefix}_predict_input(const float *input, float *scores)"
        return function(head, body)

    def call(self, call: Call) -> str:
        """Return the statement of a call."""
        places = f"{self.pointer(call.source)}, {self.pointer(call.target)}"
        if isinstance(call.what, str):
            return f"{self.prefix}_{call.what}({places}, {call.size});"
        number = next(i for i, stage in enumerate(self.stages, start=1) if stage is call.what)
        return f"{self.prefix}_stage{number}({places});"

    def pointer(self, place: Place) -> str:
        """Return the expression of a place."""
        if isinstance(place, str):
            return place
        return f"{self.prefix}_work + {place}" if place else f"{self.prefix}_work"

    def helpers(self) -> list[str]:
        """Return the functions of residual blocks that are called."""
        made = [each.what for each in calls(self.chain, prod(self.net.input_shape))]
        restrict = f"{self.prefix.upper()}_RESTRICT"
        return [
            function(
                f"static void {self.prefix}_{name}(const float *{restrict} x, float *{restrict} y, "
                "int32_t count)",
                ["int32_t i;", f"for (i = 0; i < count; i++) y[i] {sign} x[i];"],
            )
            for name, sign in (("add", "+="), ("copy", "="))
            if name in made
        ]


def _test_image(shape: tuple[int, ...], image: np.ndarray | None) -> np.ndarray:
    if image is None:
        c, y, x = np.indices(shape)
        return ((x * 7 + y * 13 + c * 50 + x * y) % 256).astype(np.uint8)
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.shape != tuple(shape):
        raise ValueError(f"image must be uint8 {tuple(shape)}, got {image.dtype} {image.shape}")
    return image
