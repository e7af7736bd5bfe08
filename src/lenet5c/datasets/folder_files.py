"""Images of a folder or archive by part and class, based on names only."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from lenet5c._text import count, list_some, listing, printable
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.file_tree import Folder, describe_skipped, is_archive, scan_folder
from lenet5c.datasets.file_tree import natural_key as natural_key
from lenet5c.datasets.parts import find_folder_part
from lenet5c.datasets.records import ALL

if TYPE_CHECKING:
    from lenet5c.datasets.archives import Archive

_PARTS = ("train", "validation", "test")
LAYOUT = (
    "it should contain a folder of images for each class, or train/CLASS and test/CLASS, "
    "or IDX, CSV, NumPy, Parquet or MATLAB files"
)


@dataclass(eq=False, repr=False)
class FolderFiles:
    """The images of a folder or archive.

    `parts` maps 'train', 'validation' and 'test', or 'all', to the paths of the images of each
    class; a part without classes has one list and is listed in `flat`. Classes and images are in
    natural order. `errors` are reasons why the images cannot be read, `faults` why a net cannot be
    trained on them, `warnings` what looks wrong, `notes` what was skipped; `locked` has the folders
    that cannot be read, with the reason.
    """

    root: Path
    class_names: tuple[str, ...] = ()
    parts: dict[str, list[list[Path]]] = field(default_factory=dict)
    flat: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    locked: list[tuple[Path, str]] = field(default_factory=list)
    archive: "Archive | None" = None

    @property
    def open(self) -> Callable[[Path], BinaryIO] | None:
        """Function that opens a picture; None if it is a file on disk."""
        return self.archive.open if self.archive else None

    def entries(self) -> list[tuple[str, int, Path]]:
        """Return (part, label, path) of each image."""
        return [
            (part, label, path)
            for part, classes in self.parts.items()
            for label, paths in enumerate(classes)
            for path in paths
        ]

    def close(self) -> None:
        """Close the archive, if any."""
        if self.archive:
            self.archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def list_folder(path: str | os.PathLike[str], follow_links: bool = False) -> FolderFiles:
    """Find the images of a folder or archive, by part and class if it has them.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If it is neither a folder nor an archive, or the archive is damaged or rejected.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder")
    if is_archive(root) and not root.is_dir():
        from lenet5c.datasets.archives import open_archive  # also imports zipfile and tarfile

        archive = open_archive(root)
        files, top = FolderFiles(root, archive=archive), archive.folder
    elif root.is_dir():
        files, top = FolderFiles(root), scan_folder(root, follow_links)
    else:
        raise DatasetError(
            f"{root}: not a folder; pass the folder that contains one folder per class"
        )
    _Arranger(files, top).arrange()
    return files


def _is_part(folder: Folder) -> bool:
    """Return True if the name of a folder is only that of a part."""
    meaning = find_folder_part(folder.name)
    return meaning is not None and not meaning[1]


def _unwrap(folder: Folder) -> Folder:
    """Return the folder train/train if train contains nothing else, as in some archives."""
    meaning = find_folder_part(folder.name)
    full = [inner for inner in folder.folders if inner.has_images()]
    if meaning and len(full) == 1 and not folder.images:
        inner = find_folder_part(full[0].name)
        if inner and inner[0] == meaning[0]:
            return _unwrap(full[0])
    return folder


