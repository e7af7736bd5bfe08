"""MATLAB files of version 5 to 7 with images and labels, such as those of SVHN.

SciPy reads them too, but may crash on a damaged file.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import name_errors, open_regular
from lenet5c.datasets.archives import check_unpacked
from lenet5c.datasets.arrays import MAX_ARRAYS, Stored, read_arrays
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.records import Found, ReadOptions

#: Bytes of the header of a file, of a name in it (at most), and of a block.
_HEADER, _MAX_ELEMENT, _CHUNK = 128, 4096, 1 << 20
# Types of elements that contain others, and of numeric elements; a file uses the smallest type that
# # represents all values of an array. From the format's description by The MathWorks, "MAT-File
# Format", chapter 1.
_MATRIX, _COMPRESSED = 14, 15
_TYPES = dict(
    zip(
        (1, 2, 3, 4, 5, 6, 7, 9, 12, 13),
        ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "u8"),
        strict=True,
    )
)
#: Classes of structures and of numeric arrays, and a flag.
_STRUCTURE, _NUMERIC, _COMPLEX = 2, range(6, 16), 0x800
_DEEPEST = 4  # maximum nesting of structures


def read_matlab(files: dict[str, Path], name: str, options: ReadOptions) -> Found:
    """Read MATLAB files, one for each part of a data set.

    Each file has an array of images, such as X of shape (H, W, C, N), and one of labels, such as y;
    they may be fields of structures, such as dataset.train.images in EMNIST. If labels from 1 to 10
    are named y, the label 10 is the digit 0, as in SVHN; with other names, as in USPS, labels may
    count the digits from 1.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If a file is damaged or has no images.
    """
    arrays: dict[str, Stored] = {}
    for part, path in files.items():
        for variable, stored in _list_variables(path).items():
            arrays[variable if len(files) == 1 else f"{part} {variable}"] = stored
    place = next(iter(files.values()))
    found = read_arrays(arrays, name, options, place if len(files) == 1 else place.parent)
    if len(files) == 1 and len(found.parts) == 1:
        found = replace(found, parts=dict(zip(files, found.parts.values(), strict=True)))
    labels = [records.labels for records in found.parts.values() if records.labels is not None]
    named = any(variable.split()[-1].casefold() == "y" for variable in arrays if variable)
    if not named or not labels or not all(_is_one_to_ten(each) for each in labels):
        return found
    parts = {
        part: replace(records, labels=np.asarray(records.labels) % 10)
        for part, records in found.parts.items()
        if records.labels is not None
    }
    note = "the label 10 is the digit 0"
    return replace(found, parts=found.parts | parts, notes=(*found.notes, note))


def _is_one_to_ten(labels: Any) -> bool:
    return (
        isinstance(labels, np.ndarray)
        and len(labels) > 0
        and {1, 10} == {int(labels.min()), int(labels.max())}
    )


def _list_variables(path: Path) -> dict[str, Stored]:
    """Return the numeric arrays of a file; names of fields include their structures."""
    arrays: dict[str, Stored] = {}
    with _open_matlab(path) as file:
        order, size = _read_order(file, path), os.fstat(file.fileno()).st_size
        place = _HEADER
        while tag := file.read(8):
            _, length = _unpack(order, tag)
            if place + 8 + length > size:
                raise ValueError("it is truncated")
            for matrix in _list_matrices(_Stream(file, order, tag)):
                load = partial(_load, path, place, order, matrix.name)
                arrays[matrix.name] = Stored(matrix.shape, matrix.dtype, load)
                if len(arrays) > MAX_ARRAYS:
                    raise ValueError("it has too many arrays")
            place += 8 + length
            file.seek(place)
        sizes = [prod(each.shape) * each.dtype.itemsize for each in arrays.values()]
        check_unpacked(path, sum(sizes), size)
    return arrays


def _load(path: Path, place: int, order: str, name: str) -> NDArray[Any]:
    """Return the array with this name at an offset in a file."""
    with _open_matlab(path) as file:
        file.seek(place)
        stream = _Stream(file, order, file.read(8))
        # The stream is at its elements until the next array is requested.
        matrix = next((each for each in _list_matrices(stream) if each.name == name), None)
        if matrix is None:
            raise ValueError("it has changed")
        values = np.empty(matrix.shape[::-1], matrix.dtype)
        raw, filled = cast(Any, values.reshape(-1).view(np.uint8)).data, 0
        raw[: len(matrix.begin)] = matrix.begin
        filled = len(matrix.begin)
        while filled < len(raw):
            block = stream.read(min(_CHUNK, len(raw) - filled))
            if not block:
                raise ValueError("it is truncated")
            raw[filled : filled + len(block)] = block
            filled += len(block)
        return values.T


class _Matrix(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    begin: bytes  # the elements, if they are stored in the tag


class _Stream:
    """The decompressed content of an element; `tag` is its tag."""

    def __init__(self, file: BinaryIO, order: str, tag: bytes) -> None:
        self.order, self.place = order, 0
        self.kind, length = _unpack(order, tag)
        self.source: Any = file
        if self.kind == _COMPRESSED:
            self.source = _Inflater(file, length)
            self.kind, _ = _unpack(order, self.source.read(8))

    def read(self, size: int) -> bytes:
        """Read `count` bytes, fewer at the end."""
        content: bytes = self.source.read(size)
        self.place += len(content)
        return content

    def skip_to(self, place: int) -> None:
        """Skip to an offset relative to the tag."""
        while self.place < place:
            if not self.read(min(_CHUNK, place - self.place)):
                raise ValueError("it is truncated")

    def read_tag(self) -> tuple[int, int, bytes]:
        """Return the type and length of an element, and its bytes if they are in the tag."""
        tag = self.read(8)
        kind, length = _unpack(self.order, tag)
        if (small := kind >> 16) == 0:
            return kind, length, b""
        if small > 4:
            raise ValueError("a tag is damaged")
        return kind & 0xFFFF, small, tag[4 : 4 + small]

    def read_element(self) -> bytes:
        """Return the bytes of a small element."""
        _, length, begin = self.read_tag()
        if begin or not length:
            return begin
        if length > _MAX_ELEMENT:
            raise ValueError("a name is too long")
        return self.read(length + -length % 8)[:length]


def _list_matrices(stream: _Stream, outer: str = "", depth: int = 0) -> Iterator[_Matrix]:
    """Yield the arrays of real numbers in an element, with the stream at their data."""
    if stream.kind != _MATRIX:
        return
    order = stream.order
    flags = _unpack(order, stream.read_element())[0]
    sides = stream.read_element()
    shape = struct.unpack(f"{order}{len(sides) // 4}i", sides)
    name = f"{outer} {stream.read_element().decode('latin1')}".strip()
    if flags & 255 == _STRUCTURE and prod(shape) == 1 and depth < _DEEPEST:
        (width,) = struct.unpack(f"{order}i", stream.read_element())
        names = stream.read_element()
        if names and not 0 < width <= len(names):
            raise ValueError("field names are damaged")
        for start in range(0, len(names), max(width, 1)):
            field = names[start : start + width].partition(b"\0")[0].decode("latin1")
            kind, length, _ = stream.read_tag()
            end = stream.place + length
            if kind != _MATRIX:
                raise ValueError("a field is not an array")
            if length:
                yield from _list_matrices(stream, f"{name} {field}", depth + 1)
            stream.skip_to(end)
    if flags & 255 not in _NUMERIC or flags & _COMPLEX:
        return
    kind, length, begin = stream.read_tag()
    dtype = np.dtype(order + _TYPES[kind])
    if not 2 <= len(shape) <= 32 or min(shape) < 0 or length != prod(shape) * dtype.itemsize:
        raise ValueError("the size of an array does not match its header")
    yield _Matrix(name, shape, dtype, begin)


def _unpack(order: str, content: bytes) -> tuple[int, int]:
    first, second = struct.unpack(f"{order}2I", content)
    return first, second


class _Inflater:
    """The decompressed bytes of a part of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.left, self.zip = file, size, zlib.decompressobj()

    def read(self, size: int) -> bytes:
        """Read `count` bytes, fewer at the end."""
        parts, wanted = [], size
        while wanted and not self.zip.eof:
            packed = self.zip.unconsumed_tail or self.file.read(min(_CHUNK, self.left))
            if not self.zip.unconsumed_tail:
                self.left -= len(packed)
            if not packed:
                break
            parts.append(self.zip.decompress(packed, wanted))
            wanted -= len(parts[-1])
        return b"".join(parts)


def _read_order(file: BinaryIO, path: Path) -> str:
    """Read the header and return the byte order."""
    head = file.read(_HEADER)
    if head[:8] == b"\x89HDF\r\n\x1a\n" or head[:10] == b"MATLAB 7.3":
        raise DatasetError(
            f"{path} must be a MATLAB file of version 5 to 7, got version 7.3; save it with -v7"
        )
    orders = {b"IM": "<", b"MI": ">"}
    if len(head) < _HEADER or head[126:] not in orders:
        raise ValueError("the header is not that of a MATLAB file")
    return orders[head[126:]]


@contextmanager
def _open_matlab(path: Path) -> Iterator[BinaryIO]:
    """Open a MATLAB file, converting errors of its content to a DatasetError."""
    with name_errors(path), open_regular(path) as file:
        try:
            yield file
        except DatasetError:
            raise
        except (ValueError, LookupError, struct.error, zlib.error) as error:
            raise DatasetError(
                f"{path} must be a valid MATLAB file of version 5 to 7, got a damaged one "
                f"({error}); save it again"
            ) from None
