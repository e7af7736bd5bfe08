"""Export of an integer model as a C file without floating point."""

from collections.abc import Iterator
from math import prod

import numpy as np

from lenet5c.export.c_file import Numbers, Writer
from lenet5c.export.c_integer_ops import HELPERS, op_code
from lenet5c.export.c_memory import Call, plan_memory
from lenet5c.export.c_stages import check_size
from lenet5c.export.c_text import block, comment_text, function, loop
from lenet5c.export.integer import EXPONENTIAL, IntegerModel, Op


class IntegerWriter(Writer):
    """Writer of the C file of an `IntegerModel`."""

    input_order = "rows from top to bottom, the channels of a pixel side by side"

    def __init__(self, model: IntegerModel, prefix: str) -> None:
        super().__init__(model.network, prefix)
        self.model = model
        self.ops = list(_all_ops(model.ops))
        held = 0 if self.net.trained is None else prod(model.shape)
        self.plan = plan_memory(model.ops, held, outside=[model.ops[-1]])
        self.besides = 4 * self.classes
        check_size(max(self.plan.size, *(prod(op.shape) for op in self.ops)))
        scaling = model.scaling
        self.numbers = Numbers(
            value="int8_t",
            score="int32_t",
            probability="uint16_t",
            includes="#include <stddef.h>\n#include <string.h>\n",
            weights=", weights and activations as int8",
            arithmetic=", none of floats",
            scores=f"   logits times {2**model.score_bits}",
            prepared=f": the number x as x / {scaling.scale:.6g} + {scaling.zero:.6g}, rounded,\n"
            " * the channels of a pixel side by side",
        )

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a call."""
        return sum(op.multiply_adds for op in self.ops)

    def functions(self) -> list[str]:
        """Return the functions of ops and the functions they call."""
        made = []
        for number, op in enumerate(self.ops, start=1):
            label = f"stage{number}"
            body = op_code(op, label, self.constants)
            arrays = ["const int8_t *x", "int32_t *y" if op.wide else "int8_t *y"]
            if op.branches:
                arrays = ["const int8_t *a", "const int8_t *b", "int8_t *y"]
            if op.scratch:
                arrays.append(f"int8_t *{self.prefix.upper()}_RESTRICT patches")
            comment = f"/* {comment_text(op.name)}: {prod(op.shape)} values to {prod(op.result)} */"
            head = f"static void {self.prefix}_{label}({', '.join(arrays)})"
            made.append(f"{comment}\n{function(head, body)}")
        text = "\n".join(made)
        names = {"p": self.prefix, "P": self.prefix.upper()}
        helpers = [
            helper.substitute(names)
            for name, helper in HELPERS.items()
            if f"{self.prefix}_{name}(" in text
        ]
        result = f"static int32_t {self.prefix}_result[{self.classes}];"
        return [*helpers, result, *made]

    def statement(self, call: Call) -> str:
        """Return the statement of a call."""
        places = list(map(self.pointer, call.sources))
        last = call is self.plan.calls[-1]
        places.append(f"{self.prefix}_result" if last else self.pointer(call.target))
        if call.scratch:
            places.append(self.pointer(call.scratch))
        return f"{self.prefix}_stage{self.ops.index(call.what) + 1}({', '.join(places)});"

    def result(self) -> tuple[str, str]:
        """Return the location of the scores and their sign."""
        return f"{self.prefix}_result", ""

    def store_pixel(self) -> list[str]:
        """Return the statements that store a pixel, of channel c at py, px."""
        _, W, C = self.model.shape
        at = f"(py * {W} + px) * {C} + c" if C > 1 else f"py * {W} + px"
        pixels, offsets = self.model.pixels, self.model.offsets
        if pixels is None or offsets is None:
            return [f"x[{at}] = (int8_t)(pixel - 128);"]
        name = self.constants.add("offset", offsets, "int32_t")
        value = f"(pixel * {pixels.multiplier[0]} + {name}[{at}]) >> {pixels.shift}"
        return [
            f"const int32_t v = {value};",
            f"x[{at}] = (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);",
        ]

    def softmax(self) -> str:
        """Return the function of probabilities."""
        each, cubic = f"for (c = 0; c < {self.classes}; c++)", EXPONENTIAL
        terms = f"({cubic[2]}u * f >> 16)"
        for factor in cubic[1::-1]:
            terms = f"(({factor}u - {terms}) * f >> 16)"
        power = [
            f"const uint64_t z = (uint64_t)({{}}) * {self.model.exponent} >> 16;",
            "const uint32_t f = (uint32_t)(z & 65535u);",
            f"const uint32_t e = z >> 16 > 31 ? 0 : (65536u - {terms}) >> (z >> 16);",
        ]
        difference = "(uint32_t)largest - (uint32_t)scores[c]"
        lines = [line.format(difference) if "{}" in line else line for line in power]
        return "/* In 65535ths. */\n" + function(
            f"void {self.prefix}_softmax(const int32_t *scores, uint16_t *probabilities)",
            [
                "int32_t largest = scores[0], c;",
                "uint32_t sum = 0;",
                f"{each} largest = scores[c] > largest ? scores[c] : largest;",
                *block(
                    each,
                    [
                        *lines,
                        "probabilities[c] = (uint16_t)(e > 65535u ? 65535u : e);",
                        "sum += probabilities[c];",
                    ],
                ),
                f"{each} probabilities[c] = (uint16_t)(probabilities[c] * 65535u / sum);",
            ],
        )

    def expected(self, x: np.ndarray) -> np.ndarray:
        """Return the scores that the file computes."""
        if self.net.trained is None:  # int8 input
            return self.model.compute_scores(x.astype(np.int64))[0]
        return self.model.scores(x)[0]

    def bare_input(self) -> np.ndarray:
        """Return an input of a model without images, for the self-test."""
        shape = (1, *self.model.shape)
        return np.random.default_rng(0).integers(-128, 128, shape, np.int8)

    def check(self, best: int) -> list[str]:
        """Return the body of the self-test."""
        p, P = self.prefix, self.prefix.upper()
        return [
            "int c, best, wrong = 0;",
            self.test_call,
            *loop(
                "c",
                f"{P}_CLASSES",
                [
                    f'printf("%-20s %11ld expected %11ld\\n", {p}_class_names[c], '
                    f"(long)scores[c], (long){p}_test_scores[c]);",
                    f"wrong += scores[c] != {p}_test_scores[c];",
                ],
            ),
            f'printf("class %d %s, %d scores wrong: %s\\n", best, {p}_class_names[best], wrong,',
            f'       !wrong && best == {best} ? "passed" : "FAILED");',
            f"return !wrong && best == {best} ? 0 : 1;",
        ]


def _all_ops(ops: list[Op]) -> Iterator[Op]:
    """Yield ops in call order."""
    for op in ops:
        for branch in op.branches:
            yield from _all_ops(branch)
        yield op
