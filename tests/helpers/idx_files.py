"""Data sets in MNIST's format."""

import struct

import numpy as np


def write_idx_files(folder, train, test):
    """Write two data sets as four IDX files into a new folder; return it."""
    folder.mkdir()
    for part, dataset in (("train", train), ("t10k", test)):
        n, _, height, width = dataset.images.shape
        images = struct.pack(">4B3I", 0, 0, 8, 3, n, height, width) + dataset.images.tobytes()
        labels = struct.pack(">4BI", 0, 0, 8, 1, n) + dataset.labels.astype(np.uint8).tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return folder
