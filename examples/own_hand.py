"""A stand-in for somebody's own hand: MNIST's digits slanted, thickened and mirrored, as PNG files.

Writes DIR/train/CLASS, so many of each digit, drawn by the seed from MNIST's training images, and
DIR/test/CLASS, from its test images. Then, for example::

    lenet5c evaluate best --data DIR
    lenet5c train --from best --data DIR --out runs/mine
"""

import argparse
from pathlib import Path

import numpy as np

from lenet5c._optional import require
from lenet5c.datasets import mnist

SLANT = np.tan(np.radians(25))
SIZE = 56  # of the pictures, dark on light


def write(images):
    """Return images (N, 1, 28, 28) in the other hand, (N, SIZE, SIZE), 255 on 0."""
    ink = np.zeros((len(images), SIZE, SIZE))
    margin = (SIZE - 28) // 2
    ink[:, margin:-margin, margin:-margin] = images[:, 0]
    for y in range(SIZE):  # the upper rows to the right
        shift = SLANT * ((SIZE - 1) / 2 - y)
        whole = int(np.floor(shift))
        near, far = (np.roll(ink[:, y], whole + i, axis=1) for i in (0, 1))
        ink[:, y] = near + (shift - whole) * (far - near)
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    places = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    moved = (padded[:, y : y + SIZE, x : x + SIZE] for y, x in places)
    thick = np.maximum.reduce(list(moved))
    return np.rint(thick[:, :, ::-1]).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="DIR")
    parser.add_argument("--samples", type=int, default=20, help="of each digit (default: 20)")
    parser.add_argument("--tests", type=int, default=200, help="of each digit (default: 200)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    image = require("PIL.Image", "images", "PNG files")
    rng = np.random.default_rng(options.seed)
    for part, dataset, count in zip(
        ("train", "test"), mnist(), (options.samples, options.tests), strict=True
    ):
        for digit in range(10):
            folder = options.out / part / str(digit)
            folder.mkdir(parents=True)
            chosen = rng.choice(np.flatnonzero(dataset.labels == digit), count, replace=False)
            for number, ink in enumerate(write(dataset.images[chosen])):
                image.fromarray(255 - ink).save(folder / f"{number:04}.png")


if __name__ == "__main__":
    main()
