"""The data sets that ``--data`` names: known names, and folders."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lenet5c.datasets._checks import check_choice, check_path
from lenet5c.datasets.dataset import READINGS, DatasetError, Source
from lenet5c.datasets.idx import has_idx_files, idx_folder
from lenet5c.datasets.image_folder import image_folder
from lenet5c.datasets.mnist import mnist
from lenet5c.datasets.registry import NAMED_SETS

NAMES = ("mnist", *NAMED_SETS)


def source_name(data: str, argument: str = "--data") -> str:
    """Return a known name as it is, a folder as its full path: the form in a run's config.json.

    A DatasetError says that `data`, the value of `argument`, is neither.
    """
    if data in NAMES:
        return data
    path = Path(data)
    if not data or not path.is_dir():
        from difflib import get_close_matches

        close = get_close_matches(data.lower(), NAMES, 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise DatasetError(
            f"{argument} must be a folder, or one of {', '.join(NAMES)}, got {data!r}{meant}"
        )
    return str(path.resolve())


def open_source(
    data: str,
    *,
    skip_bad: bool = False,
    reading: str | None = None,
    download: bool = True,
    tell: Callable[[str], object] | None = None,
) -> Source:
    """Read the data sets that ``--data`` names.

    Parameters
    ----------
    data : str
        A name of `NAMES`, or a folder: with four IDX files, or with a folder of images for each
        class.
    skip_bad : bool, optional
        Leave out images that cannot be read.
    reading : {'ink', 'whole'}, optional
        See `Source`. Default: 'ink' for MNIST, its like and IDX files, 'whole' for all others.
    download : bool, optional
        Fetch a named set that is not in the cache.
    tell : callable, optional
        Called with a line of text before each download.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If the data cannot be read.
    """
    check_path("data", data)
    if reading is not None:
        check_choice("reading", reading, READINGS)
    if data == "mnist":
        source = Source(*mnist())
    elif data in NAMED_SETS:
        from lenet5c.datasets.named import load_named  # and with it urllib and ssl

        source = load_named(NAMED_SETS[data], download=download, tell=tell)
    elif has_idx_files(data):
        source = Source(*idx_folder(data))
    else:
        source = image_folder(data, skip_bad=skip_bad)
    return source if reading is None else replace(source, reading=reading)
