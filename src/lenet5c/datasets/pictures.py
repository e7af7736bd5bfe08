"""Many picture files, read at once."""

import os
import warnings
from collections import deque

from lenet5c._optional import require
from lenet5c.errors import MissingExtraError, UserError

WORKERS = 8  # decoders wait for the disk, too


def read_pictures(paths, finish=None):
    """Read picture files, several at once.

    Parameters
    ----------
    paths : sequence of Path
    finish : callable, optional
        What to make of each picture, uint8 (h, w) or (h, w, 3), on the thread that has read it: large pictures should
        not wait in memory for their turn.

    Yields
    ------
    object or Exception
        For each path, in order: what `finish` returned, or why the file cannot be read.

    Raises
    ------
    MissingExtraError
        Pillow is not installed.
    """
    # MNIST does without these.
    from concurrent.futures import ThreadPoolExecutor

    from lenet5c.recognition.reader import read_picture

    require("PIL.Image", "images", "images of your own")

    def work(path):
        try:
            picture = read_picture(path)
            return picture if finish is None else finish(picture)
        except MissingExtraError:
            raise
        except (UserError, OSError, MemoryError) as error:
            return error

    workers = min(WORKERS, 2 * (os.cpu_count() or 1))
    # Of decoders, about what they make good. Set here, as threads that each set it would undo what the other did.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")
        waiting = deque()
        for path in paths:
            waiting.append(pool.submit(work, path))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def reason(error, path):
    """Why a file cannot be read, as what follows its name in a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    text = str(error) or (
        "out of memory" if isinstance(error, MemoryError) else type(error).__name__
    )
    if text.startswith(f"{path} "):
        return text[len(str(path)) + 1 :]
    return f"cannot be read ({text.removeprefix(f'{path}: ')})"


def header(path):
    """The format and mode of a picture file, such as 'PNG RGBA'."""
    from PIL import Image

    with Image.open(path) as image:
        return f"{image.format} {image.mode}"
