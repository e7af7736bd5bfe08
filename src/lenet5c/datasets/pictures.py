"""Many picture files, read at once."""

import os
from collections import deque

from lenet5c.errors import MissingExtraError, UserError

WORKERS = 8  # decoders wait for the disk, too


def read_pictures(paths):
    """Read picture files, several at once.

    Parameters
    ----------
    paths : sequence of Path

    Yields
    ------
    ndarray of uint8, shape (h, w) or (h, w, 3), or Exception
        For each path, in order: its picture, or why it cannot be read.

    Raises
    ------
    MissingExtraError
        Pillow is not installed.
    """
    from concurrent.futures import ThreadPoolExecutor  # MNIST does without

    read = reader()
    with ThreadPoolExecutor(min(WORKERS, 2 * (os.cpu_count() or 1))) as pool:
        waiting = deque()
        # A few pictures in advance and no more: they may be large.
        for path in paths:
            waiting.append(pool.submit(_read_or_error, read, path))
            if len(waiting) > 2 * WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read_or_error(read, path):
    try:
        return read(path)
    except MissingExtraError:
        raise
    except (UserError, OSError, MemoryError) as error:
        return error


def reader():
    """A function from the path of a file to its picture."""
    from lenet5c.extras import require

    Image = require("PIL.Image", "images", "images of your own")
    ImageOps = require("PIL.ImageOps", "images", "images of your own")
    import numpy as np

    def read(path):
        try:
            with Image.open(path) as image:
                image = ImageOps.exif_transpose(image)
                return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
        except Exception as error:
            raise UserError(f"{path}: {error}") from None

    return read


def reason(error, path):
    """Why a file cannot be read, without its path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error) or ("out of memory" if isinstance(error, MemoryError) else type(error).__name__)
    return text.removeprefix(f"{path}").lstrip(": ")


def header(path):
    """The format and mode of a picture file, such as 'PNG RGBA'."""
    from PIL import Image

    with Image.open(path) as image:
        return f"{image.format} {image.mode}"
