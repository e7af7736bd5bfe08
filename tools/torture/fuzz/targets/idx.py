"""IDX files, plain and gzipped."""

import gzip
import math
import struct
from collections.abc import Iterator
from random import Random

from lenet5c.datasets import load_idx
from torture.fuzz.support import MemoryFile, MutateBytes, make_folder

MAX_LENGTH = 2048
DICTIONARY = [b"\x1f\x8b\x08", *(bytes([0, 0, code, 1]) for code in (8, 9, 11, 12, 13, 14))]
TYPES = {8: 1, 9: 1, 11: 2, 12: 4, 13: 4, 14: 8}

file = MemoryFile(make_folder() / "images-idx3-ubyte")


def read(data: bytes) -> None:
    """Read an IDX file."""
    load_idx(file.write(data))


def make_idx(code: int, shape: tuple[int, ...], values: bytes | None = None) -> bytes:
    """Return an IDX file, of zeros by default."""
    values = bytes(math.prod(shape) * TYPES[code]) if values is None else values
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape) + values


def seeds() -> Iterator[bytes]:
    """Yield files of all types, with 1 to 8 dimensions, gzipped, empty and invalid."""
    for code in TYPES:
        yield make_idx(code, (3,), bytes(range(3 * TYPES[code])))
    plain = make_idx(8, (2, 5, 5), bytes(range(50)))
    yield plain
    yield make_idx(8, (1,) * 8)
    yield make_idx(8, (0, 28, 28))
    yield make_idx(14, (2**32 - 1, 0))
    yield make_idx(8, (2**32 - 1,) * 8, b"")
    zipped = gzip.compress(plain, mtime=0)
    yield zipped
    yield zipped[:-4]
    yield zipped + zipped
    yield gzip.compress(bytes(100_000), mtime=0)


def large() -> Iterator[bytes]:
    """Yield files that unzip to a thousand times their size, and false sizes."""
    zeros = bytes(250 << 20)
    yield gzip.compress(make_idx(8, (len(zeros),), zeros), 1, mtime=0)
    yield gzip.compress(zeros, 1, mtime=0)
    yield gzip.compress(make_idx(8, (1,), zeros), 1, mtime=0)
    yield make_idx(8, (2**31,), b"1")


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change the content, and then zip it or correct its header."""
    try:
        content = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except Exception:
        return mutate_bytes(data)
    content = mutate_bytes(content[:MAX_LENGTH])
    if random.random() < 0.5 and len(content) > 12:
        code = random.choice(list(TYPES))
        number = (len(content) - 8) // TYPES[code]
        if number:
            content = make_idx(code, (number,), content[8 : 8 + number * TYPES[code]])
    return gzip.compress(content, 1, mtime=0) if random.random() < 0.4 else content
