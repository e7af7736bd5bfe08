"""Data sets selected by ``--data``: known names, files and folders."""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from lenet5c._text import listing, printable, suggest
from lenet5c.datasets._checks import check_choice, check_path
from lenet5c.datasets.dataset import READINGS, Dataset, DatasetError, Source
from lenet5c.datasets.file_tree import is_archive
from lenet5c.datasets.files import has_files, read_files
from lenet5c.datasets.folder_files import list_folder
from lenet5c.datasets.idx import is_idx_file
from lenet5c.datasets.idx_folder import has_idx_files, read_idx_file, read_idx_folder
from lenet5c.datasets.image_folder import MEMORY, read_image_folder
from lenet5c.datasets.mnist import mnist
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

NAMES = ("mnist", "signs", *NAMED_SETS)
OnMessage = Callable[[str], object]
USUAL = ReadOptions()


def source_name(data: str, argument: str = "--data") -> str:
    """Return a known name unchanged, or a path as an absolute path, as in config.json.

    Raises a DatasetError if `data`, the value of `argument`, is neither.
    """
    if data in NAMES:
        return data
    path = Path(data)
    if not data or not path.exists():
        raise DatasetError(
            f"{argument} must be a file or folder, or one of {', '.join(NAMES)}, got {data!r}"
            f"{suggest(data, NAMES)}"
        )
    return str(path.resolve())


def open_source(
    data: str,
    options: ReadOptions = USUAL,
    *,
    reading: str | None = None,
    download: bool = True,
    on_message: OnMessage | None = None,
) -> Source:
    """Read the data selected by ``--data``, for training.

    Parameters
    ----------
    data : str
        A name from `NAMES`, or a path: a folder with a folder of images for each class, a folder of
        IDX files, a CSV, Parquet, NumPy or MATLAB file, or a folder with one for each part; or a
        zip or tar archive of such data.
    options : ReadOptions, optional
    reading : {'ink', 'whole'}, optional
        See `Source`. Default: 'ink' for MNIST, similar data sets and IDX files, 'whole' for others.
    download : bool, optional
        Download a named data set that is not in the cache.
    on_message : callable, optional
        Called with a line of text before each download.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If the data cannot be read.
    """
    if reading is not None:
        check_choice("reading", reading, READINGS)
    source = _open_named(data, download, on_message) or divide(find(data, options))
    return source if reading is None else replace(source, reading=reading)


def open_whole(
    data: str,
    options: ReadOptions = USUAL,
    *,
    reading: str | None = None,
    download: bool = True,
    on_message: OnMessage | None = None,
) -> Source:
    """Read the data selected by ``--data``, for cross-validation.

    Parameters and errors are those of `open_source`.

    Returns
    -------
    Source
        For undivided data, both training and test set contain all images.
    """
    source = _open_named(data, download, on_message)
    if source is None and ALL in (found := find(data, options)).parts:
        parts, notes = label_parts(found)
        whole = parts[ALL]
        source = Source(whole, whole, None, found.reading, (*found.notes, *notes))
    source = source or divide(found)
    return source if reading is None else replace(source, reading=reading)


def open_dataset(
    data: str,
    part: str = "test",
    options: ReadOptions = USUAL,
    *,
    download: bool = True,
    on_message: OnMessage | None = None,
    note: OnMessage | None = None,
) -> Dataset:
    """Read a part of data for evaluation; all images if the data is undivided.

    Parameters
    ----------
    data, options, download, on_message
        See `open_source`.
    part : {'train', 'validation', 'test'}, optional
    note : callable, optional
        Called with each remark on the data.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If the data cannot be read, or has no such part.
    """
    return open_part(data, part, options, download=download, on_message=on_message, note=note)[1]


def open_part(
    data: str,
    part: str = "test",
    options: ReadOptions = USUAL,
    *,
    download: bool = True,
    on_message: OnMessage | None = None,
    note: OnMessage | None = None,
) -> tuple[str | None, Dataset]:
    """Call `open_dataset` and also return the part, None for undivided data."""
    source = _open_named(data, download, on_message)
    if source is not None:
        dataset = getattr(source, part)
        if dataset is None:
            raise DatasetError(f"part must be test or train for {data}, got {part}")
        return part, dataset
    found = choose_part(find(data, options), part)
    parts, notes = label_parts(found, training=False)
    ((name, dataset),) = parts.items()
    if name != part:
        notes.insert(0, f"the data is not divided into parts: all {len(dataset):,} images are used")
    if note:
        for line in (*found.notes, *notes):
            note(line)
    return (part if name == part else None), dataset


