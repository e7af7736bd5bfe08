"""The data sets that ``--data`` names: known names, files and folders."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lenet5c.datasets._checks import check_choice, check_path
from lenet5c.datasets.dataset import READINGS, Dataset, DatasetError, Source
from lenet5c.datasets.files import read_files
from lenet5c.datasets.idx import is_idx_file
from lenet5c.datasets.idx_folder import has_idx_files, read_idx_file, read_idx_folder
from lenet5c.datasets.image_folder import read_image_folder
from lenet5c.datasets.mnist import mnist
from lenet5c.datasets.orientation import EMNIST, set_upright
from lenet5c.datasets.records import (
    ALL,
    Found,
    ReadOptions,
    Records,
    choose_part,
    divide,
    label_parts,
)
from lenet5c.datasets.registry import NAMED_SETS

NAMES = ("mnist", *NAMED_SETS)
Tell = Callable[[str], object]
USUAL = ReadOptions()


def source_name(data: str, argument: str = "--data") -> str:
    """Return a known name as it is, a path as the full one: the form in a run's config.json.

    A DatasetError says that `data`, the value of `argument`, is neither.
    """
    if data in NAMES:
        return data
    path = Path(data)
    if not data or not path.exists():
        from difflib import get_close_matches

        close = get_close_matches(data.lower(), NAMES, 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise DatasetError(
            f"{argument} must be a file or folder, or one of {', '.join(NAMES)}, got {data!r}"
            f"{meant}"
        )
    return str(path.resolve())


def open_source(
    data: str,
    options: ReadOptions = USUAL,
    *,
    reading: str | None = None,
    download: bool = True,
    tell: Tell | None = None,
) -> Source:
    """Read the data that ``--data`` names, to train on.

    Parameters
    ----------
    data : str
        A name of `NAMES`, or a file or folder: four IDX files, or a folder of images for each
        class.
    options : ReadOptions, optional
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
    if reading is not None:
        check_choice("reading", reading, READINGS)
    source = _open_named(data, download, tell) or divide(find(data, options))
    return source if reading is None else replace(source, reading=reading)


def open_dataset(
    data: str,
    part: str = "test",
    options: ReadOptions = USUAL,
    *,
    download: bool = True,
    tell: Tell | None = None,
    note: Tell | None = None,
) -> Dataset:
    """Read the part of data to measure a model on; of data that is not divided all images.

    Parameters
    ----------
    data, options, download, tell
        As of `open_source`.
    part : {'train', 'validation', 'test'}, optional
    note : callable, optional
        Called with each remark on the data.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If the data cannot be read, or has no such part.
    """
    source = _open_named(data, download, tell)
    if source is not None:
        dataset = getattr(source, part)
        if dataset is None:
            raise DatasetError(f"part must be test or train for {data}, got {part}")
        return dataset
    found = choose_part(find(data, options), part)
    parts, notes = label_parts(found, training=False)
    if note:
        for line in (*found.notes, *notes):
            note(line)
    (dataset,) = parts.values()
    return dataset


def open_records(
    data: str, options: ReadOptions = USUAL, *, download: bool = True, tell: Tell | None = None
) -> Records:
    """Read images to predict the classes of, with or without labels.

    These are the test images of data that has some, otherwise all. Parameters and errors are those
    of `open_source`.
    """
    source = _open_named(data, download, tell)
    if source is not None:
        return Records(source.test.images, source.test.labels, source.test.ids, source.test.root)
    found = find(data, options)
    return found.parts.get("test") or found.parts.get(ALL) or found.parts[min(found.parts)]


def find(data: str, options: ReadOptions = USUAL) -> Found:
    """Read a file or folder by the reader of its kind.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If it cannot be read.
    """
    path = check_path("data", data)
    if has_idx_files(path):
        return read_idx_folder(path, options)
    if path.is_file() and is_idx_file(path):
        return read_idx_file(path, options)
    if found := read_files(path, options):
        return set_upright(found, options.transpose, EMNIST in path.name.casefold())
    return read_image_folder(path, options)


def _open_named(data: str, download: bool, tell: Tell | None) -> Source | None:
    """Return a data set with a name; None if `data` is none."""
    check_path("data", data)
    if data == "mnist":
        return Source(*mnist())
    if data not in NAMED_SETS:
        return None
    from lenet5c.datasets.named import load_named  # and with it urllib and ssl

    return load_named(NAMED_SETS[data], download=download, tell=tell)
