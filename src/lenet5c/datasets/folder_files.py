"""Which files of a folder are images of which class: names are looked at here, contents are not."""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lenet5c.datasets.dataset import DatasetError

#: What the parts of a data set may be called, in small letters.
PART_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
# What systems and archives leave behind, in small letters; names with a dot in front are passed over as well.
LITTER = frozenset(
    {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"}
)
LAYOUT = "it should hold a folder of images for each class, or train/CLASS and test/CLASS, or four IDX files"


@dataclass
class FolderFiles:
    """The images of a folder, by part and class.

    Attributes
    ----------
    class_names : tuple of str
        Those of the training images, in natural order.
    parts : dict of str to list
        For each of 'train', 'validation' and 'test' that is there: for each class the paths of its images, in natural
        order.
    notes : list of str
        What was passed over, and why.
    """

    class_names: tuple[str, ...]
    parts: dict[str, list[list[Path]]]
    notes: list[str] = field(default_factory=list)


def folder_files(path):
    """Find the images of a folder that has one folder for each class, in parts or not.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    FolderFiles

    Raises
    ------
    FileNotFoundError
    DatasetError
        The folder is laid out in another way, has less than two classes, or a class of one part is not in another.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder; give the folder with the images")
    if not root.is_dir():
        raise DatasetError(
            f"{root}: not a folder; give the folder that holds one folder for each class"
        )
    seen = _Seen(root)
    folders, images = seen.entries(root)
    parts = _parts(root, folders)
    if parts:
        unused = [folder.name for folder in folders if folder not in parts.values()]
        if unused:
            seen.notes.append(f"beside train, not read: {_listed(unused)}")
        inside = {part: seen.entries(folder)[0] for part, folder in parts.items()}
    elif images and not folders:
        raise DatasetError(f"{root} holds images, but no folders; {LAYOUT}")
    else:
        inside = {"train": folders}
    if images:
        seen.notes.append(
            f"{_count(len(images), 'image')} outside of the folders of classes, not read"
        )
    return _checked(root, {part: _classes(classes, seen) for part, classes in inside.items()}, seen)


def natural(name):
    """What names are sorted by: '2' comes before '10', 'b' beside 'B'; the same on every system."""
    name = unicodedata.normalize("NFC", name)
    pieces = re.split(r"(\d+)", name.casefold())
    # Digits of all scripts count; pieces alternate, so a number is never compared with a text.
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], name


class _Seen:
    """Lists folders, and counts what it passes over."""

    def __init__(self, root):
        # Imported here, as pictures are read with what this package has.
        from lenet5c.recognition.reader import SUFFIXES

        self.root, self.suffixes = os.path.realpath(root), SUFFIXES
        self.notes = []
        self.outside = 0
        self.other = Counter()

    def entries(self, folder):
        """(folders, images) directly in a folder, in natural order."""
        folders, images = [], []
        for path in sorted(Path(folder).iterdir(), key=lambda path: natural(path.name)):
            if path.name.startswith(".") or path.name.casefold() in LITTER:
                continue
            if path.is_symlink() and not self._inside(path):
                self.outside += 1
            elif path.is_dir():
                folders.append(path)
            elif path.suffix.lower() not in self.suffixes:
                self.other[path.suffix.casefold() or "no suffix"] += 1
            elif path.is_file():
                images.append(path)
        return folders, images

    def all_images(self, folder):
        """The images in a folder and in those in it; links to folders are not followed there, as they may go round."""
        folders, images = self.entries(folder)
        for inner in folders:
            if inner.is_symlink():
                self.outside += 1
            else:
                images += self.all_images(inner)
        return images

    def _inside(self, path):
        target = os.path.realpath(path)
        try:
            return os.path.commonpath([self.root, target]) == self.root
        except ValueError:  # another drive
            return False

    def summary(self):
        notes = list(self.notes)
        if self.outside:
            notes.append(
                f"{_count(self.outside, 'link')} out of the folder or to a folder, not followed"
            )
        if count := sum(self.other.values()):
            kinds = _listed(f"{n} {kind}" for kind, n in sorted(self.other.items()))
            notes.append(f"{_count(count, 'file')} not named as images, not read: {kinds}")
        return notes


def _parts(root, folders):
    """Part -> folder if the folders are parts of a data set; a class may be called 'test', too."""
    parts, seen = {}, _Seen(root)
    for part, names in PART_NAMES.items():
        found = [
            folder
            for folder in folders
            if folder.name.casefold() in names and seen.entries(folder)[0]
        ]
        if len(found) > 1:
            names = " and ".join(folder.name for folder in found)
            raise DatasetError(f"{root} has {names}, which mean the same part; keep one of them")
        if found:
            parts[part] = found[0]
    if parts and "train" not in parts:
        names = ", ".join(folder.name for folder in parts.values())
        raise DatasetError(
            f"{root} has {names} with a folder for each class, but no train; {LAYOUT}"
        )
    return parts


def _classes(folders, seen):
    """Class name -> paths."""
    classes = {}
    for folder in folders:
        name = unicodedata.normalize("NFC", folder.name)
        if not name.isprintable():
            raise DatasetError(
                f"{str(folder)!r} is a folder with a name that cannot be shown; rename it"
            )
        if name in classes:
            raise DatasetError(
                f"{folder} has another folder beside it of the same name in Unicode; rename one of them"
            )
        classes[name] = seen.all_images(folder)
    return classes


def _checked(root, found, seen):
    names = sorted(found["train"], key=natural)
    notes = seen.summary()
    hint = f" ({'; '.join(notes)})" if notes else ""
    if not any(found["train"].values()):
        raise DatasetError(f"{root} has no images in folders{hint}; {LAYOUT}")
    empty = [name for name in names if not found["train"][name]]
    if empty:
        raise DatasetError(
            f"{root}: {_classed(empty)} no images to train on{hint}; add some, or delete the folder"
        )
    if len(names) < 2:
        raise DatasetError(
            f"{root} has the one class {names[0]!r}; a net needs at least two; {LAYOUT}"
        )
    for part, classes in found.items():
        strange = [name for name in sorted(classes, key=natural) if name not in found["train"]]
        if strange:
            raise DatasetError(
                f"{root}: {_classed(strange)} images in {part}, but none in train; every class must be trained on"
            )
    parts = {part: [classes.get(name, []) for name in names] for part, classes in found.items()}
    for part in ("validation", "test"):
        if part in parts and not any(parts[part]):
            raise DatasetError(
                f"{root}: its folder for {part} has no images{hint}; add some, or delete the folder"
            )
    return FolderFiles(tuple(names), parts, notes)


def _classed(names):
    return (
        f"the classes {_listed(map(repr, names))} have"
        if len(names) > 1
        else f"the class {names[0]!r} has"
    )


def _listed(names, most=5):
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _count(number, noun):
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