class _Arranger:
    """Assigns parts and classes by folder names."""

    def __init__(self, files: FolderFiles, top: Folder) -> None:
        self.files, self.root, self.top = files, files.root, top

    def arrange(self) -> None:
        """Fill in `files`."""
        files = self.files
        place = self._enter()
        folders = self._find_parts(place)
        loose = [*place.images, *(image for part in folders.values() for image in part.images)]
        flat: dict[str, list[str]] = {}
        if folders:
            found = {part: self._list_classes(folder.folders) for part, folder in folders.items()}
            unused = [each for each in place.folders if each not in folders.values()]
            for part, folder in self._find_flat_parts(unused):
                if part not in found | flat:
                    flat[part] = folder.images
                    unused.remove(folder)
            if unused:
                shown = list_some(printable(each.name) for each in unused)
                read = listing(printable(each.name) for each in folders.values())
                files.notes.append(f"not read, in addition to {read}: {shown}")
        elif found := self._find_inner_parts(place):
            files.notes.append(f"each class has its own {listing(found)}")
        else:
            flat = self._find_flat(place)
            found = {} if flat else {ALL: self._list_classes(place.folders)}
        if found:
            if loose:
                number = count(len(loose), "image")
                files.notes.append(f"{number} outside the class folders, not read")
            self._check_classes(found)
        for part, images in flat.items():
            files.parts[part] = [[self.root / image for image in images]]
            files.flat.add(part)
        if not files.entries():
            files.errors.append(f"{self.root} has no images in folders{_hint(self.top)}; {LAYOUT}")
        every = list(self.top.walk())
        if unread := [name for folder in every for name in folder.unread]:
            files.warnings.append(
                f"{count(len(unread), 'picture')} in unsupported formats: "
                f"{list_some(map(printable, unread))}; convert them to PNG or JPEG"
            )
        files.notes += describe_skipped(every)
        files.locked += [(self.root / each.path, each.locked) for each in every if each.locked]

    def _enter(self) -> Folder:
        """Return the folder with the parts or classes, which may be nested in another folder."""
        place = self.top
        while True:
            full = [folder for folder in place.folders if folder.has_images()]
            if place.images or len(full) != 1 or full[0].images or _is_part(full[0]):
                break
            if all(_is_part(each) and not each.folders for each in full[0].folders):
                break  # a class with parts
            place = full[0]
        if place is not self.top:
            self.files.notes.append(f"the data is in the folder {printable(place.path)}")
        place.folders = [_unwrap(folder) for folder in place.folders]
        return place

    def _find_parts(self, place: Folder) -> dict[str, Folder]:
        """Return the folder of each part; one without subfolders may be a class called 'test'."""
        groups: dict[str, dict[str, list[Folder]]] = {}
        for folder in place.folders:
            if folder.folders and (meaning := find_folder_part(folder.name)):
                part, rest = meaning
                groups.setdefault(rest, {}).setdefault(part, []).append(folder)
        # Other words are the name of the data set if several parts share them.
        group = groups.get("") or next((each for each in groups.values() if len(each) > 1), {})
        for same in group.values():
            if len(same) > 1:
                shown = listing(folder.name for folder in same)
                self.files.errors.append(
                    f"{self.root} has {shown}, which are the same part; keep one of them"
                )
        return {part: group[part][0] for part in _PARTS if part in group}

    def _find_inner_parts(self, place: Folder) -> dict[str, dict[str, list[Folder]]]:
        """Return the part folders inside class folders."""
        found: dict[str, dict[str, list[Folder]]] = {}
        for folder in place.folders:
            inner = [each for each in folder.folders if each.has_images()]
            if folder.images or not all(map(_is_part, inner)):
                return {}
            for each in inner:
                part, _ = find_folder_part(each.name) or ("", "")
                found.setdefault(part, {}).setdefault(folder.name, []).append(each)
        return {part: found[part] for part in _PARTS if part in found}

    def _find_flat_parts(self, folders: list[Folder]) -> list[tuple[str, Folder]]:
        """Return the part folders that contain images but no folders of images."""
        meanings = [(find_folder_part(folder.name), folder) for folder in folders]
        return [
            (meaning[0], folder)
            for meaning, folder in meanings
            if meaning and not meaning[1] and folder.images
            if not any(inner.has_images() for inner in folder.folders)
        ]

    def _find_flat(self, place: Folder) -> dict[str, list[str]]:
        """Return the images of each part, or of all, if there are no classes."""
        full = [folder for folder in place.folders if folder.has_images()]
        if not full:
            if place.images:
                self.files.faults.append(f"{self.root} contains images, but no folders; {LAYOUT}")
            return {ALL: place.images} if place.images else {}
        parts = self._find_flat_parts(full)
        found = {part: folder.images for part, folder in parts}
        if len(found) < len(full):
            return {}
        self.files.faults.append(
            f"{self.root} has images in {listing(folder.name for folder in full)}, but no folder "
            f"for each class there; {LAYOUT}"
        )
        return {part: found[part] for part in _PARTS if part in found}

    def _list_classes(self, folders: list[Folder]) -> dict[str, list[Folder]]:
        classes: dict[str, list[Folder]] = {}
        for folder in folders:
            path = self.root / folder.path
            if not folder.name.isprintable():
                self.files.errors.append(
                    f"{str(path)!r} is a folder with a name that cannot be shown; rename it"
                )
            elif folder.name in classes:
                self.files.errors.append(
                    f"{path} is next to a folder with an equivalent Unicode name; "
                    "rename one of them"
                )
            else:
                classes[folder.name] = [folder]
        return classes

    def _check_classes(self, found: dict[str, dict[str, list[Folder]]]) -> None:
        files, root = self.files, self.root
        train = found.get("train", found.get(ALL))
        every = {
            name
            for classes in found.values()
            for name, folders in classes.items()
            if classes is train or any(folder.has_images() for folder in folders)
        }
        names = sorted(every, key=natural_key)
        files.class_names = tuple(names)
        files.parts = {
            part: [
                [root / image for folder in classes.get(name, []) for image in folder.find_images()]
                for name in names
            ]
            for part, classes in found.items()
        }
        full = {
            part: [name for name, paths in zip(names, lists, strict=True) if paths]
            for part, lists in files.parts.items()
        }
        self._warn_of_parts(next(iter(found.values())))
        for part, classes in full.items():
            if not classes and part != ALL:
                files.faults.append(
                    f"{root}: its folder for {part} has no images; add some, or delete the folder"
                )
        if train is None:
            shown = listing(found)
            files.faults.append(
                f"{root} has {shown} with a folder for each class, but no train; {LAYOUT}"
            )
            return
        trained = full["train" if "train" in found else ALL]
        for name in names:
            if name in trained or not trained:
                continue
            if name in train:
                hint = _hint(*train[name])
                files.faults.append(
                    f"{root}: the class {name!r} has no images to train on{hint}; add some, or "
                    "delete the folder"
                )
            else:
                parts = listing(part for part, classes in full.items() if name in classes)
                files.faults.append(
                    f"{root}: the class {name!r} has images in {parts}, but none in train; "
                    "every class must be trained on"
                )
        if len(names) == 1 and trained:
            files.faults.append(
                f"{root} must have at least two classes, got only {names[0]!r}; {LAYOUT}"
            )

    def _warn_of_parts(self, classes: dict[str, list[Folder]]) -> None:
        """Warn if classes may be parts because they contain the same folders."""
        holders: dict[str, list[str]] = {}
        for name, folders in classes.items():
            inner = {each.name.casefold() for folder in folders for each in folder.folders}
            for each in inner:
                holders.setdefault(each, []).append(name)
        same = sorted((each for each, names in holders.items() if len(names) > 1), key=natural_key)
        if len(same) > 1:
            most = Counter(name for each in same for name in holders[each])
            shown = list_some(map(printable, sorted(most, key=natural_key)))
            self.files.warnings.append(
                f"the classes {shown} contain the same folders "
                f"({list_some(map(printable, same))}), "
                "as parts of a data set would; if these are the classes, name the parts train, "
                "validation and test"
            )


def _hint(*folders: Folder) -> str:
    """Return the contents of folders other than images, in parentheses."""
    every = [each for folder in folders for each in folder.walk()]
    notes = describe_skipped(every)
    if unread := sum(len(each.unread) for each in every):
        notes.append(f"{count(unread, 'picture')} in unsupported formats")
    return f" ({'; '.join(notes)})" if notes else ""
