"""Reading of pictures as uint8 arrays, gray (h, w) or RGB (h, w, 3)."""

import errno
import io
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, islice
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import open_regular
from lenet5c._optional import require
from lenet5c.datasets.decoding import (
    FORMATS,
    MAX_FILE,
    MEMORY,
    check_size,
    decode,
    measure_size,
    measure_white,
    open_image,
)
from lenet5c.datasets.picture_headers import PictureError
from lenet5c.datasets.strips import (
    NO_WHITES,
    Whites,
    flatten_alpha,
    measure_array_white,
    merge_white,
    reduce_depth,
)
from lenet5c.errors import MissingExtraError, UserError

SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
#: File endings of pictures in unsupported formats, which are reported.
UNREAD_SUFFIXES = frozenset(
    {".psd", ".xcf", ".svg", ".svgz", ".eps", ".ai", ".pdf", ".ico", ".icns", ".tga", ".dds"}
    | {".exr", ".hdr", ".pfm", ".pcx", ".jxl", ".jxr", ".wdp", ".bpg", ".djvu", ".emf", ".wmf"}
    | {".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"}
    | {".dcm", ".nii", ".fits", ".ras", ".sgi", ".rgb", ".xbm", ".xpm", ".apng", ".mng"}
)
BYTES = (bytes, bytearray, memoryview)
_LARGE = 64_000_000  # bytes of a picture above which freed memory is returned to the system
_WORKERS = 8  # more than cores, because decoders also wait for the disk
#: First bytes of files whose gray levels may have more than eight bits.
_DEEP = (np.dtype("<u2"), np.dtype(">u2"))
_MAYBE_DEEP = (b"II", b"MM", b"P2", b"P5")

Decode = Callable[[Any, str], Any]
Finish = Callable[[Any, Any], Any]
OpenFile = Callable[[Path], BinaryIO]


