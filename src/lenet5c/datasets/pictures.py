"""Picture files as arrays: uint8, gray (h, w) or red, green and blue (h, w, 3)."""

import errno
import io
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
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
    flatten_alpha,
    open_image,
    reduce_depth,
)
from lenet5c.datasets.picture_headers import PictureError
from lenet5c.errors import MissingExtraError, UserError

SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
#: The endings of pictures in formats that are not read, which are told apart from other files.
UNREAD_SUFFIXES = frozenset(
    {".psd", ".xcf", ".svg", ".svgz", ".eps", ".ai", ".pdf", ".ico", ".icns", ".tga", ".dds"}
    | {".exr", ".hdr", ".pfm", ".pcx", ".jxl", ".jxr", ".wdp", ".bpg", ".djvu", ".emf", ".wmf"}
    | {".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"}
    | {".dcm", ".nii", ".fits", ".ras", ".sgi", ".rgb", ".xbm", ".xpm", ".apng", ".mng"}
)
_LARGE = 64_000_000  # bytes of a picture, after which freed memory is given back
_WORKERS = 8  # decoders wait for the disk, too


def read_picture(source: Any) -> NDArray[np.uint8]:
    """Read one picture.

    Parameters
    ----------
    source : str, path-like, binary file, PIL.Image.Image or ndarray
        Of a file with several pictures the first is taken. An array is (h, w), (h, w, 1),
        (h, w, 3) or (h, w, 4), of bool, uint8, uint16, or float from 0 to 1.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        Turned upright as its camera noted; transparency is laid on a paper on which it shows. A
        JPEG that would take more than 300 MB to decode has a half, a quarter or an eighth of its
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
    if isinstance(source, np.ndarray):
        return _convert_array(source)
    Image = require("PIL.Image", "images", "pictures")
    if isinstance(source, Image.Image):
        return decode(source, "the picture")
    if not (isinstance(source, (str, os.PathLike)) or hasattr(source, "read")):
        raise TypeError(
            "source must be a path, a binary file, a picture of Pillow or a NumPy array, "
            f"got {type(source).__name__}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _read(source)


def read_pictures(
    paths: Iterable[Path | BinaryIO],
    finish: Callable[[NDArray[np.uint8]], Any] | None = None,
    open_file: Callable[[Path], BinaryIO] | None = None,
) -> Iterator[Any]:
    """Read picture files, by their paths or open, several at once, with Pillow.

    For each path, in order, the result of `finish` or the exception that says why the file cannot
    be read. `finish` is applied to each picture on the thread that has read it, so that large
    pictures need not wait in memory. Those that are decoded at once take at most `MEMORY`.
    `open_file` opens a path that is not on disk.
    """
    # MNIST does without it.
    from concurrent.futures import ThreadPoolExecutor

    require("PIL.Image", "images", "images of your own")
    memory = _Memory(MEMORY)

    def work(path: Path | BinaryIO) -> Any:
        try:
            return _read(path, memory, finish, open_file)
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

    with suppress(OSError, AttributeError, TypeError):  # there is no glibc
        ctypes.CDLL(None).malloc_trim(0)


def _read(
    source: Any,
    memory: _Memory | None = None,
    finish: Callable[[NDArray[np.uint8]], Any] | None = None,
    open_file: Callable[[Path], BinaryIO] | None = None,
) -> Any:
    """Read a path or stream within a memory, by default one of its own."""
    if hasattr(source, "read"):
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
            result = finish(picture)
            del picture  # before others take its memory
            return result


def describe_fault(error: Exception, path: Path) -> str:
    """Return why a file cannot be read, as the rest of a sentence after its name."""
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


def _convert_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or array.size == 0:
        raise PictureError(
            f"the array must have a shape (h, w), (h, w, 3) or (h, w, 4), got {array.shape}"
        )
    check_size(array.shape[1], array.shape[0], "the array")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = reduce_depth(array)
    elif array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise PictureError(
                "an array of floats must hold values from 0 to 1; divide it by 255 or make it uint8"
            )
        array = (array * 255 + 0.5).astype(np.uint8)
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
        raise PictureError(f"{path} is a folder; name the pictures in it") from None
    except ValueError as error:  # such as a null character in the name
        raise PictureError(f"{str(path)!r} cannot be opened: {error}") from None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENXIO):
            text = f"{path} is not a regular file; a stream is read as -"
            raise PictureError(text) from None
        raise PictureError(f"{path}: {error.strerror or error}") from None


def _read_stream(stream: BinaryIO, name: str) -> tuple[BinaryIO, int]:
    """Return the content of a stream as a file, and its size."""
    try:
        content = stream.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise PictureError(f"{name} cannot be read: {error}") from None
    if not isinstance(content, (bytes, bytearray)):
        raise TypeError(f"source must be a binary file, got one of {type(content).__name__}")
    if len(content) > MAX_FILE:
        raise PictureError(f"{name} holds more than {MAX_FILE >> 20} MB")
    return io.BytesIO(content), len(content)
