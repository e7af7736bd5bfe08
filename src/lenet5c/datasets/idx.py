"""The IDX file format of the MNIST database: one file, or a folder of four.

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
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import name_errors, open_regular
from lenet5c.datasets._checks import check_path
from lenet5c.datasets.dataset import Dataset, DatasetError
from lenet5c.datasets.records import Found, Records, label_parts

ELEMENT_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 8
#: Bytes of a gzipped file after decompression.
MAX_UNZIPPED = 2 << 30

_GZIP_MAGIC = b"\x1f\x8b"
# Deflate cannot shrink by more than 1032 to 1. A header that declares more than that is a lie, and
# is refused before it costs memory.
_GZIP_MAX_RATIO, _GZIP_SLACK = 1040, 4096
_CHUNK = 1 << 20


class _Fault(Exception):
    """The content is no intact IDX file."""


def load_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one IDX file, plain or gzipped.

    Files are not trusted: what the header declares is compared with what the file can hold before
    memory is taken, and every fault is reported as an error.

    Parameters
    ----------
    path : str or path-like
        The file. Its content, not its name, tells whether it is gzipped.

    Returns
    -------
    ndarray
        1 to 8 dimensions; uint8, int8, int16, int32, float32 or float64 in native byte order. A
        dimension may be 0.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DatasetError
        If it is not a complete, intact IDX file.

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
    file = _open(path)
    with name_errors(path), file:
        size = os.fstat(file.fileno()).st_size
        gzipped = file.peek(2)[:2] == _GZIP_MAGIC
        return read_idx_stream(file, path, size, MAX_UNZIPPED if gzipped else None, gzipped)


def idx_folder(directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Read a training and a test set from the four IDX files in a folder.

    The files are named as those of MNIST are: ``train-images-idx3-ubyte``,
    ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``. The
    ``-`` before ``idx`` may be a ``.``, ``.gz`` may follow, ``t10k`` may be ``test``, and
    ``idx4`` images (N, C, H, W) are read too. Where several spellings are present, plain files go
    before gzipped ones, then ``-`` before ``.``, then ``idx3`` before ``idx4``, and ``t10k``
    before ``test``.

    Parameters
    ----------
    directory : str or path-like
        The folder.

    Returns
    -------
    train, test : Dataset
        Named after the folder. The classes are the training labels.

    Raises
    ------
    FileNotFoundError
        If the folder or one of the files is missing.
    DatasetError
        If a file is damaged, or the four do not belong together.

    Examples
    --------
    >>> from lenet5c.datasets import idx_folder
    >>> train, test = idx_folder("data/fashion")  # doctest: +SKIP
    """
    found = read_idx_folder(check_path("directory", directory))
    parts, _ = label_parts(found)
    return parts["train"], parts["test"]


def read_idx_folder(folder: Path) -> Found:
    """Read the four IDX files in a folder, for `idx_folder`."""
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder; give the folder with the IDX files")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: not a folder; load_idx() reads a single file")
    train_files = _find_pair(folder, ("train",))
    test_files = _find_pair(folder, ("t10k", "test"))
    train, test = _load_pair(*train_files), _load_pair(*test_files)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DatasetError(
            f"{test_files[0]}: images of shape {test.images.shape[1:]}, but those in "
            f"{train_files[0]} have {train.images.shape[1:]}; training and test images must match"
        )
    return Found({"train": train, "test": test}, folder.resolve().name)


def has_idx_files(directory: str | os.PathLike[str]) -> bool:
    """Return whether a folder has at least one file named as `idx_folder` looks for it."""
    prefixes = [
        f"{part}-{kind}" for part in ("train", "t10k", "test") for kind in ("images", "labels")
    ]
    return any(_find(Path(directory), prefix, ("idx1", "idx3", "idx4")) for prefix in prefixes)


