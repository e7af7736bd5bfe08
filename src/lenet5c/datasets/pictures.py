"""Picture files as arrays: uint8, gray (h, w) or red, green and blue (h, w, 3)."""

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
#: The endings of pictures in formats that are not read, which are told apart from other files.
UNREAD_SUFFIXES = frozenset(
    {".psd", ".xcf", ".svg", ".svgz", ".eps", ".ai", ".pdf", ".ico", ".icns", ".tga", ".dds"}
    | {".exr", ".hdr", ".pfm", ".pcx", ".jxl", ".jxr", ".wdp", ".bpg", ".djvu", ".emf", ".wmf"}
    | {".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"}
    | {".dcm", ".nii", ".fits", ".ras", ".sgi", ".rgb", ".xbm", ".xpm", ".apng", ".mng"}
)
BYTES = (bytes, bytearray, memoryview)
_LARGE = 64_000_000  # bytes of a picture, after which freed memory is given back
_WORKERS = 8  # decoders wait for the disk, too
#: Beginnings of files whose gray levels may have more than eight bits.
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
        Of a file with several pictures the first is taken; bytes are those of a file. An array is
        (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), of bool, uint8, uint16, or float from 0 to 1 or,
        if any value is over 1, from 0 to 255.
    white : dict of str to float, optional
        The gray level of white in pictures of more than eight bits, as `measure_whites` finds it:
        for integers as 'int', for floats as 'float'. Default: that of the picture alone, which is
        1023, 4095, 16383 or 65535, the least that its brightest pixel, and the significant bits
        that a PNG declares, do not exceed; for floats also 1.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        Turned upright as its camera noted; transparency is laid on a paper on which it shows. A
        picture that would take more than 300 MB to decode has a half, a quarter or an eighth of its
        height and width.

    Raises
    ------
    PictureError
        If it is not a picture, damaged, or would take more memory than that.
    TypeError
        If `source` is none of these.
    MissingExtraError
        If Pillow is not installed; arrays do without it.

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
    """Read picture files, by their paths or open, several at once, with Pillow.

    For each path, in order, the result of `finish` or the exception that says why the file cannot
    be read. ``finish(picture, path)`` is called on the thread that has read it, so that large
    pictures need not wait in memory. Those that are decoded at once take at most `MEMORY`.
    `open_file` opens a path that is not on disk; `white` is as of `read_picture`.
    """
    return _decode_all(paths, partial(decode, white=white), finish, open_file)


def measure_whites(sources: Iterable[Any], open_file: OpenFile | None = None) -> dict[str, float]:
    """Return the gray level of white in pictures together, where they have more than eight bits.

    Paths, open files that can be read again, arrays and pictures of Pillow are measured. Those that
    cannot be read are left out. `open_file` is as of `read_pictures`.
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
    if first := list(islice(files, 1)):  # without Pillow where there is none
        results = _decode_all(chain(first, files), measure_white, None, open_file)
        found += [each for each in results if not isinstance(each, Exception)]
    return merge_white(found)


def measure_sizes(
    paths: Iterable[Path | BinaryIO], open_file: OpenFile | None = None
) -> Iterator[tuple[int, int]]:
    """Return height and width of each picture file that can be opened, by its header.

    Arguments are those of `read_pictures`.
    """
    results = _decode_all(paths, measure_size, None, open_file)
    return (size for size in results if not isinstance(size, Exception))


def _may_be_deep(source: Path | BinaryIO, open_file: OpenFile) -> bool:
    """Return whether gray levels may have more than eight bits, by the beginning of a file."""
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
    # MNIST does without it.
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
    # Set here: threads that each set the filter would undo one another's.
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
    """Memory that threads take parts of, and wait for."""

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
    """Give freed memory back to the system: the allocator of glibc keeps that of each thread."""
    import ctypes

    with suppress(OSError, AttributeError, TypeError):  # without glibc
        ctypes.CDLL(None).malloc_trim(0)


def _read(
    source: Any,
    decode: Decode,
    memory: _Memory | None = None,
    finish: Finish | None = None,
    open_file: OpenFile | None = None,
) -> Any:
    """Read a path, bytes or stream within a memory, by default one of its own."""
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
                image.close()  # and with it its pixels
            if finish is None:
                return picture
            result = finish(picture, source)
            del picture  # before others take its memory
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
    """Return the picture files directly in a folder, by their endings, sorted; none hidden.

    Those in formats that are not read are among them: passed over, they would be missed by nobody.
    """
    named = SUFFIXES | UNREAD_SUFFIXES
    files = [
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in named and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(files, key=lambda path: path.name)


def _as_array(source: Any) -> NDArray[Any] | None:
    """Return an array, or a list of numbers as one; None for all else."""
    if isinstance(source, np.ndarray):
        return source
    if is_nested(source):
        try:
            return np.array(source)
        except ValueError:
            raise PictureError("a list must have rows of one length to be a picture") from None
    return None


def is_nested(source: Any) -> bool:
    """Return whether this is a picture as a list of rows: of numbers, or of colors as lists."""
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
            remedy = "; give several pictures as a list"
        raise PictureError(
            f"the array must have a shape (h, w), (h, w, 3) or (h, w, 4), got {array.shape}{remedy}"
        )
    check_size(array.shape[1], array.shape[0], "the array")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = reduce_depth(array, white)
    elif array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise PictureError("an array of floats must be finite, got NaN or infinity")
        low, high = float(array.min()), float(array.max())
        if low < 0 or high > 255:
            raise PictureError(
                f"an array of floats must hold values from 0 to 1, or to 255, got {low:g} to "
                f"{high:g}; scale it, or make it uint8"
            )
        array = (array * (255 if high <= 1 else 1) + 0.5).astype(np.uint8)
    elif array.dtype.kind not in "iu":
        raise PictureError(f"the array must be uint8, got {array.dtype}")
    elif array.dtype != np.uint8 and (array.min() < 0 or array.max() > 255):
        raise PictureError(
            f"an array of {array.dtype} must hold values from 0 to 255; make it uint8 or uint16"
        )
    array = array.astype(np.uint8, copy=False)
    if array.ndim == 3 and array.shape[2] == 4:
        return flatten_alpha(array)
    return np.ascontiguousarray(array)


def _open(path: Path) -> BinaryIO:
    try:
        return open_regular(path, MAX_FILE)
    except IsADirectoryError:
        raise PictureError(f"{path} is a folder; pass the pictures in it") from None
    except ValueError as error:  # such as a null character in the name
        raise PictureError(f"{str(path)!r} cannot be opened: {error}") from None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENXIO):
            text = f"{path} is not a regular file; pass - to read a stream"
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
