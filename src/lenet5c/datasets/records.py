"""Images as stored in a file or folder, and their assignment to classes and parts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, cast
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import digest
from lenet5c._text import count, list_some
from lenet5c.datasets.dataset import Dataset, DatasetError, Source
from lenet5c.datasets.mapped import Images

#: Name of the only part of undivided data.
ALL = "all"
#: A class is rare if the largest class has this many times as many training images.
IMBALANCE = 5
TEST_SHARE = 1 / 6
MAX_CLASSES = 4096
_RENUMBERED = 12  # class names that a note lists


@dataclass(frozen=True)
class ReadOptions:
    """Settings of readers, each of which uses those for its kind of data.

    Attributes
    ----------
    skip_bad : bool
        Skip images that cannot be read.
    label_column : str or None
        Label column of a table: its name, or its position from 0, -1 for the last. Default: found
        by the names, number and values of the columns.
    image_shape : str or None
        Shape 'HxW', 'CxHxW' or 'HxWxC' of images stored as rows of values, such as '28x20'.
        Default: square.
    transpose : bool or None
        Transpose the images. Default: only those in files named like EMNIST's.
    follow_links : bool
        Follow links in a folder of images, to files and folders anywhere.
    levels : dict of str to float
        Values of black and white in the training arrays of a model (`Source.white`), used for
        similar arrays.
    """

    skip_bad: bool = False
    label_column: str | None = None
    image_shape: str | None = None
    transpose: bool | None = None
    follow_links: bool = False
    levels: Mapping[str, float] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The sizes in `image_shape`."""
        return None if self.image_shape is None else read_shape(self.image_shape)


def read_shape(text: str) -> tuple[int, ...]:
    """Parse a shape such as '28x20' or '3x32x32', or raise a DatasetError."""
    if not is_shape(text):
        raise DatasetError(f"image_shape must be HxW or CxHxW, such as 28x20, got {text!r:.40}")
    return tuple(map(int, text.split("x")))


def is_shape(text: object) -> bool:
    """Return True if `text` is a valid `image_shape` of `ReadOptions`."""
    pattern = r"[1-9]\d{0,4}(x[1-9]\d{0,4}){1,2}"
    return isinstance(text, str) and re.fullmatch(pattern, text, re.ASCII) is not None


@dataclass(frozen=True, eq=False)
class Records:
    """One part of the images of a file or folder.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, C, H, W), or MappedImages
    labels : ndarray of int, shape (N,), or list of str, or None
        Label of each image as stored; None if images have no labels.
    ids : sequence of str or None
        File of each image, relative to `root`, or its id in a table.
    root : Path or None
        Folder of the files.
    targets : ndarray of float32, shape (N, K), or None
        Soft targets; labels are integers in this case.
    """

    images: Images
    labels: NDArray[np.integer] | Sequence[str] | None = None
    ids: Sequence[str] | None = None
    root: Path | None = None
    targets: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Found:
    """The images of a file or folder, returned by readers.

    Attributes
    ----------
    parts : dict of str to Records
        Some of 'train', 'validation' and 'test', or 'all' for undivided data.
    name : str
    reading : {'ink', 'whole'}
        See `Source`.
    notes : tuple of str
        Remarks for the user.
    class_names : tuple of str or None
        Class names, if the data has them; labels are indices of them.
    faults : tuple of str
        Reasons why no net can be trained on the data, although it can be read.
    white : dict of str to float
        Gray level of white in the pictures (see `lenet5c.datasets.read_picture`) or arrays, and of
        'black' if it is not 0.
    """

    parts: dict[str, Records]
    name: str
    reading: str = "ink"
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
    faults: tuple[str, ...] = ()
    white: Mapping[str, float] = field(default_factory=dict)


