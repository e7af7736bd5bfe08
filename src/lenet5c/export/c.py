"""Export of a model as one C99 file that only depends on the math library."""

from dataclasses import replace
from math import prod

import numpy as np

from lenet5c import nn
from lenet5c.export.activations import float_text
from lenet5c.export.c_file import Numbers, Writer
from lenet5c.export.c_integer import IntegerWriter
from lenet5c.export.c_memory import Call, plan_memory
from lenet5c.export.c_stages import Stage, all_stages, check_size, group_stages, stage_code
from lenet5c.export.c_text import block, check_prefix, function, loop
from lenet5c.export.errors import ExportError
from lenet5c.export.integer import IntegerModel
from lenet5c.export.network import Network, all_steps, fold_batch_norm, to_network
from lenet5c.export.quantization import round_weights
from lenet5c.training import TrainedModel

QUANTIZATIONS = ("none", "weights")


def to_c(
    model: TrainedModel | nn.Sequential | IntegerModel,
    name: str = "lenet5",
    *,
    quantize: str = "none",
    input_shape: tuple[int, ...] | None = None,
    image: np.ndarray | None = None,
) -> str:
    r"""Return the text of a C file that implements the model.

    The file compiles as C99 and C++. Weights are constants, so that they stay in flash; the work
    area is static and little larger than two adjacent layers, since convolution and pooling are
    computed together.

    Parameters
    ----------
    model : TrainedModel, lenet5c.nn.Sequential or IntegerModel
        For a `Sequential`, there is no function for uint8 images. An `IntegerModel`, returned by
        `quantize_int8`, is computed only with integers.
    name : str, optional
        Prefix of all symbols, a C identifier.
    quantize : {'none', 'weights'}, optional
        'weights' stores each weight in one byte, with a scale for each output channel; activations
        remain floats.
    input_shape : tuple of int, optional
        Shape of one sample, for a `Sequential` without an input shape.
    image : ndarray of uint8, shape (C, h, w), optional
        Image for the self-test of the file; a pattern by default.

    Returns
    -------
    str
        ASCII text. The comment at the beginning explains usage and memory requirements.

    Raises
    ------
    ExportError
        If a layer has no counterpart, or `name` is not a C identifier.
    ValueError
        If `quantize` or `image` is not as above.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.export import quantize_int8, to_c
    >>> from lenet5c.training import open_model
    >>> train, _ = mnist()
    >>> text = to_c(quantize_int8(open_model(), train.images[:300]), "digits")
    >>> text.splitlines()[3]
    ' *     RAM    1,896 bytes, static'
    >>> "int digits_predict(const uint8_t *image, int32_t *scores);" in text
    True
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize must be one of {', '.join(QUANTIZATIONS)}, got {quantize!r}")
    prefix = check_prefix(name)
    if isinstance(model, IntegerModel):
        if quantize != "none":
            raise ValueError(
                "quantize must be 'none' for an IntegerModel, which already uses int8, got "
                f"{quantize!r}"
            )
        return IntegerWriter(model, prefix).text(image)
    net = to_network(model, input_shape)
    return _FloatWriter(net, prefix, quantize == "weights").text(image)


class _FloatWriter(Writer):
    item = 4

    def __init__(self, net: Network, prefix: str, quantize: bool) -> None:
        super().__init__(net, prefix)
        self.quantize = self.constants.quantize = quantize
        self.chain = group_stages(fold_batch_norm(net.steps))
        self.stages = list(all_stages(self.chain))
        if not self.chain:
            raise ExportError(
                "model must have at least one layer that computes something, got none"
            )
        held = 0 if net.trained is None else prod(net.input_shape)
        self.plan = plan_memory(self.chain, held)
        arrays = (array.size for step in all_steps(net.steps) for array in step.arrays.values())
        check_size(max(self.plan.size, prod(net.input_shape), *arrays, 0))
        self.numbers = Numbers(
            value="float",
            score="float",
            probability="float",
            includes="#include <math.h>\n#include <stddef.h>\n",
            link=", and link with -lm",
            weights=", weights as int8" if quantize else "",
        )

    @property
    def multiply_adds(self) -> int:
        return sum(stage.multiply_adds for stage in self.stages)

    def functions(self) -> list[str]:
        made = [self.stage(i, stage) for i, stage in enumerate(self.stages, start=1)]
        joined = [call.what for call in self.plan.calls if call.what.branches]
        made += [self.mean(stage) for stage in joined if stage.main.kind == "Ensemble"]
        if any(stage.main.kind == "Residual" for stage in joined):
            head = f"static void {self.prefix}_add(const float *a, const float *b, float *y, "
            body = ["int32_t i;", "for (i = 0; i < count; i++) y[i] = a[i] + b[i];"]
            made.append(function(f"{head}int32_t count)", body))
        return made

    def mean(self, stage: Stage) -> str:
        """Return the function of an ensemble: logarithms of the members' mean probabilities."""
        divisors, (K,) = stage.main.layer.divisors, stage.result
        M = len(divisors)
        members = [f"m{i}" for i in range(M)]
        value = "z[i][k] / divisor[i]"
        norm = [
            "float largest = z[i][0] / divisor[i], sum = 0.0f;",
            *loop("k", K, [f"if ({value} > largest) largest = {value};"], 1),
            *loop("k", K, [f"sum += expf({value} - largest);"]),
            "norm[i] = largest + logf(sum);",
        ]
        mean = [
            "float largest = z[0][k] / divisor[0] - norm[0], sum = 0.0f;",
            *loop("i", M, [f"const float v = {value} - norm[i];", "if (v > largest) largest = v;"]),
            *loop("i", M, [f"sum += expf({value} - norm[i] - largest);"]),
            f"y[k] = largest + logf(sum / {float_text(M)});",
        ]
        arguments = ", ".join(f"const float *{member}" for member in members)
        head = f"static void {self.mean_name(stage)}({arguments}, float *y)"
        body = [
            f"const float *z[{M}] = {{{', '.join(members)}}};",
            f"const float divisor[{M}] = {{{', '.join(map(float_text, divisors))}}};",
            f"float norm[{M}];",
            "int32_t i, k;",
            *loop("i", M, norm),
            *loop("k", K, mean),
        ]
        return f"/* {stage.comment}: the mean of {M} */\n{function(head, body)}"

    def mean_name(self, stage: Stage) -> str:
        """Return the name of the function of an ensemble."""
        joined = [call.what for call in self.plan.calls if call.what.branches]
        return f"{self.prefix}_mean{joined.index(stage) + 1}"

    def stage(self, number: int, stage: Stage) -> str:
        label = f"stage{number}"
        body = stage_code(stage, label, self.constants)
        # A stage that works in place receives the same array twice.
        restrict = "" if stage.in_place else f"{self.prefix.upper()}_RESTRICT "
        arrays = [f"const float *{restrict}x", f"float *{restrict}y"]
        if stage.scratch:
            arrays.append(f"float *{restrict}line")
        head = f"static void {self.prefix}_{label}({', '.join(arrays)})"
        comment = f"/* {stage.comment}: {stage.size} values to {prod(stage.result)} */"
        return comment + "\n" + function(head, body)

    def statement(self, call: Call) -> str:
        places = [*map(self.pointer, call.sources), self.pointer(call.target)]
        if call.what.branches and call.what.main.kind == "Ensemble":
            return f"{self.mean_name(call.what)}({', '.join(places)});"
        if call.what.branches:
            return f"{self.prefix}_add({', '.join(places)}, {call.target.size});"
        if call.scratch:
            places.append(self.pointer(call.scratch))
        number = self.stages.index(call.what) + 1
        return f"{self.prefix}_stage{number}({', '.join(places)});"

    def store_pixel(self) -> list[str]:
        scale, offset = self.net.scale_and_offset
        if offset.ndim == 0:
            return [f"*x++ = (float)pixel * {float_text(scale)} + {float_text(offset)};"]
        _, H, W = self.net.input_shape
        name = self.constants.add("offset", offset)
        shift = f"{name}[(c * {H} + py) * {W} + px]"
        return [f"*x++ = (float)pixel * {float_text(scale)} + {shift};"]

    def softmax(self) -> str:
        exponent = "scores[c] - largest"
        if self.net.temperature != 1:
            exponent = f"({exponent}) / {float_text(self.net.temperature)}"
        each = f"for (c = 0; c < {self.classes}; c++)"
        return function(
            f"void {self.prefix}_softmax(const float *scores, float *probabilities)",
            [
                "float largest = scores[0], sum = 0.0f;",
                "int32_t c;",
                f"{each} largest = scores[c] > largest ? scores[c] : largest;",
                *block(each, [f"probabilities[c] = expf({exponent});", "sum += probabilities[c];"]),
                f"{each} probabilities[c] /= sum;",
            ],
        )

    def expected(self, x: np.ndarray) -> np.ndarray:
        net = self.net
        if self.quantize:  # the expected scores are those of the rounded weights
            net = replace(net, model=round_weights(fold_batch_norm(net.steps)))
        return net.logits(x)[0]

    def bare_input(self) -> np.ndarray:
        shape = (1, *self.net.input_shape)
        return np.random.default_rng(0).standard_normal(shape, np.float32)

    def check(self, best: int) -> list[str]:
        p, P = self.prefix, self.prefix.upper()
        return [
            "float worst = 0.0f;",
            "int c, best, wrong = 0;",
            self.test_call,
            *block(
                f"for (c = 0; c < {P}_CLASSES; c++)",
                [
                    f"const float expected = {p}_test_scores[c];",
                    "const float error = fabsf(scores[c] - expected) / (1.0f + fabsf(expected));",
                    "uint32_t bits;",
                    f'printf("%-20s %12.6f expected %12.6f\\n", {p}_class_names[c], '
                    "(double)scores[c], (double)expected);",
                    "memcpy(&bits, &scores[c], sizeof bits);",
                    "/* NaN and infinity are detected by their bits even with -ffast-math. */",
                    "if ((bits & 0x7f800000u) == 0x7f800000u || !(error < 1e-3f)) wrong++;",
                    "if (error > worst) worst = error;",
                ],
            ),
            f'printf("class %d %s, %d scores wrong, largest difference %.2g: %s\\n", best, '
            f"{p}_class_names[best],",
            f'       wrong, (double)worst, !wrong && best == {best} ? "passed" : "FAILED");',
            f"return !wrong && best == {best} ? 0 : 1;",
        ]
