"""The image files of a folder by part and class, from their names alone."""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lenet5c._text import count, list_some, printable
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.pictures import SUFFIXES

#: Names of the parts of a data set, in small letters.
PART_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
# Left behind by systems and archives, in small letters; names with a leading dot are skipped too.
LITTER = frozenset(
    {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"}
)
#: Folders in the folder of a class, one in the other; files and folders in all.
MAX_DEPTH, MAX_ENTRIES = 64, 2_000_000
LAYOUT = (
    "it should hold a folder of images for each class, or train/CLASS and test/CLASS, "
    "or four IDX files"
)


@dataclass(eq=False, repr=False)
class FolderFiles:
    """The images of a folder.

    `parts` has for each of 'train', 'validation' and 'test' that is there, and for each class, the
    paths of its images. Classes and images are in natural order; `notes` tell what was skipped.
    """

    class_names: tuple[str, ...]
    parts: dict[str, list[list[Path]]]
    notes: list[str]

    def entries(self) -> list[tuple[str, int, Path]]:
        """Return (part, label, path) of each image."""
        return [
            (part, label, path)
            for part, classes in self.parts.items()
            for label, paths in enumerate(classes)
            for path in paths
        ]


def list_folder(path: str | os.PathLike[str]) -> FolderFiles:
    """Find the images of a folder that has one folder for each class, in parts or not.

    A DatasetError says that the folder is laid out in another way, has less than two classes, or
    that a class of one part is not in another.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder; give the folder with the images")
    if not root.is_dir():
        raise DatasetError(
            f"{root}: not a folder; give the folder that holds one folder for each class"
        )
    lister = _Lister(root)
    folders, images = lister.scan(root)
    parts = _find_parts(root, folders)
    if parts:
        if unused := [folder.name for folder in folders if folder not in parts.values()]:
            lister.notes.append(f"beside train, not read: {list_some(map(printable, unused))}")
        inside = {part: lister.scan(folder)[0] for part, folder in parts.items()}
    elif images and not folders:
        raise DatasetError(f"{root} holds images, but no folders; {LAYOUT}")
    else:
        inside = {"train": folders}
    if images:
        lister.notes.append(
            f"{count(len(images), 'image')} outside of the folders of classes, not read"
        )
    found = {part: _list_classes(classes, lister) for part, classes in inside.items()}
    return _check_classes(root, found, lister.summarize())


def natural_key(name: str) -> tuple[list[int | str], str]:
    """Return the sorting key of a name, on every system: '2' before '10', 'b' beside 'B'."""
    name = unicodedata.normalize("NFC", name)
    pieces = re.split(r"(\d+)", name.casefold())
    # Digits of all scripts count; pieces alternate, so a number is never compared with a text.
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], name


class _Lister:
    """Lists folders, and counts what it skips."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.notes: list[str] = []
        self.links = self.irregular = self.seen = 0
        self.other: Counter[str] = Counter()

    def scan(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Return (folders, images) directly in a folder, in natural order."""
        folders, images = [], []
        for path in self._list(folder):
            if path.name.startswith(".") or path.name.casefold() in LITTER:
                continue
            if path.is_symlink() and not self._is_inside(path):
                self.links += 1
            elif path.is_dir():
                folders.append(path)
            elif path.suffix.lower() not in SUFFIXES:
                self.other[printable(path.suffix.casefold()) or "no suffix"] += 1
            elif path.is_file():
                images.append(path)
            else:
                self.irregular += 1
        return folders, images

    def scan_deep(self, folder: Path) -> list[Path]:
        """Return the images in a folder and in those in it; links to folders could go round."""
        images, waiting = [], [(folder, 0)]
        while waiting:
            place, depth = waiting.pop()
            if depth > MAX_DEPTH:
                raise DatasetError(
                    f"{folder} must have folders in folders {MAX_DEPTH} deep at most, got more; "
                    "move the images up"
                )
            folders, found = self.scan(place)
            images += found
            links = [inner for inner in folders if inner.is_symlink()]
            self.links += len(links)
            # The first is the next to be taken, as far down as it goes.
            waiting += [(inner, depth + 1) for inner in reversed(folders) if inner not in links]
        return images

    def _list(self, folder: Path) -> list[Path]:
        """Return all that is in a folder, in natural order."""
        entries = []
        for path in folder.iterdir():
            entries.append(path)
            self.seen += 1
            if self.seen > MAX_ENTRIES:
                raise DatasetError(
                    f"{self.root} must have at most {MAX_ENTRIES:,} files and folders, got more; "
                    "name a folder that holds images alone"
                )
        return sorted(entries, key=lambda path: natural_key(path.name))

    def _is_inside(self, path: Path) -> bool:
        try:
            return os.path.commonpath([self.root, os.path.realpath(path)]) == self.root
        except ValueError:  # another drive
            return False

    def summarize(self) -> list[str]:
        notes = list(self.notes)
        if self.links:
            notes.append(
                f"{count(self.links, 'link')} out of the folder or to a folder, not followed"
            )
        if self.irregular:
            notes.append(f"{count(self.irregular, 'pipe or device', 'pipes or devices')}, not read")
        if number := sum(self.other.values()):
            kinds = list_some(f"{n} {kind}" for kind, n in sorted(self.other.items()))
            notes.append(f"{count(number, 'file')} not named as images, not read: {kinds}")
        return notes


def _find_parts(root: Path, folders: list[Path]) -> dict[str, Path]:
    """Return the folder of each part; a folder without folders may be a class called 'test'."""
    parts, lister = {}, _Lister(root)
    for part, names in PART_NAMES.items():
        found = [
            folder
            for folder in folders
            if folder.name.casefold() in names and lister.scan(folder)[0]
        ]
        if len(found) > 1:
            shown = " and ".join(folder.name for folder in found)
            raise DatasetError(f"{root} has {shown}, which mean the same part; keep one of them")
        if found:
            parts[part] = found[0]
    if parts and "train" not in parts:
        shown = ", ".join(folder.name for folder in parts.values())
        raise DatasetError(
            f"{root} has {shown} with a folder for each class, but no train; {LAYOUT}"
        )
    return parts


def _list_classes(folders: list[Path], lister: _Lister) -> dict[str, list[Path]]:
    classes: dict[str, list[Path]] = {}
    for folder in folders:
        name = unicodedata.normalize("NFC", folder.name)
        if not name.isprintable():
            raise DatasetError(
                f"{str(folder)!r} is a folder with a name that cannot be shown; rename it"
            )
        if name in classes:
            raise DatasetError(
                f"{folder} has another folder beside it of the same name in Unicode; "
                "rename one of them"
            )
        classes[name] = lister.scan_deep(folder)
    return classes


def _check_classes(
    root: Path, found: dict[str, dict[str, list[Path]]], notes: list[str]
) -> FolderFiles:
    train = found["train"]
    names = sorted(train, key=natural_key)
    hint = f" ({'; '.join(notes)})" if notes else ""
    if not any(train.values()):
        raise DatasetError(f"{root} has no images in folders{hint}; {LAYOUT}")
    if empty := [name for name in names if not train[name]]:
        raise DatasetError(
            f"{root}: {_describe_classes(empty)} no images to train on{hint}; "
            "add some, or delete the folder"
        )
    if len(names) < 2:
        raise DatasetError(
            f"{root} has the one class {names[0]!r}; a net needs at least two; {LAYOUT}"
        )
    for part, classes in found.items():
        if strange := [name for name in sorted(classes, key=natural_key) if name not in train]:
            raise DatasetError(
                f"{root}: {_describe_classes(strange)} images in {part}, but none in train; "
                "every class must be trained on"
            )
        if not any(classes.values()):
            raise DatasetError(
                f"{root}: its folder for {part} has no images{hint}; add some, or delete the folder"
            )
    parts = {part: [classes.get(name, []) for name in names] for part, classes in found.items()}
    return FolderFiles(tuple(names), parts, notes)


def _describe_classes(names: list[str]) -> str:
    if len(names) > 1:
        return f"the classes {list_some(map(repr, names))} have"
    return f"the class {names[0]!r} has"