def label_parts(found: Found, *, training: bool = True) -> tuple[dict[str, Dataset], list[str]]:
    """Return a data set for each part, with the same classes, and notes on them.

    The classes are those of the training images, or of all parts if not `training`. Consecutive
    integers from 0 are kept as labels; others are numbered in sorted order. An integer of another
    part that lies between training labels is also a class. With soft targets, each column is a
    class.

    Raises
    ------
    DatasetError
        If images have no labels, a part has a label that does not occur in training, or there are
        too many or, for training, too few classes.
    """
    for part, records in found.parts.items():
        if records.labels is None:
            raise DatasetError(
                f"{found.name}: the images{_of(part)} must have labels; use labeled data, or "
                "lenet5c predict --data"
            )
    shapes = {part: tuple(records.images.shape[1:]) for part, records in found.parts.items()}
    if len(set(shapes.values())) > 1:
        shown = ", ".join(f"{shape} in {part}" for part, shape in shapes.items())
        raise DatasetError(
            f"{found.name} must have images of the same shape (C, H, W) in all parts, got {shown}"
        )
    names = _name_classes(found)
    if names is not None:
        values: list[Any] = list(range(len(names)))
    else:
        values = _list_values(list(found.parts.values()))
        if training:
            first = found.parts.get("train") or found.parts[ALL]
            trained = _list_values([first])
            # Integers between training labels are classes too, without training images.
            between = isinstance(trained[0], int) and isinstance(values[0], int)
            values = [v for v in values if trained[0] <= v <= trained[-1]] if between else trained
        names = tuple(map(str, values))
    if len(values) > MAX_CLASSES:
        raise DatasetError(
            f"{found.name} must have at most {MAX_CLASSES:,} classes, got {len(values):,}; the "
            "labels are not classes, or are in another column"
        )
    if training and len(values) < 2:
        raise DatasetError(f"{found.name} must have at least two classes, got only {names[0]!r}")
    made = {
        part: Dataset(
            cast("NDArray[np.uint8]", records.images),
            _number(found.name, part, records.labels, values),
            len(values),
            found.name,
            names,
            None if records.ids is None else tuple(records.ids),
            records.root,
            targets=records.targets,
        )
        for part, records in found.parts.items()
    }
    notes = []
    if isinstance(values[0], int) and values != list(range(len(values))):
        shown = list_some(map(str, values), _RENUMBERED)
        notes.append(f"{len(values)} classes, numbered in the order of their labels: {shown}")
    return made, notes


def divide(found: Found, *, test_fraction: float = TEST_SHARE, seed: int = 0) -> Source:
    """Return training data, holding out some images of each class if there is no test set.

    Raises
    ------
    DatasetError
        If the data has faults, no training images, or invalid labels.
    """
    found = leave_unlabeled(found)
    parts, more = check_training(found)
    notes = [*found.notes, *more]
    train = parts.get("train") or parts[ALL]
    test = parts.get("test")
    if test is None:
        chosen = hold_out(train, test_fraction, seed)
        if not len(chosen):
            raise DatasetError(
                f"{found.name} must have a test set, or a class with at least two images to hold "
                "some out; add images"
            )
        left = np.ones(len(train), bool)
        left[chosen] = False
        notes.append(f"no test set: {len(chosen):,} of {len(train):,} images are held out")
        train, test = train.take(np.flatnonzero(left)), train.take(chosen)
    held_out = parts.get("validation")
    return Source(train, test, held_out, found.reading, tuple(notes), found.white)


def leave_unlabeled(found: Found) -> Found:
    """Return data without unlabeled parts, such as the test images of competitions.

    All parts are kept if the training images have no labels either.
    """
    first = found.parts.get("train") or found.parts.get(ALL)
    bare = [part for part, records in found.parts.items() if records.labels is None]
    if not bare or first is None or first.labels is None:
        return found
    notes = [
        f"the {part} images have no labels; use them with lenet5c predict --data" for part in bare
    ]
    parts = {part: records for part, records in found.parts.items() if part not in bare}
    return replace(found, parts=parts, notes=(*found.notes, *notes))


def check_training(found: Found) -> tuple[dict[str, Dataset], list[str]]:
    """Call `label_parts` on data that can be used for training.

    Raises
    ------
    DatasetError
        See `divide`.
    """
    if found.faults:
        more = len(found.faults) - 1
        rest = f" ({count(more, 'more fault')}; see lenet5c data inspect)" if more else ""
        raise DatasetError(f"{found.faults[0]}{rest}")
    if ALL not in found.parts and "train" not in found.parts:
        raise DatasetError(
            f"{found.name} must have training images, got only a test set; add training images, "
            "or use it with lenet5c evaluate"
        )
    return label_parts(found)


