"""Held-out accuracy of drawn shapes, trained with and without augmentation.

    python benchmarks/augmentation.py [--count 40] [--epochs 60] [--seeds 3] [--jobs 1]
                                      [--names none turned pictures ...]

Five classes of colored, noisy shapes of 64 x 48 pixels (`tests/helpers/drawn_shapes.py`, with a
radius of at least 0.3); the 100 test images of each class are drawn with another seed. The net has
four 3 x 3 convolutions with batch normalization, and inputs of 32 x 32. It is trained on all
training images, without validation, and the last weights are tested. A seed determines the training
images and the training. The augmentation `turned` uses the known invariances of these shapes: any
angle, any color.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from common import Table, load_peers, positive, print_header, set_threads

import lenet5c
from lenet5c.datasets import Dataset, Source
from lenet5c.recipes import RunConfig
from lenet5c.training.run_folder import RunFolder

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
import drawn_shapes
from drawn_shapes import SHAPES, draw

drawn_shapes.MINIMUM = 0.3

TESTED = 100
TURNED = {"flip": 0.5, "rotation": 180.0, "hue": 180.0, "crop_padding": 2, "outside": "edge"}
NET = {
    "channels": (16, 32, 32, 64),
    "units": (),
    "kernel_size": 3,
    "padding": 1,
    "pooling": "max",
    "global_pooling": "avg",
    "batch_norm": True,
}
NAMES = ("none", "turned", "pictures", "pictures-noflip", "pictures-mixup")


def draw_set(count, seed):
    """Return a data set with `count` pictures of each shape."""
    rng = np.random.default_rng([seed, 1])
    images = [draw(shape, rng).transpose(2, 0, 1) for shape in SHAPES for _ in range(count)]
    labels = np.repeat(np.arange(len(SHAPES)), count)
    return Dataset(np.array(images), labels, len(SHAPES), class_names=SHAPES)


def train(sources, name, options):
    """Return accuracies on the test images in percent, and the seconds that each training took."""
    runs = [
        RunConfig.named(
            "default",
            seed=seed,
            distortion=TURNED if name == "turned" else name,
            epochs=options.epochs,
            validation=0,
            batch_size=min(32, len(source.train)),
            lr=8e-3,
            **NET,
        )
        for seed, source in enumerate(sources)
    ]
    result = lenet5c.run_many(runs, source=sources, jobs=options.jobs)
    result.models()  # raises if one has failed
    seconds = [RunFolder(each.folder).read_summary()["seconds"] for each in result.configs]
    return np.array([100 * row["test_accuracy"] for row in result.rows]), np.array(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--count", type=positive, default=40, help="images of each shape (default: %(default)s)")
    add("--epochs", type=positive, default=60, help="(default: %(default)s)")
    add("--seeds", type=positive, default=3, help="(default: %(default)s)")
    add("--names", nargs="+", default=NAMES, help="augmentations (default: all of them)")
    add("--jobs", type=positive, default=1, help="parallel trainings (default: %(default)s)")
    add("--threads", type=positive, default=lenet5c.get_num_threads())
    options = parser.parse_args()
    peers = load_peers()
    set_threads(options.threads, peers)
    print_header(
        options.threads,
        peers,
        f"Accuracy in percent on {TESTED} of each of {len(SHAPES)} shapes, trained on "
        f"{options.count} of each for {options.epochs} epochs.",
    )
    tested = draw_set(TESTED, 10_000)
    sources = [Source(draw_set(options.count, seed), tested) for seed in range(options.seeds)]
    table = Table({"augmentation": 18, "mean": 8, "±": 6, "seconds": 9, "each seed": 0})
    for name in options.names:
        found, taken = train(sources, name, options)
        spread = found.std(ddof=1) if len(found) > 1 else 0.0
        table.row(
            name,
            f"{found.mean():.2f}",
            f"{spread:.2f}",
            f"{np.median(taken):.1f}",
            " ".join(f"{each:.1f}" for each in found),
        )


if __name__ == "__main__":
    main()