def open_records(
    data: str,
    options: ReadOptions = USUAL,
    *,
    download: bool = True,
    on_message: OnMessage | None = None,
    note: OnMessage | None = None,
) -> Records:
    """Read images for prediction, with or without labels.

    These are the test images, all images of undivided data, or else those of one part, which is
    named in a note. If the data has class names, labels are names. Parameters and errors are those
    of `open_dataset`.
    """
    source = _open_named(data, download, on_message)
    if source is not None:
        test = source.test
        records = Records(test.images, test.labels, test.ids, test.root)
        names: tuple[str, ...] | None = test.class_names
    else:
        found = find(data, options)
        parts, names = found.parts, found.class_names
        part = next((each for each in ("test", ALL) if each in parts), min(parts))
        records = parts[part]
        notes = list(found.notes)
        if part != "test" and len(parts) > 1:
            others = listing(each for each in parts if each != part)
            notes.append(f"no test set: the {part} images are used, not those of {others}")
        for line in notes if note else ():
            note(line)  # type: ignore[misc]
    if records.labels is None or names is None:
        return records
    return replace(records, labels=[names[int(label)] for label in records.labels])


def find(data: str, options: ReadOptions = USUAL) -> Found:
    """Read a file or folder with the reader for its kind.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If it cannot be read.
    """
    path = check_path("data", data)
    return choose_reader(path)(path, options)


def choose_reader(path: Path) -> Callable[[Path, ReadOptions], Found]:
    """Return the reader for a file or folder of this kind."""
    if is_archive(path) and not path.is_dir():
        return read_packed
    if has_idx_files(path):
        return read_idx_folder
    if path.is_file() and is_idx_file(path):
        return read_idx_file
    if has_files(path):
        return read_files
    if path.is_file():
        raise DatasetError(
            f"{path} must be an IDX, CSV, NumPy, Parquet or MATLAB file, a zip or tar, or a folder "
            "of images for each class, got another file; convert it, for example with numpy.savez"
        )
    return read_image_folder


def read_packed(path: Path, options: ReadOptions) -> Found:
    """Read an archive: images member by member, other data from a temporary folder."""
    from tempfile import TemporaryDirectory

    with list_folder(path) as files:
        assert files.archive
        if files.entries():
            return read_image_folder(path, options, files=files)
        if packed := next(filter(is_archive, files.archive.members), None):
            raise DatasetError(
                f"{path} must contain images or tables, got a nested archive, {printable(packed)}; "
                "unpack it"
            )
        with TemporaryDirectory(prefix="lenet5c-") as folder:
            files.archive.extract(Path(folder))
            place = Path(folder)
            while place.is_dir() and len(inner := list(place.iterdir())) == 1:
                (place,) = inner
            try:
                found = find(str(place), options)
                parts = {part: _load(path, records) for part, records in found.parts.items()}
            except (DatasetError, FileNotFoundError) as error:
                # No one else uses the temporary folder.
                raise DatasetError(str(error).replace(str(place), str(path))) from None
        return replace(found, parts=parts, name=path.name)


def _load(path: Path, records: Records) -> Records:
    """Return records with images in memory, not in a file that will be removed."""
    images = records.images
    if prod(images.shape) > MEMORY:
        raise DatasetError(
            f"{path} must contain at most {MEMORY >> 30} GB of images, got more; unpack it and use "
            "the folder"
        )
    if not isinstance(images, np.ndarray):
        images = np.array(images)
    return replace(records, images=images, root=None)


def _open_named(data: str, download: bool, on_message: OnMessage | None) -> Source | None:
    """Load a data set by name; None if there is none."""
    check_path("data", data)
    if data == "mnist":
        return Source(*mnist())
    if data == "signs":
        from lenet5c.datasets.signs import signs  # takes a few seconds

        return Source(*signs())
    if data not in NAMED_SETS:
        return None
    from lenet5c.datasets.named import load_named  # also imports urllib and ssl

    return load_named(NAMED_SETS[data], download=download, on_message=on_message)
