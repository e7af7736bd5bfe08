"""C files of models on emulated microcontrollers: memory, instructions, accuracy.

    python benchmarks/microcontroller.py [MODEL ...] [--images 20] [--test 10000]

Needs arm-none-eabi-gcc and qemu-system-arm (Debian: gcc-arm-none-eabi, libnewlib-arm-none-eabi,
qemu-system-arm). Each file is compiled for a Cortex-M4 with floating-point unit and a Cortex-M0+
and run on test images of MNIST; int8 scores must be bit-identical to the Python reference.
Instructions of the whole call are counted by the emulator. They are not cycles: a load takes two
cycles on a Cortex-M0+, and flash has wait states. The accuracy is that of the Python reference.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from emulated import MACHINES, emulate, has_tools

from lenet5c._text import table
from lenet5c.datasets import mnist
from lenet5c.export import quantize_int8, to_c
from lenet5c.export.footprint import measure_c
from lenet5c.export.integer_build import IMAGES
from lenet5c.training import open_model

FORMS = ("none", "weights", "int8")


def main() -> int:
    """Print the table; return 1 if emulated scores differ from those of Python."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", default=["best"], metavar="MODEL")
    parser.add_argument("--images", type=int, default=20, help="images to emulate (default: 20)")
    text = "test images of the accuracy (default: 10000)"
    parser.add_argument("--test", type=int, default=10_000, help=text)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS, help="(default: all)")
    options = parser.parse_args()
    if not has_tools():
        print("arm-none-eabi-gcc and qemu-system-arm must be installed")
        return 2
    train, test = mnist()
    chosen = np.sort(np.random.default_rng(0).choice(len(train), IMAGES, replace=False))
    rows, wrong = [], 0
    for name in options.models:
        trained = open_model(name)
        small = quantize_int8(trained, train.images[chosen])
        x, images, labels = test.images[: options.images], test.images[: options.test], test.labels
        labels = labels[: options.test]
        before = trained.predict(images) == labels
        after = small.predict(images) == labels
        print(
            f"{name}: {before.sum()} of {len(labels)} with floats, {after.sum()} with int8, "
            f"{(before != after).sum()} of them others"
        )
        expected = {"none": trained.logits(x), "int8": small.scores(x)}
        for form in options.forms:
            model = small if form == "int8" else trained
            text = to_c(model, "model", quantize="none" if form == "int8" else form)
            for cpu in MACHINES:
                size = measure_c(text, cpu)
                with tempfile.TemporaryDirectory() as folder:
                    found = emulate(Path(folder), text, x, cpu)
                same = "-"
                if form in expected:
                    apart = np.abs(found.scores - expected[form]).max()
                    good = apart == 0 if form == "int8" else apart < 1e-4
                    same, wrong = ("yes" if good else "NO"), wrong + (not good)
                work = sum(op.multiply_adds for op in small.ops)
                count = found.instructions.mean()
                rows.append(
                    [
                        *(name, form, cpu, f"{size.flash:,}", f"{size.ram:,}", f"{size.stack:,}"),
                        *(f"{found.stack.max():,}", f"{count:,.0f}", f"{count / work:.2f}", same),
                    ]
                )
    head = ["model", "quantize", "processor", "flash", "RAM", "stack", "stack seen"]
    head += ["instructions", "per multiply-add", "as Python"]
    print(table([head, *rows], "lllrrrrrrl"))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
