"""A stand-in for somebody's own hand: MNIST's digits slanted by 25 degrees, thickened, mirrored.

Writes DIR, four IDX files: so many samples of each digit, drawn by the seed from MNIST's training
images, and all of its test images; with --pictures folders of PNG of 56 x 56 pixels. Then::

    lenet5c evaluate best --data DIR
    lenet5c train --from best --data DIR --out runs/mine
    lenet5c evaluate runs/mine --data mnist
"""

import argparse
import struct
from pathlib import Path

import numpy as np

from lenet5c.datasets import mnist

SLANT = np.tan(np.radians(25))
MARGIN = 14  # pixels on each side while the digits are slanted


def rewrite(images):
    """Return images (N, 1, 28, 28) in the other hand."""
    ink = np.pad(images[:, 0].astype(np.float32), ((0, 0), (1, 1), (MARGIN, MARGIN)))
    side = ink.shape[1]
    for y in range(side):  # the upper rows to the right
        shift = SLANT * ((side - 1) / 2 - y)
        whole = int(np.floor(shift))
        near, far = (np.roll(ink[:, y], whole + i, axis=1) for i in (0, 1))
        ink[:, y] = near + (shift - whole) * (far - near)
    middle = ink[:, 1:-1, MARGIN:-MARGIN]
    beside = (ink[:, 1:-1, MARGIN + i : ink.shape[2] - MARGIN + i] for i in (-1, 1))
    above = (ink[:, 1 + i : side - 1 + i, MARGIN:-MARGIN] for i in (-1, 1))
    thick = np.maximum.reduce([middle, *beside, *above])
    return np.rint(thick[:, np.newaxis, :, ::-1]).astype(np.uint8)


def write(folder, part, images, labels):
    """Write images and labels as IDX files."""
    head = struct.pack(">4B3I", 0, 0, 8, 3, len(images), 28, 28)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
    head = struct.pack(">4BI", 0, 0, 8, 1, len(labels))
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.astype(np.uint8).tobytes())


def write_pictures(folder, part, images, labels):
    """Write images as PNG in a folder for each digit, enlarged twice."""
    from PIL import Image

    for i, (image, label) in enumerate(zip(images[:, 0], labels, strict=True)):
        path = folder / part / str(label) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((56, 56), Image.Resampling.BICUBIC).save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="DIR")
    parser.add_argument("--samples", type=int, default=20, help="of each digit (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--pictures", action="store_true", help="write PNG files")
    options = parser.parse_args()
    train, test = mnist()
    rng = np.random.default_rng(options.seed)
    digits = [np.flatnonzero(train.labels == digit) for digit in range(10)]
    chosen = np.concatenate([rng.choice(each, options.samples, replace=False) for each in digits])
    options.out.mkdir(parents=True)
    save, second = (write_pictures, "test") if options.pictures else (write, "t10k")
    save(options.out, "train", rewrite(train.images[chosen]), train.labels[chosen])
    save(options.out, second, rewrite(test.images), test.labels)


if __name__ == "__main__":
    main()
