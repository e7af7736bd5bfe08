"""Picture files as arrays: uint8, gray (h, w) or red, green and blue (h, w, 3).

Files are not trusted: only a fixed list of formats is opened, and the size is checked before a
picture is decoded.
"""

import io
import os
import stat
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenet5c._optional import require
from lenet5c.errors import MissingExtraError, UserError

#: Formats of Pillow that are opened, and the endings of their files that a folder is searched for.
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe"),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "PPM": (".pgm", ".ppm", ".pbm", ".pnm"),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_500
MAX_STREAM = 256 << 20
_WORKERS = 8  # decoders wait for the disk, too


class PictureError(UserError):
    """A picture cannot be read; the message names it and says why."""


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
        Turned upright as its camera noted; transparency is laid on a paper on which it shows.

    Raises
    ------
    PictureError
        If it is not a picture, damaged, or too large.
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
        return _decode(source, "the picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if hasattr(source, "read"):
            return _read_stream(source, "standard input")
        path = Path(source)
        _check_file(path)
        with open(path, "rb") as file:
            return _read_file(file, str(source))


def read_pictures(
    paths: Sequence[Path], finish: Callable[[NDArray[np.uint8]], Any] | None = None
) -> Iterator[Any]:
    """Read picture files, several at once, with Pillow.

    For each path, in order, the result of `finish` or the exception that says why the file cannot
    be read. `finish` is applied to each picture on the thread that has read it, so that large
    pictures need not wait in memory.
    """
    # MNIST does without it.
    from concurrent.futures import ThreadPoolExecutor

    require("PIL.Image", "images", "images of your own")

    def work(path: Path) -> Any:
        try:
            picture = read_picture(path)
            return picture if finish is None else finish(picture)
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


def read_header(path: Path) -> str:
    """Return the format and mode of a picture file, such as 'PNG RGBA'."""
    with require("PIL.Image", "images", "pictures").open(path) as image:
        return f"{image.format} {image.mode}"


def find_pictures(folder: Path) -> list[Path]:
    """Return the picture files directly in a folder, by their endings, sorted; none hidden."""
    files = [
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(files, key=lambda path: path.name)


def _convert_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or array.size == 0:
        raise PictureError(
            f"the array must have a shape (h, w), (h, w, 3) or (h, w, 4), got {array.shape}"
        )
    _check_size(array.shape[1], array.shape[0], "the array")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = _reduce_depth(array)
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
        return _flatten_alpha(array)
    return np.ascontiguousarray(array)


def _check_file(path: Path) -> None:
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # such as a null character in the name
        raise PictureError(f"{str(path)!r} cannot be opened: {error}") from None
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror or error}") from None
    if stat.S_ISDIR(mode):
        raise PictureError(f"{path} is a folder; name the pictures in it")
    if not stat.S_ISREG(mode):
        raise PictureError(f"{path} is not a regular file; a stream is read as -")


def _read_stream(stream: BinaryIO, name: str) -> NDArray[np.uint8]:
    content = stream.read(MAX_STREAM + 1)
    if len(content) > MAX_STREAM:
        raise PictureError(f"{name} holds more than {MAX_STREAM >> 20} MB")
    return _read_file(io.BytesIO(content), name)


def _read_file(file: BinaryIO, name: str) -> NDArray[np.uint8]:
    Image = require("PIL.Image", "images", "pictures")
    if not file.read(1):
        raise PictureError(f"{name} is empty")
    file.seek(0)
    try:
        image = Image.open(file, formats=tuple(FORMATS))
    except Image.UnidentifiedImageError:
        raise PictureError(
            f"{name} is not a picture in a format that is read: {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name} has more than {MAX_PIXELS:,} pixels; reduce it first") from None
    except Exception as error:  # a decoder that is given a hostile file may raise anything
        raise PictureError(f"{name} cannot be read as a picture: {_shorten(error)}") from None
    with image:
        return _decode(image, name)


def _decode(image: Any, name: str) -> NDArray[np.uint8]:
    """Return the array of a picture that Pillow has opened."""
    ImageOps = require("PIL.ImageOps", "images", "pictures")
    _check_size(image.width, image.height, name)
    try:
        image.load()
        return _convert_mode(ImageOps.exif_transpose(image))
    except MemoryError:
        raise
    except Exception as error:
        raise PictureError(
            f"{name} is damaged or of a kind that is not read: {_shorten(error)}"
        ) from None


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise PictureError(f"{name} has no pixels")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PictureError(
            f"{name} must have at most {MAX_PIXELS:,} pixels and {MAX_SIDE:,} on a side, "
            f"got {width:,} by {height:,} pixels; reduce it first"
        )


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _convert_mode(image: Any) -> NDArray[np.uint8]:
    mode, transparent = image.mode, "transparency" in image.info
    if mode == "L" and not transparent:
        return np.array(image)
    if mode == "1":
        return np.array(image.convert("L"))
    if mode.startswith("I") or mode == "F":
        return _reduce_depth(np.asarray(image))
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or transparent:
        return _flatten_alpha(np.asarray(image.convert("RGBA")))
    return np.array(image if mode == "RGB" else image.convert("RGB"))


def _reduce_depth(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert gray levels of more than eight bits by their likely range, such as 12 bits."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, values[finite].min() if finite.any() else 0.0)
    low, top = float(values.min()), float(values.max())
    if low >= 0:
        ranges = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
        low, top = 0.0, next((bound for bound in ranges if top <= bound), top)
    return (np.clip((values - low) / max(top - low, 1e-300), 0, 1) * 255 + 0.5).astype(np.uint8)


def _flatten_alpha(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay a picture with transparency on paper.

    The opaque part is a drawing on nothing, or a picture with holes or round corners. A drawing
    gets the paper furthest from its color, white or black; holes get the picture's usual color.
    """
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    opaque = alpha > 127
    seen = rgba[..., :3][opaque if opaque.any() else alpha > 0]
    if len(seen) == 0:
        return np.full((*rgba.shape[:2], 3), 255, np.uint8)
    luma = seen @ np.array([0.299, 0.587, 0.114])
    if opaque.mean() > 0.5 and luma.std() > 12:
        paper = np.median(seen, axis=0)
    else:
        paper = np.full(3, 255.0 if np.median(luma) < 128 else 0.0)
    share = alpha[..., np.newaxis].astype(np.float32) / 255
    return (rgba[..., :3] * share + paper.astype(np.float32) * (1 - share) + 0.5).astype(np.uint8)
