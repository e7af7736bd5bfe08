"""A model as one file of C99 that depends on nothing but the C library's mathematics."""

from dataclasses import replace
from math import prod

import numpy as np

import lenet5c
from lenet5c.export.c_stages import Weights, check_size, stage_code, stage_comment, stages
from lenet5c.export.c_text import array_text, indented, number, prefix_of, string, wrapped
from lenet5c.export.errors import ExportError
from lenet5c.export.network import fold_batch_norm, network
from lenet5c.export.quantization import dequantized_model
from lenet5c.export.resampling import UNIT, axis_weights

QUANTIZATIONS = ("none", "int8")


def to_c(model, name="lenet5", *, quantize="none", input_shape=None, image=None):
    """The text of a C file that computes what the model does.

    It compiles as C99 and as C++. Weights are constants, so that they stay in flash; the work area is static, and as
    small as two neighbouring layers, as convolution and pooling are done in one go.

    Parameters
    ----------
    model : TrainedModel, or lenet5c.nn.Sequential
        A `Sequential` is bare: there is no function for uint8 images then.
    name : str
        The prefix of all symbols, a C identifier.
    quantize : {'none', 'int8'}
        'int8' stores each weight in one byte, with a scale for each output channel; activations stay floats.
    input_shape : tuple of int, optional
        Of a sample, for a `Sequential` that does not know its own.
    image : ndarray of uint8 (C, h, w), optional
        What the file's self-test looks at; a pattern if not given.

    Returns
    -------
    str
        ASCII. The comment at its beginning says how to use it, and how much memory it takes.

    Raises
    ------
    ExportError
        A layer has no counterpart, or the name is no C identifier.

    Examples
    --------
    >>> from lenet5c.export import to_c
    >>> from lenet5c.training import pretrained
    >>> text = to_c(pretrained(), "digits", quantize="int8")
    >>> print(*text.splitlines()[2:5], sep="\\n")
     *     flash  63,358 bytes of constants, weights as int8
     *     RAM    8,800 bytes, static; at most 224 more on the stack
     *     work   416,520 multiply-adds a call
    >>> "int digits_predict(const uint8_t *image, float *scores);" in text
    True
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(
            f"quantize is {quantize!r}; it should be one of {', '.join(QUANTIZATIONS)}"
        )
    return _Writer(network(model, input_shape), prefix_of(name), quantize == "int8", image).text()


class _Writer:
    def __init__(self, net, prefix, quantize, image):
        if len(net.output_shape) != 1:
            raise ExportError(
                f"the model has outputs {net.output_shape}; a C file is for one row of class scores"
            )
        self.net, self.prefix, self.P, self.image = net, prefix, prefix.upper(), image
        self.quantize = quantize
        self.weights = Weights(prefix, quantize)
        self.stages = stages(fold_batch_norm(net.steps))
        if not self.stages:
            raise ExportError(
                "the model has no layer that does anything; there is nothing to export"
            )
        self.classes = net.output_shape[0]
        self.work = max((s.size if s.in_place else s.size + s.result_size) for s in self.stages)
        check_size(
            max(self.work, *(array.size for step in net.steps for array in step.arrays.values()), 0)
        )
        self.from_images = net.preparation is not None

    def text(self):
        functions = [self._stage(i, stage) for i, stage in enumerate(self.stages, start=1)]
        if self.from_images:
            functions.append(self._prepare())
        parts = [
            self._declarations(),
            f"#if !defined({self.P}_DECLARATIONS_ONLY) && !defined({self.P}_DEFINED)\n#define {self.P}_DEFINED",
            "#include <math.h>\n#include <stddef.h>",
            f"#if !defined(__cplusplus) && defined(__STDC_VERSION__) && __STDC_VERSION__ >= 199901L\n"
            f"#define {self.P}_RESTRICT restrict\n#else\n#define {self.P}_RESTRICT\n#endif",
            self._class_names(),
            *self.weights.texts,
            f"static float {self.prefix}_work[{self.work}];",
            *functions,
            self._run(),
            self._softmax(),
            self._main(),
            f"#endif /* {self.P}_DECLARATIONS_ONLY */\n",
        ]
        return self._head() + "\n\n".join(part for part in parts if part)

    def _head(self):
        shape = self.net.image_shape if self.from_images else self.net.input_shape
        sides, unit = " x ".join(map(str, shape)), "pixels" if self.from_images else "values"
        stack = 4 * max(stage.line_size for stage in self.stages)
        lines = [
            f"A {type(self.net.model).__name__} for {sides} {unit} and {self.classes} classes, written by lenet5c "
            f"{lenet5c.__version__}.",
            "",
            f"    flash  {self.weights.bytes:,} bytes of constants{', weights as int8' if self.quantize else ''}",
            f"    RAM    {4 * self.work:,} bytes, static; at most {stack:,} more on the stack",
            f"    work   {sum(s.multiply_adds for s in self.stages):,} multiply-adds a call",
            "",
        ]
        if self.from_images:
            lines += [
                f"    uint8_t image[{prod(shape)}];   rows from top to bottom, one channel after the other, 0 to 255"
            ]
        else:
            lines += [f"    float input[{prod(shape)}];   in the order of lenet5c, (C, H, W)"]
        call = (
            f"{self.prefix}_predict(image, scores)"
            if self.from_images
            else f"{self.prefix}_predict_input(input, scores)"
        )
        lines += [
            f"    float scores[{self.classes}];",
            f"    int best = {call};   the index of the largest score; scores may be NULL",
            f"    {self.prefix}_class_names[best]",
            "",
            "Compile this file once, as C99 or C++, and link with -lm. Where the functions are called, define",
            f"{self.P}_DECLARATIONS_ONLY and include it. The work area is static: one call at a time.",
            "Compiled with -DLENET5C_MODEL_MAIN it is a program that checks itself on the target.",
        ]
        lines = [f" * {line}".rstrip() for line in lines]
        return "\n".join(["/*" + lines[0][2:], *lines[1:], " */\n"])

    def _declarations(self):
        P, shape = self.P, self.net.image_shape
        lines = [
            f"#ifndef {P}_DECLARED",
            f"#define {P}_DECLARED",
            "#include <stdint.h>",
            "",
            f"#define {P}_CLASSES {self.classes}",
        ]
        if self.from_images:
            lines += [
                f"#define {P}_{side} {n}"
                for side, n in zip(("CHANNELS", "HEIGHT", "WIDTH"), shape, strict=True)
            ]
        lines += [
            f"#define {P}_INPUT {prod(self.net.input_shape)}",
            "",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
        ]
        lines += [f"extern const char *const {self.prefix}_class_names[{P}_CLASSES]; /* UTF-8 */"]
        if self.from_images:
            lines += [
                "/* The class of an image as it is. */",
                f"int {self.prefix}_predict(const uint8_t *image, float *scores);",
            ]
        lines += [
            "/* The class of an input that is prepared already. */",
            f"int {self.prefix}_predict_input(const float *input, float *scores);",
            "/* Probabilities of the scores; may be the same array. */",
            f"void {self.prefix}_softmax(const float *scores, float *probabilities);",
            "#ifdef __cplusplus",
            "}",
            "#endif",
            f"#endif /* {P}_DECLARED */",
        ]
        return "\n".join(lines)

    def _class_names(self):
        names = self.net.class_names or tuple(str(i) for i in range(self.classes))
        values = ",\n".join(f"    {string(name)}" for name in names)
        return f"const char *const {self.prefix}_class_names[{self.P}_CLASSES] = {{\n{values}\n}};"

    def _stage(self, number_, stage):
        label = f"stage{number_}"
        body = stage_code(stage, label, self.weights)
        # A stage that works in place has the same array twice.
        restrict = "" if stage.in_place else f"{self.P}_RESTRICT "
        head = f"static void {self.prefix}_{label}(const float *{restrict}x, float *{restrict}y)"
        comment = f"/* {stage_comment(stage)}: {stage.size} values to {stage.result_size} */"
        return "\n".join([comment, head, "{", *indented(body, 1), "}"])

    def _prepare(self):
        preparation, (C, h, w), (H, W) = (
            self.net.preparation,
            self.net.image_shape,
            self.net.preparation.size,
        )
        offset = preparation.offset(C)
        scale, constant = number(preparation.scale), bool((offset == offset.flat[0]).all())
        shift = number(offset.flat[0]) if constant else self.weights.add("offset", offset) + "[i]"
        body = ["int32_t c, py, px;" if constant else "int32_t c, py, px, i = 0;"]
        if (h, w) == (H, W) or preparation.fit == "pad":
            top, left = (H - h) // 2, (W - w) // 2
            pixel = [
                f"float v = (float)image[(c * {h} + py - {top}) * {w} + px - {left}];"
                if (h, w) != (H, W)
                else f"float v = (float)image[(c * {h} + py) * {w} + px];"
            ]
            if (h, w) != (H, W):
                inside = f"py >= {top} && py < {top + h} && px >= {left} && px < {left + w}"
                pixel = [
                    "float v = 0.0f;",
                    f"if ({inside}) v = (float)image[(c * {h} + py - {top}) * {w} + px - {left}];",
                ]
        else:
            pixel = self._resized(h, w, H, W)
        value = f"*x++ = v * {scale} + {shift};"
        body += [
            f"for (c = 0; c < {C}; c++) {{",
            f"    for (py = 0; py < {H}; py++) {{",
            f"        for (px = 0; px < {W}; px++) {{",
            *indented(pixel, 3),
            f"            {value}",
            *([] if constant else ["            i++;"]),
            "        }",
            "    }",
            "}",
        ]
        return "\n".join(
            [
                f"static void {self.prefix}_prepare(const uint8_t *image, float *x)",
                "{",
                *indented(body, 1),
                "}",
            ]
        )

    def _resized(self, h, w, H, W):
        """A pixel of the resized image, in integers: exactly what lenet5c computes."""
        names = []
        for axis, length, source in (("row", H, h), ("column", W, w)):
            units = axis_weights(length, source)
            first = (units > 0).argmax(axis=1)
            taps = int((source - (units > 0)[:, ::-1].argmax(axis=1) - first).max())
            first = np.minimum(first, source - taps)
            picked = np.take_along_axis(units, first[:, None] + np.arange(taps), axis=1)
            names.append(
                (
                    taps,
                    self.weights.add(f"{axis}_first", first, "int32_t"),
                    self.weights.add(f"{axis}_share", picked, "uint32_t"),
                )
            )
        (tall, row_first, row_share), (wide, column_first, column_share) = names
        return [
            f"uint64_t sum = (uint64_t)1 << {2 * UNIT - 1};",
            "float v;",
            "int32_t a, b;",
            f"for (a = 0; a < {tall}; a++) {{",
            f"    const uint8_t *in = image + (c * {h} + {row_first}[py] + a) * {w} + {column_first}[px];",
            "    uint32_t part = 0;",
            f"    for (b = 0; b < {wide}; b++) part += {column_share}[px * {wide} + b] * in[b];",
            f"    sum += (uint64_t){row_share}[py * {tall} + a] * part;",
            "}",
            f"v = (float)(sum >> {2 * UNIT});",
        ]

    def _run(self):
        """From the first stage's input, anywhere, to scores and the class; outputs lie at either end of the work area."""
        calls, at = [], "input"
        for i, stage in enumerate(self.stages, start=1):
            if stage.in_place:
                # A prepared image lies low already.
                target = "low" if at == "input" else at
            else:
                target = "low" if at.startswith("high") else f"high - {stage.result_size}"
            calls.append(f"{self.prefix}_stage{i}({at}, {target});")
            at = target
        sign = "-" if self.net.negated else ""
        ends = {"low": f"{self.prefix}_work", "high": f"{self.prefix}_work + {self.work}"}
        body = [
            f"float *const {end} = {place};"
            for end, place in ends.items()
            if any(f" {end}" in call for call in calls)
        ]
        body += [
            f"const float *result = {at};",
            "int32_t best = 0, c;",
            *calls,
            f"for (c = 1; c < {self.classes}; c++) {{",
            f"    if ({sign}result[c] > {sign}result[best]) best = c;",
            "}",
            "if (scores != NULL) {",
            f"    for (c = 0; c < {self.classes}; c++) scores[c] = {sign}result[c];",
            "}",
            "return (int)best;",
        ]
        text = "\n".join(
            [
                f"int {self.prefix}_predict_input(const float *input, float *scores)",
                "{",
                *indented(body, 1),
                "}",
            ]
        )
        if self.from_images:
            body = [
                f"{self.prefix}_prepare(image, {self.prefix}_work);",
                f"return {self.prefix}_predict_input({self.prefix}_work, scores);",
            ]
            text += "\n\n" + "\n".join(
                [
                    f"int {self.prefix}_predict(const uint8_t *image, float *scores)",
                    "{",
                    *indented(body, 1),
                    "}",
                ]
            )
        return text

    def _softmax(self):
        n = self.classes
        body = [
            "float largest = scores[0], sum = 0.0f;",
            "int32_t c;",
            f"for (c = 1; c < {n}; c++) largest = scores[c] > largest ? scores[c] : largest;",
            f"for (c = 0; c < {n}; c++) {{",
            "    probabilities[c] = expf(scores[c] - largest);",
            "    sum += probabilities[c];",
            "}",
            f"for (c = 0; c < {n}; c++) probabilities[c] /= sum;",
        ]
        head = f"void {self.prefix}_softmax(const float *scores, float *probabilities)"
        return "\n".join([head, "{", *indented(body, 1), "}"])

    def _main(self):
        """A program that compares with what lenet5c computed."""
        net, prefix = self.net, self.prefix
        if self.from_images:
            image = self._test_image()
            values = wrapped([str(value) for value in image.reshape(-1).tolist()])
            given = f"static const uint8_t {prefix}_test_image[{image.size}] = {{\n{values}\n}};"
            expected = self._expected(image[np.newaxis])
            call = f"{prefix}_predict({prefix}_test_image, scores)"
        else:
            x = np.random.default_rng(0).standard_normal((1, *net.input_shape), np.float32)
            given = array_text(f"{prefix}_test_input", x, "float")
            expected = self._expected(x)
            call = f"{prefix}_predict_input({prefix}_test_input, scores)"
        lines = [
            "#ifdef LENET5C_MODEL_MAIN",
            "#include <stdio.h>",
            "",
            given,
            "",
            array_text(f"{prefix}_test_scores", expected, "float"),
            "",
            "int main(void)",
            "{",
            f"    float scores[{self.P}_CLASSES], worst = 0.0f;",
            "    int c, best;",
            f"    best = {call};",
            f"    for (c = 0; c < {self.P}_CLASSES; c++) {{",
            f"        const float expected = {prefix}_test_scores[c];",
            "        const float error = fabsf(scores[c] - expected) / (1.0f + fabsf(expected));",
            '        printf("%-20s %12.6f expected %12.6f\\n", '
            + f"{prefix}_class_names[c], (double)scores[c], (double)expected);",
            "        worst = error < worst ? worst : error;",
            "    }",
            f'    printf("class %d %s, largest difference %.2g: %s\\n", best, {prefix}_class_names[best], (double)worst,',
            f'           worst < 1e-3f && best == {int(expected.argmax())} ? "passed" : "FAILED");',
            f"    return worst < 1e-3f && best == {int(expected.argmax())} ? 0 : 1;",
            "}",
            "#endif",
        ]
        return "\n".join(lines)

    def _test_image(self):
        shape = self.net.image_shape
        if self.image is None:
            c, y, x = np.indices(shape)
            return ((x * 7 + y * 13 + c * 50 + x * y) % 256).astype(np.uint8)
        image = np.asarray(self.image)
        if image.dtype != np.uint8 or image.shape != tuple(shape):
            raise ValueError(
                f"image is {image.dtype} {image.shape}; it should be uint8 {tuple(shape)}"
            )
        return image

    def _expected(self, x):
        """The scores of one sample, (classes,), by the weights as they are in the file."""
        model = (
            dequantized_model(fold_batch_norm(self.net.steps)) if self.quantize else self.net.model
        )
        return replace(self.net, model=model).logits(x)[0]
