"""The IDX file format of the MNIST database.

A file is a four-byte magic number (0, 0, element type, number of dimensions), the dimensions as
big-endian 32-bit integers, then the elements in C order, big-endian.
"""

import errno
import gzip
import math
import os
import struct
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import name_errors, open_regular
from lenet5c.datasets._checks import check_path
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.mapped import MappedImages

ELEMENT_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 8
#: Maximum bytes of a gzipped file after decompression.
MAX_UNZIPPED = 2 << 30

#: Files being decompressed: functions that wait for the content, None if it is damaged.
INFLATING: dict[Path, Callable[[], bytearray | None]] = {}

_GZIP_MAGIC = b"\x1f\x8b"
# Deflate compresses by at most 1032 to 1; a header that declares more is rejected before memory is
# # allocated.
_GZIP_MAX_RATIO, _GZIP_SLACK = 1040, 4096
_CHUNK = 1 << 20
_BEGINNING = 64  # bytes needed to identify a file, gzipped or not


class _Fault(Exception):
    """Raised when the content is not a valid IDX file."""


def load_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one IDX file, plain or gzipped.

    Files are not trusted: the size declared by the header is compared with the file size before
    memory is allocated, and every fault raises an error.

    Parameters
    ----------
    path : str or path-like
        The file. Gzip compression is detected from its content.

    Returns
    -------
    ndarray
        Array of 1 to 8 dimensions, any of which may be 0, with dtype uint8, int8, int16, int32,
        float32 or float64 in native byte order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DatasetError
        If it is not a complete and valid IDX file.

    Examples
    --------
    >>> import os, tempfile
    >>> from lenet5c.datasets import load_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels-idx1-ubyte")
    ...     with open(path, "wb") as file:
    ...         _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     load_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    path = check_path("path", path)
    wait = INFLATING.pop(path, None)
    if wait is not None and (content := wait()) is not None:
        dtype, shape = _read_header(BytesIO(content[:_BEGINNING]))
        return np.frombuffer(content, dtype, offset=4 + 4 * len(shape)).reshape(shape)
    file = _open(path)
    with name_errors(path), file:
        size = os.fstat(file.fileno()).st_size
        gzipped = file.peek(2)[:2] == _GZIP_MAGIC
        return read_idx_stream(file, path, size, MAX_UNZIPPED if gzipped else None, gzipped)


def map_idx(path: Path, least: int) -> NDArray[Any] | MappedImages:
    """Return the images of an IDX file; those of a large uncompressed file are not read."""
    file = _open(path)
    with name_errors(path), file:
        size = os.fstat(file.fileno()).st_size
        if size < least or file.peek(2)[:2] == _GZIP_MAGIC:
            return load_idx(path)
        try:
            dtype, shape = _read_header(file)
            _check_size(dtype, shape, size, False)
        except _Fault as fault:
            raise _refuse(path, fault) from None
    return MappedImages(path, 4 + 4 * len(shape), shape[0], shape[1:], dtype)


def is_idx_file(path: Path) -> bool:
    """Return True if a file, plain or gzipped, starts like an IDX file."""
    try:
        with open_regular(path) as file:
            start = file.read(_BEGINNING)
        if start[:2] == _GZIP_MAGIC:
            start = zlib.decompressobj(wbits=31).decompress(start, 4)
    except (OSError, ValueError, zlib.error):
        return False
    zeros, rest = start[:2], start[2:4]
    return zeros == b"\0\0" and len(rest) == 2 and rest[0] in ELEMENT_TYPES and rest[1] > 0


