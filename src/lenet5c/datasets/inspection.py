"""Inspection of a data set: its contents, and likely faults."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import count
from lenet5c.datasets.conversion import is_gray, make_thumbnail
from lenet5c.datasets.dataset import Source
from lenet5c.datasets.folder_files import list_folder
from lenet5c.datasets.idx import has_idx_files
from lenet5c.datasets.image_folder import KEPT, SIZE
from lenet5c.datasets.pictures import describe_fault, read_header, read_pictures
from lenet5c.datasets.source import NAMES, open_source

#: A class is rare with fewer training images than this share of the largest class's.
IMBALANCE = 0.1
SHOWN = 5
#: Height and width of examples, at most.
EXAMPLE = 56

T = TypeVar("T")


@dataclass
class Inspection:
    """The result of `inspect`.

    Attributes
    ----------
    name : str
    class_names : tuple of str
    counts : dict of str to list of int
        For each part the images of each class.
    sizes : dict of str to int
        Images of each 'HEIGHT x WIDTH'.
    kinds : dict of str to int
        Images of each file format and mode, such as 'PNG RGB'; of arrays 'gray' or 'color'.
    image_shape : tuple of int
        (C, H, W) that the images are trained as.
    mean, std : list of float
        Of the pixels of the training images before resizing, one for each channel, from 0 to 1.
    duplicates, leaks, conflicts : list of list of str
        Groups of images with the same pixels: in one part and class, in several parts, in several
        classes.
    blank : list of str
        Images of one gray level or color.
    unreadable : list of (str, str)
        Files, and why.
    notes : list of str
    examples : dict
        (part, class) -> some pictures.
    """

    name: str
    class_names: tuple[str, ...]
    counts: dict[str, list[int]]
    sizes: dict[str, int]
    kinds: dict[str, int]
    image_shape: tuple[int, int, int]
    mean: list[float]
    std: list[float]
    duplicates: list[list[str]]
    leaks: list[list[str]]
    conflicts: list[list[str]]
    blank: list[str]
    unreadable: list[tuple[str, str]]
    notes: list[str]
    examples: dict = field(repr=False)

    def warnings(self) -> list[str]:
        """Return what should be looked at before training, a line each, the gravest first."""
        lines = []
        for groups, fault in (
            (self.conflicts, "with the same pixels in several classes, one of which is wrong"),
            (
                self.leaks,
                "with the same pixels in several parts, so that the test set is not unseen",
            ),
        ):
            if groups:
                lines.append(
                    f"{count(len(groups), 'group')} of images {fault}: {_show_groups(groups)}"
                )
        if self.unreadable:
            shown = _show(f"{name} {why}" for name, why in self.unreadable)
            lines.append(f"{count(len(self.unreadable), 'file')} that cannot be read: {shown}")
        if self.duplicates:
            spare = sum(len(group) - 1 for group in self.duplicates)
            lines.append(
                f"{count(spare, 'image')} that another of its part and class repeats: "
                f"{_show_groups(self.duplicates)}"
            )
        if self.blank:
            lines.append(f"{count(len(self.blank), 'image')} of one tone: {_show(self.blank)}")
        train = self.counts["train"]
        if rare := [i for i, number in enumerate(train) if number < IMBALANCE * max(train)]:
            largest = self.class_names[train.index(max(train))]
            shown = _show((f"{self.class_names[i]} ({train[i]:,})" for i in rare), ", ")
            lines.append(
                "classes with less than a tenth of the training images of "
                f"{largest} ({max(train):,}): {shown}"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return all of it but the examples, for JSON."""
        names = [entry.name for entry in fields(self) if entry.name != "examples"]
        return {name: getattr(self, name) for name in names} | {"warnings": self.warnings()}


def inspect(
    data: str, examples: int = 0, tell: Callable[[str], object] | None = None
) -> Inspection:
    """Look at all images of a data set.

    Parameters
    ----------
    data : str
        As `lenet5c.datasets.open_source` takes it.
    examples : int, optional
        Pictures of each part and class to keep, spread over it.
    tell : callable, optional
        As `lenet5c.datasets.open_source` takes it.
    """
    if data in NAMES or has_idx_files(data):
        return _inspect_arrays(data, open_source(data, tell=tell), examples)
    return _inspect_folder(Path(data), examples)


def _inspect_folder(root: Path, examples: int) -> Inspection:
    files = list_folder(root)
    entries = files.entries()
    chosen = {
        path
        for classes in files.parts.values()
        for paths in classes
        for path in spread(paths, examples)
    }
    facts, unreadable = _Facts(files.class_names), []

    def look(picture):
        return Look.at(picture), make_thumbnail(picture, EXAMPLE)

    found = read_pictures([path for *_, path in entries], look)
    for (part, label, path), seen in zip(entries, found, strict=True):
        name = path.relative_to(root).as_posix()
        if isinstance(seen, Exception):
            unreadable.append((name, describe_fault(seen, path)))
            continue
        facts.add(part, label, name, seen[0], read_header(path))
        if path in chosen:
            facts.examples[part, label].append(seen[1])
    notes = list(files.notes)
    if "test" not in files.parts:
        notes.append(
            "no folder for test: about a sixth of the images of each class will be set aside for it"
        )
    return facts.summarize(str(root), list(files.parts), unreadable, notes)