def read_idx_stream(
    stream: IO[bytes], name: str | Path, size: int, most: int | None = None, gzipped: bool = True
) -> NDArray[Any]:
    """Read an IDX file of `size` bytes, called `name` in errors, as `load_idx` does.

    A file that declares more than `most` bytes is an error.
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
    raise DatasetError(f"{name}: {fault}; give an intact IDX file, or download it again")


def _open(path: Path) -> Any:
    try:
        return open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path}: no such file; give the path of an IDX file") from None
    except IsADirectoryError:
        raise DatasetError(
            f"{path}: a folder, not an IDX file; idx_folder() reads a folder"
        ) from None
    except ValueError as error:  # such as a null character in the name
        raise DatasetError(f"{str(path)!r} cannot be opened: {error}") from None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENXIO):
            raise DatasetError(
                f"{path}: not a regular file; give the path of an IDX file"
            ) from None
        raise


def _read_array(stream: Any, size: int, gzipped: bool, most: int | None) -> NDArray[Any]:
    dtype, shape = _read_header(stream)
    nbytes = math.prod(shape) * dtype.itemsize
    total = 4 + 4 * len(shape) + nbytes
    declared = f"declares {total} bytes (shape {shape} of {dtype.name})"
    if gzipped and total > size * _GZIP_MAX_RATIO + _GZIP_SLACK:
        raise _Fault(f"{declared}, more than {size} gzipped bytes can hold")
    if not gzipped and total > size:
        raise _Fault(f"{declared} but has only {size}")
    if not gzipped and total < size:
        raise _Fault(f"{declared} but has {size}, so other data follows")
    if most is not None and total > most:
        raise _Fault(f"{declared}, more than the {most} that are allowed")
    try:
        raw = np.empty(nbytes, dtype=np.uint8)
    except MemoryError:
        raise _Fault(f"{declared}, more than there is memory for") from None
    filled = 0
    while filled < nbytes:
        count = stream.readinto(raw.data[filled : filled + _CHUNK])
        if not count:
            raise _Fault(f"{declared} but the data ends early")
        filled += count
    # For gzip this read is also what reaches, and checks, the checksum at the end.
    if stream.read(1):
        raise _Fault(f"{declared} but other data follows")
    array = raw.view(dtype).reshape(shape)
    return array if dtype.isnative else array.byteswap(inplace=True).view(dtype.newbyteorder("="))


def _read_header(stream: Any) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if not magic:
        raise _Fault("the file is empty")
    if len(magic) < 4:
        raise _Fault("ends inside the IDX header")
    zeros, code, ndim = magic[:2], magic[2], magic[3]
    if zeros != b"\0\0" or code not in ELEMENT_TYPES:
        raise _Fault(
            f"not an IDX file: it starts with {magic.hex(' ')}, where 00 00, an element type "
            "(08, 09, 0b, 0c, 0d or 0e) and a number of dimensions should be"
        )
    if not 1 <= ndim <= MAX_DIMENSIONS:
        raise _Fault(f"declares {ndim} dimensions, where 1 to {MAX_DIMENSIONS} are possible")
    packed = stream.read(4 * ndim)
    if len(packed) < 4 * ndim:
        raise _Fault("ends inside the IDX header")
    dtype, shape = np.dtype(ELEMENT_TYPES[code]), struct.unpack(f">{ndim}I", packed)
    # An empty array takes no bytes, yet its other dimensions must still be addressable.
    if math.prod(n for n in shape if n) * dtype.itemsize > sys.maxsize:
        raise _Fault(f"declares the impossible shape {shape}")
    return dtype, shape


def _find_pair(folder: Path, prefixes: tuple[str, ...]) -> tuple[Path, Path]:
    """Return the image and the label file of the first prefix that has both."""
    gaps: list[list[str]] = []
    for prefix in prefixes:
        images = _find(folder, f"{prefix}-images", ("idx3", "idx4"))
        labels = _find(folder, f"{prefix}-labels", ("idx1",))
        if images and labels:
            return images, labels
        wanted = {f"{prefix}-images-idx3-ubyte": images, f"{prefix}-labels-idx1-ubyte": labels}
        gaps.append([name for name, path in wanted.items() if path is None])
    # The prefix that comes closest is the one that was meant.
    missing = min(gaps, key=len)
    raise FileNotFoundError(
        f"{folder}: {' and '.join(missing)} missing; put all four files, or .gz files, there"
    )


def _find(folder: Path, stem: str, formats: tuple[str, ...]) -> Path | None:
    # Candidates are asked for by name, so the order of the directory plays no part; folders of
    # such a name, as some archives unpack to, are skipped.
    paths = (
        folder / f"{stem}{separator}{form}-ubyte{suffix}"
        for suffix in ("", ".gz")
        for separator in ("-", ".")
        for form in formats
    )
    return next((path for path in paths if path.is_file()), None)


def _load_pair(images_path: Path, labels_path: Path) -> Records:
    """Return images and labels that belong together."""
    labels = load_idx(labels_path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DatasetError(
            f"{labels_path}: labels must be a list of integers, got {labels.dtype} of shape "
            f"{labels.shape}; give the label file of the images"
        )
    images = load_idx(images_path)
    if images.ndim not in (3, 4) or images.dtype != np.uint8 or images.size == 0:
        raise DatasetError(
            f"{images_path}: images must be uint8 of shape (N, H, W) or (N, C, H, W) without a "
            f"zero, got {images.dtype} of shape {images.shape}; give the image file"
        )
    if len(images) != len(labels):
        raise DatasetError(
            f"{labels_path}: has {len(labels)} labels for the {len(images)} images in "
            f"{images_path}; give files that belong together"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > 255:
        wrong = low if low < 0 else high
        raise DatasetError(f"{labels_path}: has the label {wrong}; labels must lie in 0 to 255")
    return Records(images if images.ndim == 4 else images[:, np.newaxis], labels.astype(np.int32))