def read_picture(source: Any, white: Whites = NO_WHITES) -> NDArray[np.uint8]:
    """Read one picture.

    Parameters
    ----------
    source : str, path-like, bytes, binary file, PIL.Image.Image, ndarray or list of numbers
        A picture file, its content as bytes, or an array. Of a file with several pictures, the
        first is read. Arrays have shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) and dtype bool,
        uint8, uint16, or float from 0 to 1 or, if any value is greater than 1, from 0 to 255.
    white : dict of str to float, optional
        Gray level of white in pictures of more than eight bits, as returned by `measure_whites`:
        'int' for integers, 'float' for floats. By default, it is determined from the picture: the
        smallest of 1023, 4095, 16383 and 65535 (for floats also 1) that is not exceeded by the
        brightest pixel or the significant bits declared by a PNG.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        The picture, rotated upright by its EXIF orientation, with transparency composed on a
        contrasting background. A picture that would take more than 300 MB to decode is reduced to a
        half, a quarter or an eighth of its height and width.

    Raises
    ------
    PictureError
        If the source is not a picture, is damaged, or needs too much memory.
    TypeError
        If `source` has another type.
    MissingExtraError
        If Pillow is not installed; it is not needed for arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import read_picture
    >>> read_picture(np.array([[False, True]]))
    array([[  0, 255]], dtype=uint8)
    """
    if (array := _as_array(source)) is not None:
        return _convert_array(array, white)
    Image = require("PIL.Image", "images", "pictures")
    if isinstance(source, Image.Image):
        return decode(source, "the picture", white)
    if not (isinstance(source, (str, os.PathLike, *BYTES)) or hasattr(source, "read")):
        raise TypeError(
            "source must be a path, the bytes of a file, a binary file, a Pillow image or a NumPy "
            f"array, got {type(source).__name__}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _read(source, partial(decode, white=white))


def read_pictures(
    paths: Iterable[Path | BinaryIO],
    finish: Finish | None = None,
    open_file: OpenFile | None = None,
    white: Whites = NO_WHITES,
) -> Iterator[Any]:
    """Read picture files in parallel, given as paths or open files, with Pillow.

    Yields, for each path in order, the result of `finish`, or the exception if the file cannot be
    read. ``finish(picture, path)`` is called on the thread that has read the picture, so that large
    pictures do not accumulate in memory. Pictures decoded at the same time take at most `MEMORY`
    bytes. `open_file` opens a path that is not on disk; for `white`, see `read_picture`.
    """
    return _decode_all(paths, partial(decode, white=white), finish, open_file)


def measure_whites(sources: Iterable[Any], open_file: OpenFile | None = None) -> dict[str, float]:
    """Return the common gray level of white of pictures with more than eight bits.

    Paths, seekable open files, arrays and Pillow images are measured. Pictures that cannot be read
    are skipped. For `open_file`, see `read_pictures`.
    """
    found: list[Whites] = []

    def find_files() -> Iterator[Path | BinaryIO]:
        for source in sources:
            if isinstance(source, (str, os.PathLike)):
                source = Path(source)
            if isinstance(source, Path) or hasattr(source, "read"):
                if _may_be_deep(source, open_file or _open):
                    yield source
            elif hasattr(source, "getbands"):
                with suppress(PictureError):
                    found.append(measure_white(source, "the picture"))
            elif (array := _as_array(source)) is not None and array.dtype in _DEEP:
                found.append(measure_array_white(array))

    files = find_files()
    if first := list(islice(files, 1)):  # without importing Pillow if there are none
        results = _decode_all(chain(first, files), measure_white, None, open_file)
        found += [each for each in results if not isinstance(each, Exception)]
    return merge_white(found)


def measure_sizes(
    paths: Iterable[Path | BinaryIO], open_file: OpenFile | None = None
) -> Iterator[tuple[int, int]]:
    """Return the height and width of each picture file that can be opened, from its header.

    Arguments are those of `read_pictures`.
    """
    results = _decode_all(paths, measure_size, None, open_file)
    return (size for size in results if not isinstance(size, Exception))


def _may_be_deep(source: Path | BinaryIO, open_file: OpenFile) -> bool:
    """Return True if the first bytes of a file allow gray levels of more than eight bits."""
    try:
        if isinstance(source, Path):
            with open_file(source) as file:
                head = file.read(26)
        else:
            head = source.read(26)
            source.seek(0)
    except (UserError, OSError, ValueError):
        return False
    return head.startswith(_MAYBE_DEEP) or (head.startswith(b"\x89PNG") and head[24:] == b"\x10\0")


def _decode_all(
    paths: Iterable[Path | BinaryIO],
    decode: Decode,
    finish: Finish | None = None,
    open_file: OpenFile | None = None,
) -> Iterator[Any]:
    # Not needed for MNIST.
    from concurrent.futures import ThreadPoolExecutor

    require("PIL.Image", "images", "images of your own")
    memory = _Memory(MEMORY)

    def work(path: Path | BinaryIO) -> Any:
        try:
            return _read(path, decode, memory, finish, open_file)
        except MissingExtraError:
            raise
        except (UserError, OSError, MemoryError) as error:
            return error

    workers = min(_WORKERS, 2 * (os.cpu_count() or 1))
    # Set here, because setting warning filters is not thread-safe.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")
        waiting: deque = deque()
        for path in paths:
            waiting.append(pool.submit(work, path))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Memory:
    """A memory budget shared by threads."""

    def __init__(self, size: int) -> None:
        self.free, self.changed = size, threading.Condition()

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: self.free >= size)
            self.free -= size
        try:
            yield
        finally:
            if size > _LARGE:
                _return_memory()
            with self.changed:
                self.free += size
                self.changed.notify_all()


def _return_memory() -> None:
    """Return freed memory to the system, which glibc keeps for each thread."""
    import ctypes

    with suppress(OSError, AttributeError, TypeError):  # if there is no glibc
        ctypes.CDLL(None).malloc_trim(0)


def _read(
    source: Any,
    decode: Decode,
    memory: _Memory | None = None,
    finish: Finish | None = None,
    open_file: OpenFile | None = None,
) -> Any:
    """Read a path, bytes or stream within a memory budget."""
    if isinstance(source, BYTES):
        name, (file, held) = "the content", _read_stream(io.BytesIO(source), "the content")
    elif hasattr(source, "read"):
        name, (file, held) = "standard input", _read_stream(source, "standard input")
    else:
        name, file, held = str(source), (open_file or _open)(Path(source)), 0
    with file:
        image, cost = open_image(file, name, held)
        with (memory or _Memory(cost)).take(cost):
            try:
                picture = decode(image, name)
            finally:
                image.close()  # frees its pixels
            if finish is None:
                return picture
            result = finish(picture, source)
            del picture  # before its memory is released to others
            return result