def _inspect_arrays(data: str, source: Source, examples: int) -> Inspection:
    facts = _Facts(source.train.class_names)
    parts = {"train": source.train, "validation": source.validation, "test": source.test}
    parts = {part: dataset for part, dataset in parts.items() if dataset is not None}
    for part, dataset in parts.items():
        kind = "gray" if dataset.images.shape[1] == 1 else "color"
        labels = dataset.labels.tolist()
        for i, (image, label) in enumerate(zip(dataset.images, labels, strict=True)):
            facts.add(part, label, f"{part}[{i}]", Look.at(image.transpose(1, 2, 0)), kind)
        for label in range(dataset.num_classes):
            members = spread(np.flatnonzero(dataset.labels == label).tolist(), examples)
            facts.examples[part, label] = [_show_image(dataset.images[i]) for i in members]
    facts.keep_size = True
    return facts.summarize(data, list(parts), [], list(source.notes))


def _show_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image as a picture; of other numbers of channels than 1 and 3 the first."""
    picture = image.transpose(1, 2, 0) if len(image) in (1, 3) else image[0]
    return make_thumbnail(picture, EXAMPLE)


@dataclass(frozen=True)
class Look:
    """The facts of one picture."""

    size: tuple[int, int]
    channels: int
    key: bytes
    blank: bool
    sums: NDArray[np.int64]
    squares: NDArray[np.int64]

    @classmethod
    def at(cls, picture: NDArray[np.uint8]) -> "Look":
        """Look at uint8 (h, w) or (h, w, C); without colors it is gray, however it is stored."""
        if picture.ndim == 3 and picture.shape[2] in (1, 3) and is_gray(picture):
            picture = picture[..., 0]
        planes = np.ascontiguousarray(picture).reshape(*picture.shape[:2], -1)
        height, width, channels = planes.shape
        key = hashlib.blake2b(f"{planes.shape}".encode(), digest_size=16)
        key.update(planes.data)
        flat = planes.reshape(-1, channels)
        return cls(
            (height, width),
            channels,
            key.digest(),
            bool((flat == flat[0]).all()),
            flat.sum(axis=0, dtype=np.int64),
            np.square(flat, dtype=np.uint16).sum(axis=0, dtype=np.int64),
        )


class _Facts:
    """Adds up the looks at one image after the other."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.class_names = class_names
        self.counts: dict[str, Counter] = defaultdict(Counter)
        self.sizes: Counter = Counter()
        self.kinds: Counter = Counter()
        self.groups: dict[bytes, list[tuple[str, int, str]]] = defaultdict(list)
        self.blank: list[str] = []
        self.channels = 1
        self.pixels: int = 0
        self.sums = self.squares = np.zeros(1, np.int64)
        self.examples: dict[tuple[str, int], list] = defaultdict(list)
        self.keep_size = False

    def add(self, part: str, label: int, name: str, look: Look, kind: str) -> None:
        self.counts[part][label] += 1
        self.sizes[look.size] += 1
        self.kinds[kind] += 1
        self.groups[look.key].append((part, label, name))
        if look.blank:
            self.blank.append(name)
        if part == "train":
            self.pixels += look.size[0] * look.size[1]
            # The sum over gray images counts for each channel.
            self.sums = self.sums + look.sums
            self.squares = self.squares + look.squares
        self.channels = max(self.channels, look.channels)

    def summarize(
        self, name: str, parts: list[str], unreadable: list[tuple[str, str]], notes: list[str]
    ) -> Inspection:
        mean = np.broadcast_to(self.sums / max(1, self.pixels), self.channels)
        std = np.sqrt(np.maximum(self.squares / max(1, self.pixels) - mean**2, 0))
        conflicts, leaks, duplicates = [], [], []
        for group in self.groups.values():
            if len(group) == 1:
                continue
            names = [name for _, _, name in group]
            if len({label for _, label, _ in group}) > 1:
                conflicts.append(names)
            if len({part for part, _, _ in group}) > 1:
                leaks.append(names)
            together = defaultdict(list)
            for part, label, member in group:
                together[part, label].append(member)
            duplicates += [together[key] for key in sorted(together) if len(together[key]) > 1]
        size = next(iter(self.sizes), SIZE)
        kept = len(self.sizes) == 1 and (self.keep_size or max(size) <= KEPT)
        return Inspection(
            name,
            self.class_names,
            {part: [self.counts[part][i] for i in range(len(self.class_names))] for part in parts},
            {f"{h} x {w}": number for (h, w), number in self.sizes.most_common()},
            dict(self.kinds.most_common()),
            (self.channels, *(size if kept else SIZE)),
            [round(float(value) / 255, 4) for value in mean],
            [round(float(value) / 255, 4) for value in std],
            duplicates,
            leaks,
            conflicts,
            self.blank,
            unreadable,
            notes,
            self.examples,
        )


def spread(members: Sequence[T], number: int) -> Sequence[T]:
    """Return at most `number` of the members, evenly apart."""
    if len(members) <= number:
        return members
    return [members[i * len(members) // number] for i in range(number)]


def _show(items: Iterable[str], separator: str = "; ") -> str:
    items = list(items)
    more = f"; and {len(items) - SHOWN:,} more" if len(items) > SHOWN else ""
    return separator.join(items[:SHOWN]) + more


def _show_groups(groups: list[list[str]]) -> str:
    return _show(
        " = ".join([*group[:3], f"{len(group) - 3} more"] if len(group) > 4 else group)
        for group in groups
    )