def read_idx_stream(
    stream: IO[bytes], name: str | Path, size: int, most: int | None = None, gzipped: bool = True
) -> NDArray[Any]:
    """Read an IDX file of `size` bytes, called `name` in error messages; see `load_idx`.

    Raises a DatasetError if the file declares more than `most` bytes.
    """
    try:
        if not gzipped:
            return _read_array(stream, size, False, most)
        with gzip.GzipFile(fileobj=stream, mode="rb") as unzipped:
            return _read_array(unzipped, size, True, most)
    except EOFError:
        fault = "the gzip data ends early"
    except (gzip.BadGzipFile, zlib.error) as error:
        fault = f"the gzip data is corrupt ({error})"
    except _Fault as error:
        fault = str(error)
    raise _refuse(name, fault)


def _refuse(name: str | Path, fault: object) -> DatasetError:
    return DatasetError(f"{name}: {fault}; download it again, or use another file")


def _open(path: Path) -> Any:
    try:
        return open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DatasetError(
            f"{path}: a folder, not an IDX file; use idx_folder() to read a folder"
        ) from None
    except ValueError as error:  # such as a null character in the name
        raise DatasetError(f"{str(path)!r} cannot be opened: {error}") from None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENXIO):
            raise DatasetError(f"{path}: not a regular file; pass an IDX file") from None
        raise


def _read_array(stream: Any, size: int, gzipped: bool, most: int | None) -> NDArray[Any]:
    dtype, shape = _read_header(stream)
    nbytes = math.prod(shape) * dtype.itemsize
    declared = _check_size(dtype, shape, size, gzipped, most)
    try:
        raw = np.empty(nbytes, dtype=np.uint8)
    except MemoryError:
        raise _Fault(f"{declared}, more than fits in memory") from None
    filled = 0
    while filled < nbytes:
        count = stream.readinto(raw.data[filled : filled + _CHUNK])
        if not count:
            raise _Fault(f"{declared} but the data ends early")
        filled += count
    # For gzip, this read also verifies the checksum at the end.
    if stream.read(1):
        raise _Fault(f"{declared} but other data follows")
    array = raw.view(dtype).reshape(shape)
    return array if dtype.isnative else array.byteswap(inplace=True).view(dtype.newbyteorder("="))


def _check_size(
    dtype: np.dtype, shape: tuple[int, ...], size: int, gzipped: bool, most: int | None = None
) -> str:
    """Reject a header that contradicts the file size; return a description of it."""
    total = 4 + 4 * len(shape) + math.prod(shape) * dtype.itemsize
    declared = f"declares {total} bytes (shape {shape} of {dtype.name})"
    if gzipped and total > size * _GZIP_MAX_RATIO + _GZIP_SLACK:
        raise _Fault(f"{declared}, more than {size} gzipped bytes can contain")
    if not gzipped and total > size:
        raise _Fault(f"{declared} but has only {size}")
    if not gzipped and total < size:
        raise _Fault(f"{declared} but has {size}, including other data")
    if most is not None and total > most:
        raise _Fault(f"{declared}, more than the {most} that are allowed")
    return declared


def _read_header(stream: Any) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if not magic:
        raise _Fault("the file is empty")
    if len(magic) < 4:
        raise _Fault("is truncated inside the IDX header")
    zeros, code, ndim = magic[:2], magic[2], magic[3]
    if zeros != b"\0\0" or code not in ELEMENT_TYPES:
        raise _Fault(
            f"not an IDX file: it starts with {magic.hex(' ')}, not with 00 00, an element type "
            "(08, 09, 0b, 0c, 0d or 0e) and a number of dimensions"
        )
    if not 1 <= ndim <= MAX_DIMENSIONS:
        raise _Fault(f"declares {ndim} dimensions, not 1 to {MAX_DIMENSIONS}")
    packed = stream.read(4 * ndim)
    if len(packed) < 4 * ndim:
        raise _Fault("is truncated inside the IDX header")
    dtype, shape = np.dtype(ELEMENT_TYPES[code]), struct.unpack(f">{ndim}I", packed)
    # An empty array takes no bytes, but its other dimensions must be addressable.
    if math.prod(n for n in shape if n) * dtype.itemsize > sys.maxsize:
        raise _Fault(f"declares the impossible shape {shape}")
    return dtype, shape
