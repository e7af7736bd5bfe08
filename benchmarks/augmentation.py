"""Held-out accuracy of drawn shapes, trained with and without augmentations of the same name.

    python benchmarks/augmentation.py [--count 40] [--epochs 60] [--seeds 3] [--names none pictures]

Five classes of colored, noisy shapes of 64 x 48 pixels (`tests/helpers/drawn_shapes.py`), `--count`
of each to train on and 200 of each to test on, which are drawn with another seed. Everything else
is the default for such images. One seed is one drawing of the training images and one training.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import lenet5c
from lenet5c.commands.cli import wait_briefly
from lenet5c.datasets import Dataset, Source

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
from drawn_shapes import SHAPES, draw

TESTED = 200
NAMES = ("none", "pictures", "pictures-noflip", "pictures-mixup")


def drawn(count, seed):
    """Return a data set with so many pictures of each shape."""
    rng = np.random.default_rng([seed, 1])
    images = [draw(shape, rng).transpose(2, 0, 1) for shape in SHAPES for _ in range(count)]
    labels = np.repeat(np.arange(len(SHAPES)), count)
    return Dataset(np.array(images), labels, len(SHAPES), class_names=SHAPES)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--names", nargs="+", default=NAMES)
    parser.add_argument("--recipe", default=None)
    options = parser.parse_args()
    wait_briefly()
    tested = drawn(TESTED, 10_000)
    found = {name: [] for name in options.names}
    taken = {name: [] for name in options.names}
    for seed in range(options.seeds):
        source = Source(drawn(options.count, seed), tested)
        for name in options.names:
            trainer = lenet5c.trainer(
                options.recipe,
                data=source,
                seed=seed,
                distortion=name,
                epochs=options.epochs,
                validation=0,
                batch_size=16,
            )
            began = time.perf_counter()
            trainer.fit(progress=False)
            taken[name].append(time.perf_counter() - began)
            result = lenet5c.training.evaluate(trainer.model, tested, trainer.preparation)
            found[name].append(100 * result.accuracy)
            print(f"seed {seed}  {name:16} {found[name][-1]:6.2f} %", flush=True)
    print(
        f"\n{options.count} of each of {len(SHAPES)} shapes, {options.epochs} epochs, "
        f"{options.seeds} seeds"
    )
    for name, values in found.items():
        spread = np.std(values, ddof=1) if len(values) > 1 else 0
        print(
            f"{name:16} {np.mean(values):6.2f} % ± {spread:4.2f}  {np.median(taken[name]):5.1f} s"
        )


if __name__ == "__main__":
    main()
