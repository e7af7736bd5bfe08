"""What ``--data`` means: a known name, or a folder."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from lenet5c.datasets.dataset import Dataset, DatasetError
from lenet5c.datasets.idx import has_idx_files, idx_folder
from lenet5c.datasets.mnist import mnist
from lenet5c.datasets.registry import NAMED_SETS

NAMES = ("mnist", *NAMED_SETS)
READINGS = ("ink", "whole")


@dataclass(frozen=True, eq=False)
class Source:
    """The images of a run.

    Attributes
    ----------
    train, test : Dataset
    validation : Dataset or None
        Where the data brings its own.
    reading : {'ink', 'whole'}
        How a picture is made into an image such as these: the ink alone, cropped and centred on black as MNIST's digits
        are, or the whole picture as it is.
    notes : tuple of str
        What its reader should be told, such as which files were left out.
    """

    train: Dataset
    test: Dataset
    validation: Dataset | None = None
    reading: str = "ink"
    notes: tuple[str, ...] = ()


def source_name(data, argument="--data"):
    """A known name as it is, a folder as its full path: what a run's config.json holds.

    Parameters
    ----------
    data : str
    argument : str, optional
        What an error calls it.

    Raises
    ------
    DatasetError
        It is neither.
    """
    if data in NAMES:
        return data
    path = Path(data)
    if not data or not path.is_dir():
        close = get_close_matches(data.lower(), NAMES, 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise DatasetError(
            f"{argument} is {data!r}; it should be a folder, or one of {', '.join(NAMES)}{meant}"
        )
    return str(path.resolve())


def open_source(data, *, skip_bad=False, reading=None, download=True, tell=None):
    """Read the images that ``--data`` means.

    Parameters
    ----------
    data : str
        A name of `NAMES`, or a folder: with four IDX files, or with a folder of images for each class.
    skip_bad : bool, optional
        Leave out images that cannot be read.
    reading : {'ink', 'whole'}, optional
        In place of that of the data: 'ink' for MNIST, its like and IDX files, 'whole' for all else.
    download : bool, optional
        Whether a named set that is not in the cache may be fetched.
    tell : callable, optional
        Called with a line of text before each download.

    Returns
    -------
    Source

    Raises
    ------
    FileNotFoundError
    DatasetError
        The data cannot be read.
    """
    if reading is not None and reading not in READINGS:
        raise DatasetError(f"reading is {reading!r}; it should be one of {', '.join(READINGS)}")
    source = _open(data, skip_bad, download, tell)
    return source if reading is None else replace(source, reading=reading)


def _open(data, skip_bad, download, tell):
    if data == "mnist":
        return Source(*mnist())
    if data in NAMED_SETS:
        from lenet5c.datasets.named import load_named

        return load_named(NAMED_SETS[data], download=download, tell=tell)
    if has_idx_files(data):
        return Source(*idx_folder(data))
    from lenet5c.datasets.image_folder import image_folder

    return image_folder(data, skip_bad=skip_bad)
