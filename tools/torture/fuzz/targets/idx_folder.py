"""Folders of four IDX files, which must belong together."""

import gzip
from collections.abc import Iterator
from random import Random

from lenet5c.datasets import idx_folder
from torture.fuzz.support import MemoryFile, MutateBytes, make_folder, mutate_part, pack, unpack
from torture.fuzz.targets import idx

MAX_LENGTH = 4096
DICTIONARY = idx.DICTIONARY

folder = make_folder()
names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
files = [MemoryFile(folder / f"{name}-ubyte") for name in names]


def read(data: bytes) -> None:
    """Read four files as a training and a test set."""
    parts = unpack(data, 4)
    for number, file in enumerate(files):
        file.write(parts[number] if number < len(parts) else b"")
    idx_folder(folder)


def seeds() -> Iterator[bytes]:
    """Yield sets of gray and color images, one gzipped, with labels of several types."""
    images, colored = idx.make_idx(8, (4, 3, 3)), idx.make_idx(8, (4, 3, 2, 2))
    for code in (8, 9, 11, 12):
        values = [int(n).to_bytes(idx.TYPES[code], "big") for n in range(4)]
        labels = idx.make_idx(code, (4,), b"".join(values))
        yield pack([images, labels, images, labels])
        yield pack([colored, labels, colored, labels])
        yield pack([gzip.compress(each, mtime=0) for each in (images, labels, images, labels)])
    yield pack([idx.make_idx(8, (0, 3, 3)), idx.make_idx(8, (0,))] * 2)


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change one of the files."""
    return mutate_part(data, random, 4, lambda part: idx.mutate(part, random, mutate_bytes))