def hold_out(dataset: Dataset, share: float, seed: int) -> NDArray[np.int64]:
    """Return the positions of held-out test images: `share` of each class of at least three images.

    At least one image of such a class is chosen; if there is none, one image of each class of two.
    The choice depends on the seed and the id of each image, so that hardly any image moves to
    another part when images are added; without ids, only on the seed.
    """
    counts = np.bincount(dataset.labels, minlength=dataset.num_classes)
    least = 3 if counts.max() >= 3 else 2
    numbers = np.clip((share * counts + 0.5).astype(np.int64), 1, np.maximum(counts - 1, 1))
    numbers[counts < least] = 0
    if dataset.ids is None:
        order = np.argsort(np.random.default_rng(seed).random(len(dataset)), kind="stable")
    else:
        keys = [_key(each, seed) for each in dataset.ids]
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
    by_class = order[np.argsort(dataset.labels[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    chosen = [by_class[start : start + n] for start, n in zip(starts, numbers, strict=True)]
    return np.sort(np.concatenate(chosen))


def choose_part(found: Found, part: str) -> Found:
    """Return the part with this name, or all undivided data, for evaluation.

    If `part` is 'test' and the data has only one part, that part is returned. Raises a DatasetError
    if there is no such part.
    """
    if part in found.parts:
        name = part
    elif part == "test" and len(found.parts) == 1 and "train" not in found.parts:
        (name,) = found.parts
    else:
        have = " and ".join(found.parts) if ALL not in found.parts else "images in one part only"
        raise DatasetError(f"{found.name} has no images for {part}, but {have}")
    return replace(found, parts={name: found.parts[name]})


def _name_classes(found: Found) -> tuple[str, ...] | None:
    """Return the class names: those of the data, column numbers of soft targets, or None."""
    widths = {
        records.targets.shape[1] for records in found.parts.values() if records.targets is not None
    }
    if len(widths) > 1:
        raise DatasetError(
            f"{found.name} must have soft targets of the same classes in all parts, got "
            f"{' and '.join(map(str, sorted(widths)))} columns"
        )
    names = found.class_names
    if widths and names and {len(names)} != widths:
        raise DatasetError(
            f"{found.name} must have a column of soft targets for each of its {len(names)} "
            f"classes, got {widths.pop()}"
        )
    return names or (tuple(map(str, range(widths.pop()))) if widths else None)


def _key(name: str, seed: int) -> str:
    text = f"{seed}/{normalize('NFC', PurePath(name).as_posix())}"
    return digest(text.encode("utf-8", "surrogatepass"))


def _list_values(parts: list[Records]) -> list[Any]:
    """Return the sorted labels, or all integers from 0 if there are no gaps."""
    from lenet5c.datasets.file_tree import natural_key

    labels: list[Any] = [records.labels for records in parts]
    if all(isinstance(each, np.ndarray) for each in labels):
        return np.unique(np.concatenate([np.unique(each) for each in labels])).tolist()
    return sorted({str(label) for each in labels for label in each}, key=natural_key)


def _number(name: str, part: str, labels: Any, values: list[Any]) -> NDArray[np.int32]:
    """Return the index of each label in `values`, which are sorted if they are integers."""
    if isinstance(labels, np.ndarray) and isinstance(values[0], int):
        known = np.array(values)
        places = np.minimum(np.searchsorted(known, labels), len(known) - 1)
        strange = labels[known[places] != labels]
    else:
        index = {value: i for i, value in enumerate(values)}
        places = np.array([index.get(str(label), -1) for label in labels])
        strange = [label for label, place in zip(labels, places, strict=True) if place < 0]
    if len(strange):
        shown = list_some(sorted({str(label) for label in strange}), 3)
        raise DatasetError(
            f"{name}: the images{_of(part)} have the label {shown}, which must be one of the "
            f"{len(values)} labels of the training images; add training images with it"
        )
    return places.astype(np.int32)


def _of(part: str) -> str:
    return "" if part == ALL else f" of {part}"
