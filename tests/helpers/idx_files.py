"""Data sets in MNIST's format."""

import struct

import numpy as np

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def header(code, shape):
    """Return the header of an IDX file."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


def idx_bytes(array):
    """Return an array as an IDX file."""
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    return header(CODES[array.dtype.str[1:]], array.shape) + big_endian.tobytes()


def write_idx_files(folder, train, test):
    """Write two data sets as four IDX files into a new folder; return it."""
    folder.mkdir()
    for part, dataset in (("train", train), ("t10k", test)):
        images, labels = dataset.images[:, 0], dataset.labels.astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder
