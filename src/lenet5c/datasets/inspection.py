"""What is in a data set, and what may be wrong with it."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lenet5c.datasets.folder_files import folder_files
from lenet5c.datasets.idx import has_idx_files
from lenet5c.datasets.image_folder import KEPT, SIZE
from lenet5c.datasets.pictures import header, read_pictures, reason
from lenet5c.datasets.source import NAMES, open_source
from lenet5c.datasets.whole import is_grey, thumbnail

#: Of a class with fewer training images than this share of the largest class's.
IMBALANCE = 0.1
SHOWN = 5
#: Height and width of examples, at most.
EXAMPLE = 56


@dataclass
class Inspection:
    """What `inspect` found.

    Attributes
    ----------
    name : str
    class_names : tuple of str
    counts : dict of str to list of int
        For each part the images of each class.
    sizes : dict of str to int
        Images of each 'HEIGHT x WIDTH'.
    kinds : dict of str to int
        Images of each file format and mode, such as 'PNG RGB'; of arrays 'grey' or 'colour'.
    image_shape : tuple of int
        (C, H, W) that the images are trained as.
    mean, std : list of float
        Of the pixels of the training images as they are, one for each channel, from 0 to 1.
    duplicates, leaks, conflicts : list of list of str
        Groups of images with the same pixels: in one part and class, in several parts, in several classes.
    blank : list of str
        Images of one grey tone or colour.
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

    def warnings(self):
        """What should be looked at before training, a line each; those in front matter most."""
        lines = []
        for groups, what in (
            (self.conflicts, "with the same pixels in several classes, one of which is wrong"),
            (
                self.leaks,
                "with the same pixels in several parts, so that the test knows what was trained on",
            ),
        ):
            if groups:
                shown = "; ".join(" = ".join(_shortened(group)) for group in groups[:SHOWN])
                lines.append(
                    f"{_count(len(groups), 'group')} of images {what}: {shown}{_more(groups)}"
                )
        if self.unreadable:
            shown = "; ".join(f"{name} {why}" for name, why in self.unreadable[:SHOWN])
            lines.append(
                f"{_count(len(self.unreadable), 'file')} that cannot be read: {shown}{_more(self.unreadable)}"
            )
        if self.duplicates:
            spare = sum(len(group) - 1 for group in self.duplicates)
            shown = "; ".join(" = ".join(_shortened(group)) for group in self.duplicates[:SHOWN])
            lines.append(
                f"{_count(spare, 'image')} that another of its part and class repeats: {shown}"
                f"{_more(self.duplicates)}"
            )
        if self.blank:
            lines.append(
                f"{_count(len(self.blank), 'image')} of one tone: {'; '.join(self.blank[:SHOWN])}"
                f"{_more(self.blank)}"
            )
        train = self.counts["train"]
        if rare := [i for i, count in enumerate(train) if count < IMBALANCE * max(train)]:
            shown = ", ".join(f"{self.class_names[i]} ({train[i]:,})" for i in rare[:SHOWN])
            largest = self.class_names[train.index(max(train))]
            lines.append(
                f"classes with less than a tenth of the training images of {largest} ({max(train):,}): "
                f"{shown}{_more(rare)}"
            )
        return lines

    def to_dict(self):
        """All of it, for JSON, but for the examples."""
        names = (
            "name",
            "class_names",
            "counts",
            "sizes",
            "kinds",
            "image_shape",
            "mean",
            "std",
            "duplicates",
            "leaks",
            "conflicts",
            "blank",
            "unreadable",
            "notes",
        )
        return {name: getattr(self, name) for name in names} | {"warnings": self.warnings()}


def inspect(data, examples=0, tell=None):
    """Look at all images of a data set.

    Parameters
    ----------
    data : str
        As `lenet5c.datasets.open_source` takes it.
    examples : int, optional
        Pictures of each part and class to keep, spread over it.
    tell : callable, optional
        As `lenet5c.datasets.open_source` takes it.

    Returns
    -------
    Inspection
    """
    if data in NAMES or has_idx_files(data):
        return _inspect_arrays(data, open_source(data, tell=tell), examples)
    return _inspect_folder(Path(data), examples)


def _inspect_folder(root, examples):
    files = folder_files(root)
    listed = [
        (part, label, path)
        for part, classes in files.parts.items()
        for label, paths in enumerate(classes)
        for path in paths
    ]
    chosen = {
        path
        for classes in files.parts.values()
        for paths in classes
        for path in spread(paths, examples)
    }
    facts, unreadable = _Facts(files.class_names), []

    def look(picture):
        return Look.at(picture), thumbnail(picture, EXAMPLE)

    for (part, label, path), seen in zip(
        listed, read_pictures([path for *_, path in listed], look), strict=True
    ):
        name = path.relative_to(root).as_posix()
        if isinstance(seen, Exception):
            unreadable.append((name, reason(seen, path)))
            continue
        facts.add(part, label, name, seen[0], header(path))
        if path in chosen:
            facts.examples[part, label].append(seen[1])
    notes = list(files.notes)
    if "test" not in files.parts:
        notes.append(
            "no folder for test: about a sixth of the images of each class will be set aside for it"
        )
    return facts.inspection(str(root), list(files.parts), unreadable, notes)


