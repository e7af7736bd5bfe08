"""Folders of IDX files, whose names have the parts of a data set."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import list_some, listing
from lenet5c.datasets._checks import check_path
from lenet5c.datasets.dataset import Dataset, DatasetError
from lenet5c.datasets.idx import is_idx_file, load_idx, map_idx
from lenet5c.datasets.mapped import MAPPED, MappedImages, apply
from lenet5c.datasets.orientation import EMNIST, set_upright
from lenet5c.datasets.parts import PART_WORDS
from lenet5c.datasets.pixels import convert_images, convert_labels
from lenet5c.datasets.records import ALL, Found, ReadOptions, Records, label_parts
from lenet5c.datasets.registry import NAMED_SETS

# Such as emnist-letters-train-images-idx3-ubyte.gz.
_NAME = re.compile(
    rf"(?:(?P<set>.*?)[-_. ])?(?P<word>{'|'.join(PART_WORDS)})[-_. ](?P<kind>image|label)s?"
    r"(?P<separator>[-_. ])idx(?P<axes>\d?)(?:[-_. ][a-z0-9]+)?(?P<packed>\.gz)?"
)
EXPECTED = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, plain or .gz"
)
USUAL = ReadOptions()
#: Names of the parts in MNIST's file names, which are preferred to others.
USUAL_WORDS = ("train", "t10k")
#: Note on EMNIST files.
SIDEWAYS = (
    "the file names are those of EMNIST, whose images are stored transposed: they are transposed "
    "back; "
    "use --no-transpose to read them unchanged"
)
#: Number of columns of QMNIST's labels, the first of which is the class.
QMNIST_COLUMNS = 8


@dataclass(frozen=True)
class IdxName:
    """Parts of the name of an IDX file.

    Attributes
    ----------
    path : Path
    set : str
        Prefix before the part, such as 'emnist-letters', or ''.
    word : str
        Name of the part.
    kind : {'image', 'label'}
    rank : tuple
        Preference among files with the same content; the smallest is read.
    """

    path: Path
    set: str
    word: str
    kind: str
    rank: tuple[Any, ...]


def idx_folder(directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Read a training and a test set from the four IDX files in a folder.

    The files are named like those of MNIST: ``train-images-idx3-ubyte``,
    ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, in
    lowercase or uppercase. A prefix with the name of the data set is allowed, such as
    ``emnist-letters-``; so are ``test`` instead of ``t10k``, ``.`` instead of ``-`` before ``idx``,
    and the suffix ``.gz``. A file may be inside a folder with its own name, and all files in
    ``raw`` or ``MNIST/raw``. If several spellings are present, plain files are preferred to gzipped
    ones, then ``-`` to ``.``, ``idx3`` to ``idx4``, and ``t10k`` to ``test``.

    Images have shape (N, H, W), (N, C, H, W) or (N, H, W, C), or are rows of values, of any element
    type; see `lenet5c.datasets.pixels.convert_images`. EMNIST files, whose images are stored
    transposed, are recognized by their names. Labels are integers, one-hot rows, or those of
    QMNIST. Images in an uncompressed file of 256 MiB or more are read on demand; see
    `lenet5c.datasets.mapped.MappedImages`.

    Parameters
    ----------
    directory : str or path-like
        The folder.

    Returns
    -------
    train, test : Dataset
        Named after the folder. The classes are the training labels.

    Raises
    ------
    FileNotFoundError
        If the folder or one of the files is missing.
    DatasetError
        If a file is damaged, or the files do not match.

    Examples
    --------
    >>> from lenet5c.datasets import idx_folder
    >>> train, test = idx_folder("data/fashion")  # doctest: +SKIP
    """
    folder = check_path("directory", directory)
    found = read_idx_folder(folder)
    for part, word in (("train", "train"), ("test", "t10k")):
        if part not in found.parts:
            raise _miss(folder, [f"{word}-images-idx3-ubyte", f"{word}-labels-idx1-ubyte"])
    parts, _ = label_parts(found)
    return parts["train"], parts["test"]


def read_idx_folder(folder: Path, options: ReadOptions = USUAL) -> Found:
    """Read the IDX files in a folder: a pair, or images without labels, for each part."""
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: not a folder; use load_idx() to read a single file")
    place = _find_place(folder)
    names = list(_list_names(place))
    if not names:
        raise FileNotFoundError(
            f"{folder}: no IDX files with the names of a data set; expected {EXPECTED}"
        )
    sets = sorted({name.set for name in names})
    if len(sets) > 1:
        shown = listing([repr(name) for name in sets])
        raise DatasetError(
            f"{place}: the IDX files must belong to one data set, got names that begin with "
            f"{shown}; put each data set into its own folder"
        )
    return _read_parts(_choose(folder, names), folder, options)


def read_idx_file(path: Path, options: ReadOptions = USUAL) -> Found:
    """Read the images in an IDX file, with the labels in the corresponding file next to it."""
    name = _read_name(path)
    labels = None
    if name:
        beside = [
            other
            for other in _list_names(path.parent)
            if (other.set, other.word, other.kind) == (name.set, name.word, "label")
        ]
        labels = min(beside, key=lambda other: other.rank).path if beside else None
    return _read_parts({ALL: (path, labels)}, path, options)


def has_idx_files(directory: str | os.PathLike[str]) -> bool:
    """Return True if a folder has IDX files, by name or content."""
    folder = Path(directory)
    if not folder.is_dir():
        return False
    if any(_list_names(_find_place(folder))):
        return True
    return any(
        re.search("ubyte|idx[1-4]", path.name.casefold()) and is_idx_file(path)
        for path in folder.iterdir()
    )


