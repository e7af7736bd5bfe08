"""Common parts of C files: comment, declarations, image conversion, calls and self-test."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from string import Template

import numpy as np

import lenet5c
from lenet5c.datasets.resampling import UNIT, resize_matrix
from lenet5c.export.c_memory import Call, Plan, Value
from lenet5c.export.c_stages import Constants
from lenet5c.export.c_text import array_text, block, function, loop, string
from lenet5c.export.errors import ExportError
from lenet5c.export.network import Network
from lenet5c.nn.ensemble import describe_kind

# $p is the prefix of all names, $P the same in capitals.
FILE = """\
/* A $model for $sides $unit and $classes classes, written by lenet5c $version.
 *
 *     flash  $flash bytes of constants$weights
 *     RAM    $ram bytes, static
 *     stack  not measured
 *     work   $work multiply-adds a call$arithmetic
 *
 *     $input
 *     $score scores[$classes];$scores
 *     int best = ${p}_$predict($argument, scores);   $result
 *     ${p}_class_names[best]
 *
 * Compile this file once, as C99 or C++$link. Where the functions are called, define
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
$declaration/* The class of an input that is prepared already$prepared. */
int ${p}_predict_input(const $value *input, $score *scores);
/* Probabilities of the scores$heat. */
void ${p}_softmax(const $score *scores, $probability *probabilities);
#ifdef __cplusplus
}
#endif
#endif /* ${P}_DECLARED */

#if !defined(${P}_DECLARATIONS_ONLY) && !defined(${P}_DEFINED)
#define ${P}_DEFINED

$includes
#if !defined(__cplusplus) && defined(__STDC_VERSION__) && __STDC_VERSION__ >= 199901L
#define ${P}_RESTRICT restrict
#else
#define ${P}_RESTRICT
#endif

const char *const ${p}_class_names[${P}_CLASSES] = {
$names
};

$functions

#ifdef LENET5C_MODEL_MAIN
#include <stdio.h>
#include <string.h>

$given

$expected

int main(void)
{
    $score scores[${P}_CLASSES];
$check
}
#endif