def _inspect_arrays(data, source, examples):
    facts = _Facts(source.train.class_names)
    parts = {"train": source.train, "validation": source.validation, "test": source.test}
    parts = {part: dataset for part, dataset in parts.items() if dataset is not None}
    for part, dataset in parts.items():
        kind = "grey" if dataset.images.shape[1] == 1 else "colour"
        for i, (image, label) in enumerate(
            zip(dataset.images, dataset.labels.tolist(), strict=True)
        ):
            facts.add(part, label, f"{part}[{i}]", Look.at(image.transpose(1, 2, 0)), kind)
        for label in range(dataset.num_classes):
            members = np.flatnonzero(dataset.labels == label).tolist()
            facts.examples[part, label] = [
                _shown(dataset.images[i]) for i in spread(members, examples)
            ]
    facts.keep_size = True
    return facts.inspection(data, list(parts), [], list(source.notes))


def _shown(image):
    """An image as a picture; of other numbers of channels than pictures have the first is shown."""
    return thumbnail(image.transpose(1, 2, 0) if len(image) in (1, 3) else image[0], EXAMPLE)


@dataclass(frozen=True)
class Look:
    """What there is to know of one picture."""

    size: tuple[int, int]
    channels: int
    key: bytes
    blank: bool
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def at(cls, picture):
        """Of uint8 (h, w) or (h, w, C); a picture without colours is grey, however it is stored."""
        if picture.ndim == 3 and picture.shape[2] in (1, 3) and is_grey(picture):
            picture = picture[..., 0]
        planes = np.ascontiguousarray(picture).reshape(*picture.shape[:2], -1)
        height, width, channels = planes.shape
        key = hashlib.blake2b(f"{planes.shape}".encode(), digest_size=16)
        key.update(planes.data)
        flat = planes.reshape(-1, channels)
        squares = np.square(flat, dtype=np.uint16).sum(axis=0, dtype=np.int64)
        return cls(
            (height, width),
            channels,
            key.digest(),
            bool((flat == flat[0]).all()),
            flat.sum(axis=0, dtype=np.int64),
            squares,
        )


class _Facts:
    """Adds up what is seen of one image after the other."""

    def __init__(self, class_names):
        self.class_names = class_names
        self.counts = defaultdict(Counter)
        self.sizes, self.kinds = Counter(), Counter()
        self.groups = defaultdict(list)
        self.blank = []
        self.channels = 1
        self.pixels = self.sums = self.squares = 0
        self.examples = defaultdict(list)
        self.keep_size = False

    def add(self, part, label, name, look, kind):
        self.counts[part][label] += 1
        self.sizes[look.size] += 1
        self.kinds[kind] += 1
        self.groups[look.key].append((part, label, name))
        if look.blank:
            self.blank.append(name)
        if part == "train":
            if look.channels > self.channels == 1:  # all so far were grey
                grey = np.ones(look.channels, np.int64)
                self.sums, self.squares = self.sums * grey, self.squares * grey
            self.pixels += look.size[0] * look.size[1]
            self.sums = self.sums + look.sums
            self.squares = self.squares + look.squares
        self.channels = max(self.channels, look.channels)

    def inspection(self, name, parts, unreadable, notes):
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
            if repeated := [
                member for member in group if sum(member[:2] == other[:2] for other in group) > 1
            ]:
                for key in sorted({member[:2] for member in repeated}):
                    duplicates.append(
                        [name for part, label, name in repeated if (part, label) == key]
                    )
        (height, width), one = next(iter(self.sizes)) if self.sizes else SIZE, len(self.sizes) == 1
        kept = one and (self.keep_size or max(height, width) <= KEPT)
        return Inspection(
            name,
            self.class_names,
            {
                part: [self.counts[part][label] for label in range(len(self.class_names))]
                for part in parts
            },
            {f"{h} x {w}": count for (h, w), count in self.sizes.most_common()},
            dict(self.kinds.most_common()),
            (self.channels, *((height, width) if kept else SIZE)),
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


def spread(members, count):
    """Some of the members, evenly apart."""
    if len(members) <= count:
        return members
    return [members[i * len(members) // count] for i in range(count)]


def _shortened(group):
    return [*group[:3], f"{len(group) - 3} more"] if len(group) > 4 else group


def _more(items):
    return f"; and {len(items) - SHOWN:,} more" if len(items) > SHOWN else ""


def _count(number, noun):
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
