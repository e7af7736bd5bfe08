"""Inspection of data sets for contents and likely faults."""

from __future__ import annotations

from array import array
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from math import sqrt
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import digest
from lenet5c._text import count, list_some, printable
from lenet5c.datasets.conversion import is_gray, make_thumbnail
from lenet5c.datasets.dataset import Dataset, DatasetError
from lenet5c.datasets.folder_files import FolderFiles, list_folder
from lenet5c.datasets.image_folder import SIZE, common_size, read_image_folder
from lenet5c.datasets.pictures import describe_fault, measure_whites, read_header, read_pictures
from lenet5c.datasets.records import (
    ALL,
    IMBALANCE,
    TEST_SHARE,
    Found,
    ReadOptions,
    check_training,
    label_parts,
    leave_unlabeled,
)
from lenet5c.datasets.source import NAMES, USUAL, choose_reader, open_source, read_packed

#: A test or validation set of fewer images is reported as small.
SMALL = 100
#: Maximum height and width of examples.
EXAMPLE = 56
_PIXELS, _ROWS = 1024, 256  # summed at once
_BLOCK = 1000  # images
_OF_PART = 1 << 32  # factor of the part in the number of a part and class

T = TypeVar("T")


@dataclass
class Inspection:
    """The result of `inspect`."""

    name: str
    class_names: tuple[str, ...]  #: empty if images have no labels
    counts: dict[str, list[int]]  #: number of images of each class, for each part or 'all'
    sizes: dict[str, int]  #: number of images of each 'HEIGHT x WIDTH'
    kinds: dict[str, int]  #: number of images of each format, such as 'PNG RGB' or 'gray'
    image_shape: tuple[int, int, int]  #: (C, H, W) of the images in training
    mean: list[float]  #: per channel of the training images, before resizing, from 0 to 1
    std: list[float]
    duplicates: list[list[str]]  #: groups of identical images in one part and class
    leaks: list[list[str]]  #: groups of identical images in different parts
    conflicts: list[list[str]]  #: groups of identical images in different classes
    blank: list[str]  #: images of one gray level or color
    unreadable: list[tuple[str, str]]  #: files, with the reason
    faults: list[str]  #: reasons why no net can be trained on the data
    suspicions: list[str]  #: warnings about names of folders and files
    notes: list[str]
    examples: dict = field(repr=False)  #: example pictures by (part, class)

    def warnings(self) -> list[str]:
        """Return the warnings as one line each, the most serious first."""
        lines = list(self.suspicions)
        for groups, fault in (
            (
                self.conflicts,
                "with the same pixels in different classes, all but one of which are wrong",
            ),
            (
                self.leaks,
                "with the same pixels in different parts, so that the test set is not independent",
            ),
        ):
            if groups:
                lines.append(
                    f"{count(len(groups), 'group')} of images {fault}: {_show_groups(groups)}"
                )
        if self.unreadable:
            shown = list_some((f"{name} {why}" for name, why in self.unreadable), separator="; ")
            lines.append(f"{count(len(self.unreadable), 'file')} that cannot be read: {shown}")
        if self.duplicates:
            spare = sum(len(group) - 1 for group in self.duplicates)
            lines.append(
                f"{count(spare, 'duplicate image')} within a part and class: "
                f"{_show_groups(self.duplicates)}"
            )
        if self.blank:
            shown = list_some(self.blank, separator="; ")
            lines.append(f"{count(len(self.blank), 'image')} of a single color: {shown}")
        return [*lines, *self._warn_of_imbalance(), *self._warn_of_small_parts()]

    def _warn_of_imbalance(self) -> list[str]:
        train = self.counts.get("train", self.counts.get(ALL, [0]))
        most = max(train)
        rare = [i for i, number in enumerate(train) if IMBALANCE * number <= most > number]
        if not rare or not self.class_names:
            return []
        largest = self.class_names[train.index(most)]
        shown = list_some(f"{self.class_names[i]} ({train[i]:,})" for i in rare)
        return [
            f"classes with at most a fifth of the training images of {largest} ({most:,}): "
            f"{shown}; lenet5c train --class-weight balanced --distortion modern compensates for "
            f"most "
            "of it"
        ]

    def _warn_of_small_parts(self) -> list[str]:
        sizes = {part: sum(counts) for part, counts in self.counts.items()}
        if "test" not in sizes and not self.faults:
            sizes["test"] = round(TEST_SHARE * sizes.get("train", sizes.get(ALL, 0)))
        return [
            f"only {number:,} {part} images: an accuracy of 90 % on them is uncertain by about "
            f"{196 * sqrt(0.09 / number):.0f} points; lenet5c train --folds 5 tests on all "
            f"images"
            for part, number in sizes.items()
            if part in ("test", "validation") and 0 < number < SMALL
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all facts except the examples, for JSON."""
        names = [entry.name for entry in fields(self) if entry.name != "examples"]
        return {name: getattr(self, name) for name in names} | {"warnings": self.warnings()}


def inspect(
    data: str,
    examples: int = 0,
    options: ReadOptions = USUAL,
    on_message: Callable[[str], object] | None = None,
) -> Inspection:
    """Inspect all images of a data set; `data`, `options` and `on_message` are as in `open_source`.

    `examples` is the number of example images of each part and class, evenly spaced.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If there are no images. Other faults are reported in the result.
    """
    if data in NAMES:
        source = open_source(data, options, on_message=on_message)
        parts = {"train": source.train, "validation": source.validation, "test": source.test}
        known = {part: dataset for part, dataset in parts.items() if dataset is not None}
        return _inspect_datasets(data, known, [], list(source.notes), examples)
    reader = choose_reader(Path(data))
    if reader in (read_image_folder, read_packed):
        with list_folder(data, options.follow_links) as files:
            if reader is read_image_folder or files.entries():
                return _inspect_files(files, examples)
    return _inspect_found(data, reader(Path(data), options), examples)


def _inspect_files(files: FolderFiles, examples: int) -> Inspection:
    notes = list(files.notes)
    if files.class_names:
        for part in files.flat:
            paths = files.parts.pop(part)[0]
            notes.append(f"{count(len(paths), 'image')} in {part} without labels, for prediction")
    entries = files.entries()
    chosen = {
        path
        for classes in files.parts.values()
        for paths in classes
        for path in spread(paths, examples)
    }
    facts = _Facts(files.class_names, lambda place: _show_path(files, entries[place][2]))
    unreadable = [
        (_show_path(files, path), f"cannot be opened ({why})") for path, why in files.locked
    ]

    def look(picture: NDArray[np.uint8], path: Path) -> Any:
        return Look.at(picture), make_thumbnail(picture, EXAMPLE) if path in chosen else None

    paths = [path for *_, path in entries]
    found = read_pictures(paths, look, files.open, measure_whites(paths, files.open))
    for place, ((part, label, path), seen) in enumerate(zip(entries, found, strict=True)):
        if isinstance(seen, Exception):
            unreadable.append((_show_path(files, path), printable(describe_fault(seen, path))))
            continue
        facts.add(part, label, place, seen[0], read_header(path, files.open))
        if path in chosen:
            facts.examples[part, label].append(seen[1])
    if "test" not in files.parts and not (files.errors or files.faults):
        notes.append("no test set: about a sixth of the images of each class will be held out")
    inspection = facts.summarize(str(files.root), list(files.parts), unreadable, notes)
    train = "train" if "train" in files.parts else ALL
    inspection.faults += files.errors + files.faults
    read = inspection.counts.get(train, [])
    inspection.faults += [
        f"{files.root}: no image of {name!r} can be read; add some, or delete the folder"
        for i, name in enumerate(files.class_names)
        if train in files.parts and files.parts[train][i] and not read[i]
    ]
    inspection.suspicions += files.warnings
    return inspection


def _show_path(files: FolderFiles, path: Path) -> str:
    return printable(path.relative_to(files.root).as_posix())


def _inspect_found(data: str, found: Found, examples: int) -> Inspection:
    found = leave_unlabeled(found)
    faults, notes = [], list(found.notes)
    try:
        check_training(found)
    except DatasetError as error:
        faults = list(found.faults) or [str(error)]
    try:
        parts, more = label_parts(found, training=False)
        notes += more
    except DatasetError:  # no labels, or too many
        parts = {
            part: Dataset(cast(Any, records.images), np.zeros(len(records), np.int32), 1)
            for part, records in found.parts.items()
        }
    return _inspect_datasets(data, parts, faults, notes, examples)


def _inspect_datasets(
    data: str, parts: dict[str, Dataset], faults: list[str], notes: list[str], examples: int
) -> Inspection:
    first = next(iter(parts.values()))
    before = np.cumsum([0, *map(len, parts.values())]).tolist()

    def describe(place: int) -> str:
        at = bisect(before, place) - 1
        part, dataset = list(parts.items())[at]
        name = dataset.describe(place - before[at])
        return printable(name if dataset.root else f"{part}{name}")

    facts = _Facts(first.class_names, describe)
    for (part, dataset), begin in zip(parts.items(), before, strict=False):
        kind = "gray" if dataset.images.shape[1] == 1 else "color"
        for start in range(0, len(dataset), _BLOCK):
            for i, image in enumerate(dataset.images[start : start + _BLOCK], start):
                look = Look.at(image.transpose(1, 2, 0))
                facts.add(part, int(dataset.labels[i]), begin + i, look, kind)
        for label in range(dataset.num_classes if examples else 0):
            members = spread(cast(Any, np.flatnonzero(dataset.labels == label)), examples)
            facts.examples[part, label] = [_show_image(dataset.images[int(i)]) for i in members]
    facts.keep_size = True
    inspection = facts.summarize(data, list(parts), [], notes)
    inspection.faults += faults
    return inspection


def _show_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image as a picture; only the first channel unless there are 1 or 3."""
    picture = image.transpose(1, 2, 0) if len(image) in (1, 3) else image[0]
    return make_thumbnail(picture, EXAMPLE)


@dataclass(frozen=True)
class Look:
    """Properties of one picture."""

    size: tuple[int, int]
    key: str
    blank: bool
    sums: NDArray[np.int64]
    squares: NDArray[np.int64]

    @classmethod
    def at(cls, picture: NDArray[np.uint8]) -> Look:
        """Examine uint8 (h, w) or (h, w, C); pictures without colors count as gray."""
        if picture.ndim == 3 and picture.shape[2] in (1, 3) and is_gray(picture):
            picture = picture[..., 0]
        planes = np.ascontiguousarray(picture).reshape(*picture.shape[:2], -1)
        height, width, channels = planes.shape
        flat = planes.reshape(-1, channels)
        sums, squares = _sum_up(flat)
        return cls(
            (height, width),
            digest(f"{planes.shape}", planes),
            # Zero variance, computed in Python integers.
            all(
                len(flat) * b == a**2 for a, b in zip(sums.tolist(), squares.tolist(), strict=True)
            ),
            sums,
            squares,
        )


def _sum_up(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sums and sums of squares of the columns of uint8 (N, C)."""
    channels = pixels.shape[1]
    sums, squares = np.zeros((2, channels), np.int64)
    # In rows of many pixels: NumPy is ten times slower with rows of a few values.
    wide = len(pixels) - len(pixels) % _PIXELS
    for part in (pixels[:wide].reshape(-1, _PIXELS * channels), pixels[wide:]):
        for start in range(0, len(part), _ROWS):
            rows = part[start : start + _ROWS]
            for total, values in ((sums, rows), (squares, np.square(rows, dtype=np.uint16))):
                columns = values.sum(axis=0, dtype=np.uint32).reshape(-1, channels)
                total += columns.sum(axis=0, dtype=np.int64)
    return sums, squares


class _Facts:
    """Accumulates the properties of images, keeping 32 bytes for each.

    `describe` returns the name of an image by its position; it is called only for images that are
    reported.
    """

    def __init__(self, class_names: tuple[str, ...], describe: Callable[[int], str]) -> None:
        self.class_names, self.describe = class_names, describe
        self.counts: dict[str, Counter] = defaultdict(Counter)
        self.parts: dict[str, int] = {}
        self.sizes: Counter = Counter()
        self.kinds: Counter = Counter()
        # For each image: half of its digest in two numbers, its position, and its part and class
        # as one number.
        self.keys, self.more = array("Q"), array("Q")
        self.places, self.groups = array("q"), array("q")
        self.blank = array("q")
        self.channels = 1
        self.pixels: int = 0
        self.sums = self.squares = np.zeros(1, np.int64)
        self.examples: dict[tuple[str, int], list] = defaultdict(list)
        self.keep_size = False

    def add(self, part: str, label: int, place: int, look: Look, kind: str) -> None:
        self.counts[part][label] += 1
        self.sizes[look.size] += 1
        self.kinds[kind] += 1
        self.keys.append(int(look.key[:16], 16))
        self.more.append(int(look.key[16:32], 16))
        self.places.append(place)
        number = self.parts.setdefault(part, len(self.parts))
        self.groups.append(number * _OF_PART + label)
        if look.blank:
            self.blank.append(place)
        if part in ("train", ALL):
            self.pixels += look.size[0] * look.size[1]
            # Gray images count for each channel.
            self.sums = self.sums + look.sums
            self.squares = self.squares + look.squares
        self.channels = max(self.channels, len(look.sums))

    def summarize(
        self, name: str, parts: list[str], unreadable: list[tuple[str, str]], notes: list[str]
    ) -> Inspection:
        mean = np.broadcast_to(self.sums / max(1, self.pixels), self.channels)
        std = np.sqrt(np.maximum(self.squares / max(1, self.pixels) - mean**2, 0))
        conflicts, leaks, duplicates = [], [], []
        names_of_parts = list(self.parts)
        for members in self._find_equal():
            names = [self.describe(self.places[i]) for i in members]
            group = [divmod(self.groups[i], _OF_PART) for i in members]
            if len({label for _, label in group}) > 1:
                conflicts.append(names)
            if len({part for part, _ in group}) > 1:
                leaks.append(names)
            together = defaultdict(list)
            for (part, label), member in zip(group, names, strict=True):
                together[names_of_parts[part], label].append(member)
            duplicates += [together[key] for key in sorted(together) if len(together[key]) > 1]
        kept = len(self.sizes) == 1 and self.keep_size
        size = next(iter(self.sizes), SIZE) if kept else common_size(self.sizes)
        return Inspection(
            name,
            self.class_names,
            {
                part: [self.counts[part][i] for i in range(max(1, len(self.class_names)))]
                for part in parts
            },
            {f"{h} x {w}": number for (h, w), number in self.sizes.most_common()},
            dict(self.kinds.most_common()),
            (self.channels, *size),
            [round(float(value) / 255, 4) for value in mean],
            [round(float(value) / 255, 4) for value in std],
            duplicates,
            leaks,
            conflicts,
            [self.describe(place) for place in self.blank],
            unreadable,
            [],
            [],
            notes,
            self.examples,
        )

    def _find_equal(self) -> list[list[int]]:
        """Return groups of at least two images with the same pixels, in order."""
        keys = np.asarray(self.keys)
        order = np.argsort(keys, kind="stable")
        alike = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
        some = np.unique(np.concatenate([order[alike], order[alike + 1]]))
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i in some.tolist():
            groups[self.keys[i], self.more[i]].append(i)
        return [group for group in groups.values() if len(group) > 1]


def spread(members: Sequence[T], number: int) -> Sequence[T]:
    """Return at most `number` members, evenly spaced."""
    if len(members) <= number:
        return members
    return [members[i * len(members) // number] for i in range(number)]


def _show_groups(groups: list[list[str]]) -> str:
    texts = (
        " = ".join([*group[:3], f"{len(group) - 3} more"] if len(group) > 4 else group)
        for group in groups
    )
    return list_some(texts, separator="; ")
