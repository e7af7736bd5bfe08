"""Picture files as arrays: uint8, grey (h, w) or red, green and blue (h, w, 3).

Files are not trusted: only a fixed list of formats is opened, and a picture's size is checked before it is decoded.
"""

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np

from lenet5c._optional import require
from lenet5c.errors import UserError

#: Formats of Pillow that are opened, and the endings of files that are looked for in a folder.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".bmp",
    ".dib",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
    ".pgm",
    ".ppm",
    ".pbm",
    ".pnm",
)
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_500
MAX_STREAM = 256 << 20
#: Luma above or below which transparent drawings get black or white paper.
MIDDLE = 128


class PictureError(UserError):
    """A picture cannot be read; the message names it and says why."""


def read_picture(source):
    """Read one picture.

    Parameters
    ----------
    source : str, path-like, binary file, PIL.Image.Image or ndarray
        Of a file with several pictures the first is taken. An array is (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), of
        bool, uint8, uint16, or float from 0 to 1.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        Turned upright as its camera noted; transparency is laid on a paper on which it shows.

    Raises
    ------
    PictureError
        It is no picture, damaged, or too large.
    MissingExtraError
        Pillow is not installed; arrays do without it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.recognition.reader import read_picture
    >>> read_picture(np.array([[False, True]]))
    array([[  0, 255]], dtype=uint8)
    """
    if isinstance(source, np.ndarray):
        return from_array(source)
    Image = require("PIL.Image", "images", "pictures")
    if isinstance(source, Image.Image):
        return _decoded(source, "the picture")
    if hasattr(source, "read"):
        return _from_stream(Image, source, "standard input")
    path = Path(source)
    _check_file(path)
    with warnings.catch_warnings(), open(path, "rb") as file:
        warnings.simplefilter("ignore")
        return _opened(Image, file, str(source))


def picture_files(folder):
    """The pictures in a folder, by their names' endings, sorted; folders in it and hidden files are left out."""
    files = [
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(files, key=lambda path: path.name)


def from_array(array):
    """uint8 (h, w) or (h, w, 3) of an array as `read_picture` takes it."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or array.ndim == 3 and array.shape[2] in (3, 4)) or array.size == 0:
        raise PictureError(
            f"an array of shape {array.shape} is no picture; make it (h, w), (h, w, 3) or (h, w, 4)"
        )
    _check_size(array.shape[1], array.shape[0], "the array")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = _levels(array)
    elif array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise PictureError(
                "an array of floats should hold values from 0 to 1; divide it by 255, or make it uint8"
            )
        array = (array * 255 + 0.5).astype(np.uint8)
    elif array.dtype.kind in "iu" and array.dtype != np.uint8:
        if array.min() < 0 or array.max() > 255:
            raise PictureError(
                f"an array of {array.dtype} should hold values from 0 to 255; make it uint8 or uint16"
            )
        array = array.astype(np.uint8)
    elif array.dtype != np.uint8:
        raise PictureError(f"an array of {array.dtype} is no picture; make it uint8")
    if array.ndim == 3 and array.shape[2] == 4:
        return _on_paper(array)
    return np.ascontiguousarray(array)


def _check_file(path):
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


def _from_stream(Image, stream, name):
    content = stream.read(MAX_STREAM + 1)
    if len(content) > MAX_STREAM:
        raise PictureError(f"{name} holds more than {MAX_STREAM >> 20} MB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _opened(Image, io.BytesIO(content), name)


def _opened(Image, file, name):
    if not file.read(1):
        raise PictureError(f"{name} is empty")
    file.seek(0)
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise PictureError(
            f"{name} is not a picture in a format that is read: {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name} has more than {MAX_PIXELS:,} pixels; reduce it first") from None
    except Exception as error:  # a decoder that is given a hostile file may raise anything
        raise PictureError(f"{name} cannot be read as a picture: {_reason(error)}") from None
    with image:
        return _decoded(image, name)


def _decoded(image, name):
    """The array of a picture that Pillow has opened."""
    ImageOps = require("PIL.ImageOps", "images", "pictures")
    _check_size(*image.size, name)
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        return _as_array(image)
    except MemoryError:
        raise
    except Exception as error:
        raise PictureError(
            f"{name} is damaged or of a kind that is not read: {_reason(error)}"
        ) from None


def _check_size(width, height, name):
    if width < 1 or height < 1:
        raise PictureError(f"{name} has no pixels")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PictureError(
            f"{name} has {width:,} by {height:,} pixels; at most {MAX_PIXELS:,} in all and {MAX_SIDE:,} on a side are "
            f"read: reduce it first"
        )


def _reason(error):
    return " ".join(str(error).split())[:200] or type(error).__name__


def _as_array(image):
    mode = image.mode
    if mode == "L" and "transparency" not in image.info:
        return np.array(image)
    if mode == "1":
        return np.array(image.convert("L"))
    if mode.startswith("I") or mode == "F":
        return _levels(np.asarray(image))
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_paper(np.asarray(image.convert("RGBA")))
    if mode == "P":
        image = image.convert("RGB")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _levels(values):
    """Grey levels in more than eight bits as uint8: of the range that they seem to be made for, such as 12 bits."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, values[finite].min() if finite.any() else 0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        top = next(
            (top for top in (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0) if high <= top), high
        )
        if high <= 1 and (values == np.rint(values)).all():
            top = 1.0
        low = 0.0
    else:
        top = high
    return (np.clip((values - low) / max(top - low, 1e-300), 0, 1) * 255 + 0.5).astype(np.uint8)


def _on_paper(rgba):
    """Red, green and blue of a picture with transparency.

    What is opaque is a drawing on nothing, or a picture with holes or round corners. The first gets the paper that
    is furthest from its colour, white or black; the second's holes get its own usual colour.
    """
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    opaque = alpha > 127
    seen = rgba[..., :3][opaque if opaque.any() else alpha > 0]
    if len(seen) == 0:
        return np.full(rgba.shape[:2] + (3,), 255, np.uint8)
    luma = seen @ np.array([0.299, 0.587, 0.114])
    if opaque.mean() > 0.5 and luma.std() > 12:
        paper = np.median(seen, axis=0)
    else:
        paper = np.full(3, 255.0 if np.median(luma) < MIDDLE else 0.0)
    share = alpha[..., np.newaxis].astype(np.float32) / 255
    return (rgba[..., :3] * share + paper.astype(np.float32) * (1 - share) + 0.5).astype(np.uint8)