def _find_place(folder: Path) -> Path:
    """Return the folder itself, or the folder ``raw`` in or below it that has IDX files."""
    if any(_list_names(folder)):
        return folder
    inner = [folder / "raw", *(path / "raw" for path in sorted(folder.iterdir()))]
    places = [path for path in inner if path.is_dir() and any(_list_names(path))]
    if len(places) > 1:
        shown = list_some(path.relative_to(folder).as_posix() for path in places)
        raise DatasetError(
            f"{folder} must contain one data set, got several, in {shown}; pass the folder of one"
        )
    return places[0] if places else folder


def _list_names(folder: Path) -> Iterator[IdxName]:
    """Yield the IDX files in a folder, recognized by name."""
    for path in sorted(folder.iterdir()):
        name = _read_name(path)
        if name and path.is_dir():  # some archives contain each file in a folder with its name
            inside = (_read_name(each) for each in sorted(path.iterdir()) if each.is_file())
            alike = (each for each in inside if each and each.kind == name.kind)
            name = next((each for each in alike if each.word == name.word), None)
        if name and name.path.is_file():
            yield name


def _read_name(path: Path) -> IdxName | None:
    found = _NAME.fullmatch(path.name.casefold())
    if not found:
        return None
    rank = (bool(found["packed"]), found["separator"] != "-", found["axes"], path.name)
    return IdxName(path, found["set"] or "", found["word"], found["kind"], rank)


def _choose(folder: Path, names: list[IdxName]) -> dict[str, tuple[Path, Path | None]]:
    """Return the image and label files of each part."""
    chosen: dict[str, tuple[Path, Path | None]] = {}
    labeled = any(name.kind == "label" for name in names)
    for part in ("train", "validation", "test"):
        gaps: list[list[str]] = []
        words = (word for word in PART_WORDS if PART_WORDS[word] == part)
        for word in sorted(words, key=lambda word: word not in USUAL_WORDS):
            images, labels = (
                min(
                    (name for name in names if (name.word, name.kind) == (word, kind)),
                    key=lambda name: name.rank,
                    default=None,
                )
                for kind in ("image", "label")
            )
            if images and (labels or not labeled):
                chosen[part] = images.path, labels.path if labels else None
                break
            if images or labels:
                prefix = f"{names[0].set}-{word}" if names[0].set else word
                gaps.append([f"{prefix}-{'labels-idx1' if images else 'images-idx3'}-ubyte"])
        else:
            if gaps:
                raise _miss(folder, gaps[0])
    return chosen


def _miss(folder: Path, names: list[str]) -> FileNotFoundError:
    return FileNotFoundError(
        f"{folder}: {' and '.join(names)} missing; put all files there; expected {EXPECTED}"
    )


def _read_parts(
    files: dict[str, tuple[Path, Path | None]], source: Path, options: ReadOptions
) -> Found:
    """Read the images and labels of all parts."""
    stored = {str(images): _read_images(images) for images, _ in files.values()}
    first = next(iter(stored))
    for name, array in stored.items():
        if array.shape[1:] != stored[first].shape[1:]:
            raise DatasetError(
                f"{name}: images must have shape {stored[first].shape[1:]}, as in {first}, got "
                f"{array.shape[1:]}"
            )
    labels = {
        part: None if path is None else _read_labels(path, images, len(stored[str(images)]))
        for part, (images, path) in files.items()
    }
    images, notes, white = convert_images(stored, options.shape, options.levels)
    known = _read_name(Path(first))
    set_name = known.set if known else ""
    class_names, first_label = name_classes(set_name, labels.values())
    if class_names:
        notes.append(f"{len(class_names)} classes, with the names of {set_name}")
    parts = {
        part: Records(images[str(files[part][0])], None if values is None else values - first_label)
        for part, values in labels.items()
    }
    found = Found(parts, source.resolve().name, "ink", tuple(notes), class_names, white=white)
    return set_upright(found, options.transpose, EMNIST in set_name)


def name_classes(
    set_name: str, labels: Iterable[NDArray[np.integer] | None]
) -> tuple[tuple[str, ...] | None, int]:
    """Return the classes of an EMNIST data set and the number of the first, if they match."""
    named = NAMED_SETS.get(set_name)
    if named is None or EMNIST not in set_name:
        return None, 0
    first = named.first_label
    for values in labels:
        if values is not None and not first <= values.min() <= values.max() < first + len(
            named.class_names
        ):
            return None, 0
    return named.class_names, first


def _read_images(path: Path) -> NDArray[Any] | MappedImages:
    images = map_idx(path, MAPPED)
    if images.ndim == 1 or 0 in images.shape:
        raise DatasetError(
            f"{path}: images must have a nonempty shape (N, H, W) or (N, C, H, W), got "
            f"{images.dtype} of shape {images.shape}; pass the file of the images"
        )
    if images.dtype == np.int8:  # pixels are not negative: the element type is wrong
        images = apply(images, lambda batch: batch.view(np.uint8))
    return images


def _read_labels(path: Path, images: Path, count: int) -> NDArray[np.integer]:
    """Return the labels of `count` images."""
    values = load_idx(path)
    if values.ndim == 2 and values.shape[1] == QMNIST_COLUMNS and values.dtype.kind == "i":
        # The class and the source of the digit; one-hot rows have no number above 1.
        values = values if values.max(initial=0) <= 1 else values[:, 0]
    labels = convert_labels(values, str(path))
    if len(labels) != count:
        raise DatasetError(
            f"{path} must have {count} labels, one for each image in {images}, got {len(labels)}"
        )
    assert isinstance(labels, np.ndarray)  # IDX has no text
    if labels.min() < 0:
        raise DatasetError(
            f"{path}: labels must be at least 0, got {labels.min()}; remove these images"
        )
    return labels