#endif /* ${P}_DECLARATIONS_ONLY */
"""


@dataclass
class Numbers:
    """C types of a file, and their descriptions for its comments."""

    value: str
    score: str
    probability: str
    includes: str
    link: str = ""
    weights: str = ""
    arithmetic: str = ""
    scores: str = ""
    prepared: str = ""


class Writer:
    """Writer of a C file; a subclass has the functions of one arithmetic."""

    numbers: Numbers
    plan: Plan
    #: Bytes of an item of the work area, and of other static data.
    item, besides = 1, 0

    def __init__(self, net: Network, prefix: str) -> None:
        if len(net.output_shape) != 1:
            raise ExportError(
                "model must output one row of class scores to be exported to C, got output shape "
                f"{net.output_shape}; end it with Flatten and Linear"
            )
        self.net, self.prefix = net, prefix
        self.constants = Constants(prefix)
        self.classes = net.output_shape[0]

    # Methods of subclasses.

    def functions(self) -> list[str]:
        """Return the functions of stages and the functions they call."""
        raise NotImplementedError

    def statement(self, call: Call) -> str:
        """Return the statement of a call."""
        raise NotImplementedError

    def store_pixel(self) -> list[str]:
        """Return the statements that store `pixel`, of channel c at py, px, as an input."""
        raise NotImplementedError

    def softmax(self) -> str:
        """Return the function of probabilities."""
        raise NotImplementedError

    def expected(self, x: np.ndarray) -> np.ndarray:
        """Return the scores that the file computes."""
        raise NotImplementedError

    def bare_input(self) -> np.ndarray:
        """Return an input of a model without images, for the self-test."""
        raise NotImplementedError

    def check(self, best: int) -> list[str]:
        """Return the body of the self-test."""
        raise NotImplementedError

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a call."""
        raise NotImplementedError

    # The file.

    def text(self, image: np.ndarray | None) -> str:
        """Return the file, with an image for its self-test."""
        net, p, P, numbers = self.net, self.prefix, self.prefix.upper(), self.numbers
        functions = [*self.functions(), self.predict_input()]
        class_names: Iterable[str] = map(str, range(self.classes))
        defines, declaration = "", ""
        if net.trained is None:
            shape: tuple[int, ...] = net.input_shape
            unit, kind, argument = "values", numbers.value, "input"
            order = self.input_order
            x = self.bare_input()
        else:
            shape = net.image_shape
            unit, kind, argument = "pixels", "uint8_t", "image"
            order = "rows from top to bottom, one channel after the other, 0 to 255"
            x = _test_image(shape, image)[np.newaxis]
            class_names = net.trained.class_names
            sides = zip(("CHANNELS", "HEIGHT", "WIDTH"), shape, strict=True)
            defines = "".join(f"#define {P}_{side} {length}\n" for side, length in sides)
            head = f"int {p}_predict(const uint8_t *image, {numbers.score} *scores)"
            declaration = f"/* The class of an image as it is. */\n{head};\n"
            functions.insert(-1, self.prepare())
            place = self.pointer(self.plan.input, inside=True)
            call = f"{p}_predict_input({place}, scores)"
            functions.append(function(head, [f"{p}_prepare(image, {place});", f"return {call};"]))
        expected = self.expected(x)
        work = [f"static {numbers.value} {p}_work[{self.plan.size}];"] if self.plan.size else []
        heat = f" at the temperature {net.temperature:g}" if net.temperature != 1 else ""
        functions.append(self.softmax())
        return Template(FILE).substitute(
            vars(numbers),
            p=p,
            P=P,
            model=describe_kind(self.net.model),
            sides=" x ".join(map(str, shape)),
            unit=unit,
            classes=self.classes,
            version=lenet5c.__version__,
            flash=f"{self.constants.bytes:,}",
            ram=f"{self.item * self.plan.size + self.besides:,}",
            work=f"{self.multiply_adds:,}",
            input=f"{kind} {argument}[{prod(shape)}];   {order}",
            argument=argument,
            result="the index of the largest score; scores may be NULL",
            predict="predict_input" if net.trained is None else "predict",
            defines=defines,
            count=prod(net.input_shape),
            declaration=declaration,
            heat=heat,
            names=",\n".join(f"    {string(name)}" for name in class_names),
            functions="\n\n".join([*self.constants.texts, *work, *functions]),
            given=array_text(f"{p}_test_{argument}", x, kind),
            expected=array_text(f"{p}_test_scores", expected, numbers.score),
            check="\n".join(f"    {line}" for line in self.check(int(expected.argmax()))),
        )

    #: Order of the input of a model without image preparation.
    input_order = "in the order of lenet5c, (C, H, W)"

    @property
    def test_call(self) -> str:
        """The call of the self-test."""
        predict, argument = "predict", "image"
        if self.net.trained is None:
            predict, argument = "predict_input", "input"
        return f"best = {self.prefix}_{predict}({self.prefix}_test_{argument}, scores);"

    def prepare(self) -> str:
        """Return the function that converts an image to an input."""
        net, (_, h, w), (C, H, W) = self.net, self.net.image_shape, self.net.input_shape
        if net.margins is None:
            pixel = self._resized(h, w, H, W)
        elif (h, w) == (H, W):
            pixel = [f"const uint8_t pixel = image[(c * {h} + py) * {w} + px];"]
        else:
            top, left, _, _ = net.margins
            inside = f"py >= {top} && py < {top + h} && px >= {left} && px < {left + w}"
            at = f"(c * {h} + py - {top}) * {w} + px - {left}"
            pixel = ["uint8_t pixel = 0;", f"if ({inside}) pixel = image[{at}];"]
        value = self.numbers.value
        body = [
            "int32_t c, py, px;",
            *loop("c", C, loop("py", H, loop("px", W, [*pixel, *self.store_pixel()]))),
        ]
        return function(
            f"static void {self.prefix}_prepare(const uint8_t *image, {value} *x)", body
        )

    def _resized(self, h: int, w: int, H: int, W: int) -> list[str]:
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
            "uint8_t pixel;",
            "int32_t a, b;",
            *loop("a", tall, row),
            f"pixel = (uint8_t)(sum >> {2 * UNIT});",
        ]

    def predict_input(self) -> str:
        """Return the function that calls the others."""
        numbers, p = self.numbers, self.prefix
        result, sign = self.result()
        copy = f"for (c = 0; c < {self.classes}; c++) scores[c] = {sign}result[c];"
        body = [
            f"const {numbers.score} *result = {result};",
            "int32_t best = 0, c;",
            *map(self.statement, self.plan.calls),
            *loop("c", self.classes, [f"if ({sign}result[c] > {sign}result[best]) best = c;"], 1),
            *block("if (scores != NULL)", [copy]),
            "return (int)best;",
        ]
        head = f"int {p}_predict_input(const {numbers.value} *input, {numbers.score} *scores)"
        return function(head, body)

    def result(self) -> tuple[str, str]:
        """Return the location of the scores and their sign."""
        sign = "-" if self.net.negated else ""
        return self.pointer(self.plan.calls[-1].target), sign

    def pointer(self, value: Value, inside: bool = False) -> str:
        """Return the expression of a value's address; the input is passed by the caller."""
        if value is self.plan.input and not inside:
            return "input"
        return f"{self.prefix}_work + {value.place}" if value.place else f"{self.prefix}_work"


def _test_image(shape: tuple[int, ...], image: np.ndarray | None) -> np.ndarray:
    if image is None:
        c, y, x = np.indices(shape)
        return ((x * 7 + y * 13 + c * 50 + x * y) % 256).astype(np.uint8)
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.shape != tuple(shape):
        raise ValueError(
            f"image must be uint8 of shape {tuple(shape)}, got {image.dtype} of shape {image.shape}"
        )
    return image