def describe_fault(error: Exception, path: Path) -> str:
    """Return the reason why a file cannot be read, as the predicate of a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    text = str(error) or (
        "out of memory" if isinstance(error, MemoryError) else type(error).__name__
    )
    if text.startswith(f"{path} "):
        return text[len(str(path)) + 1 :]
    return f"cannot be read ({text.removeprefix(f'{path}: ')})"


def read_header(path: Path, open_file: Callable[[Path], BinaryIO] | None = None) -> str:
    """Return the format and mode of a picture file, such as 'PNG RGBA'."""
    with (open_file or _open)(path) as file:
        image, _ = open_image(file, str(path))
        return f"{image.format} {image.mode}"


def find_pictures(folder: Path) -> list[Path]:
    """Return the sorted picture files directly in a folder, by ending, except hidden files.

    Pictures in unsupported formats are included, so that they are reported.
    """
    named = SUFFIXES | UNREAD_SUFFIXES
    files = [
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in named and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(files, key=lambda path: path.name)


def _as_array(source: Any) -> NDArray[Any] | None:
    """Return an array, or a list of numbers as an array; None for anything else."""
    if isinstance(source, np.ndarray):
        return source
    if is_nested(source):
        try:
            return np.array(source)
        except ValueError:
            raise PictureError("list must have rows of equal length to be a picture") from None
    return None


def is_nested(source: Any) -> bool:
    """Return True if `value` is a picture as a list of rows of numbers or colors."""
    for depth in range(3):
        if not isinstance(source, (list, tuple)) or not source:
            return False
        width, source = len(source), source[0]
        if isinstance(source, (Real, np.bool_)):
            return depth == 1 or (depth == 2 and width in (1, 3, 4))
    return False


def _convert_array(array: NDArray[Any], white: Whites) -> NDArray[np.uint8]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or array.size == 0:
        remedy = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            remedy = "; put the channels last: array.transpose(1, 2, 0)"
        elif array.ndim in (3, 4) and array.size:
            remedy = "; pass several pictures as a list"
        raise PictureError(
            f"array must have shape (h, w), (h, w, 3) or (h, w, 4), got {array.shape}{remedy}"
        )
    check_size(array.shape[1], array.shape[0], "the array")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = reduce_depth(array, white)
    elif array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise PictureError("array of floats must be finite, got NaN or infinity")
        low, high = float(array.min()), float(array.max())
        if low < 0 or high > 255:
            raise PictureError(
                f"array of floats must have values from 0 to 1 or from 0 to 255, got {low:g} to "
                f"{high:g}; scale it, or convert it to uint8"
            )
        array = (array * (255 if high <= 1 else 1) + 0.5).astype(np.uint8)
    elif array.dtype.kind not in "iu":
        raise PictureError(f"array must be uint8, got {array.dtype}")
    elif array.dtype != np.uint8 and (array.min() < 0 or array.max() > 255):
        raise PictureError(
            f"array of {array.dtype} must have values from 0 to 255; convert it to uint8 or uint16"
        )
    array = array.astype(np.uint8, copy=False)
    if array.ndim == 3 and array.shape[2] == 4:
        return flatten_alpha(array)
    return np.ascontiguousarray(array)


def _open(path: Path) -> BinaryIO:
    try:
        return open_regular(path, MAX_FILE)
    except IsADirectoryError:
        raise PictureError(f"{path} must be a file, got a folder; pass the files in it") from None
    except ValueError as error:  # such as a null character in the name
        raise PictureError(f"{str(path)!r} cannot be opened: {error}") from None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENXIO):
            text = f"{path} must be a regular file; use - to read a stream"
            raise PictureError(text) from None
        raise PictureError(f"{path}: {error.strerror or error}") from None


def _read_stream(stream: BinaryIO, name: str) -> tuple[BinaryIO, int]:
    """Return the content of a stream as a file, and its size."""
    try:
        content = stream.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise PictureError(f"{name} cannot be read: {error}") from None
    if not isinstance(content, (bytes, bytearray)):
        raise TypeError(
            f"source must be a binary file, got one that returns {type(content).__name__}"
        )
    if len(content) > MAX_FILE:
        raise PictureError(f"{name} has more than {MAX_FILE >> 20} MB")
    return io.BytesIO(content), len(content)
