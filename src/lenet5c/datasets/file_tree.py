"""Tree of folders and files of a data set."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lenet5c._text import count, list_some, printable
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.pictures import SUFFIXES, UNREAD_SUFFIXES

# Created by systems, tools and archives, in lowercase; names with a leading dot are skipped too.
LITTER = frozenset(
    {"__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "lost+found"}
    | {"@eadir", "#recycle", "$recycle.bin", "system volume information", "cvs", "node_modules"}
)
#: File endings of archives.
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
#: Maximum nesting depth of folders, and total number of files and folders.
MAX_DEPTH, MAX_ENTRIES = 64, 2_000_000
LINK, LOOP, MISSING, IRREGULAR = "link", "loop", "missing", "irregular"


@dataclass(eq=False, repr=False)
class Folder:
    """A folder: its subfolders and images in natural order, and its other contents.

    `path` is relative to the folder or archive of the data set, separated by '/', and '' for its
    root. `images` and `unread` are such paths too; the latter are pictures in unsupported formats.
    `other` counts files by suffix, `skipped` counts other entries such as links. `locked` has the
    reason why the folder cannot be read.
    """

    path: str = ""
    folders: list["Folder"] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    locked: str = ""

    @property
    def name(self) -> str:
        """The name in a normalized Unicode form."""
        return unicodedata.normalize("NFC", self.path.rpartition("/")[2])

    def walk(self) -> Iterator["Folder"]:
        """Yield this folder and all its subfolders, in depth-first order."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += reversed(folder.folders)

    def find_images(self) -> list[str]:
        """Return the images of this folder and all its subfolders."""
        return [image for folder in self.walk() for image in folder.images]

    def has_images(self) -> bool:
        """Return True if this folder or a subfolder contains an image."""
        return any(folder.images for folder in self.walk())

    def add(self, name: str) -> None:
        """Add a file with this name."""
        path = self.join(name)
        suffix = PurePosixPath(name).suffix
        if suffix.lower() in SUFFIXES:
            self.images.append(path)
        elif suffix.lower() in UNREAD_SUFFIXES:
            self.unread.append(path)
        else:
            self.other[printable(suffix.casefold()) or "no suffix"] += 1

    def join(self, name: str) -> str:
        """Return the path of an entry of the folder."""
        return f"{self.path}/{name}" if self.path else name


def natural_key(name: str) -> tuple[list[int | str], str]:
    """Return the sort key of a name, the same on every system: '2' before '10', 'b' next to 'B'."""
    name = unicodedata.normalize("NFC", name)
    pieces = re.split(r"(\d+)", name.casefold())
    # Digits of all scripts count; pieces alternate, so numbers are never compared with texts.
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], name


def is_litter(name: str) -> bool:
    """Return True if a file or folder with this name is skipped."""
    return name.startswith(".") or name.casefold() in LITTER


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Return True if a file has the name of a zip or tar archive."""
    return os.fspath(path).lower().endswith(ARCHIVES)


def scan_folder(root: Path, follow_links: bool = False) -> Folder:
    """List a folder and all its subfolders.

    Links to files in the folder count as files. Other links are followed if `follow_links`, except
    to a folder that contains them.

    Raises
    ------
    OSError
        If the folder itself cannot be read.
    DatasetError
        If there are more than `MAX_ENTRIES` files, or folders nested deeper than `MAX_DEPTH`.
    """
    top = Folder()
    real, seen = os.path.realpath(root), 0
    waiting: list[tuple[Folder, tuple[tuple[int, int], ...]]] = [(top, ())]
    while waiting:
        folder, above = waiting.pop()
        place = os.path.join(root, folder.path)
        try:
            status = os.stat(place)
            entries = []
            with os.scandir(place) as found:
                for entry in found:
                    entries.append(entry)
                    seen += 1
                    check_entries(root, seen)
        except OSError as error:
            if folder is top:
                raise
            folder.locked = error.strerror or str(error)
            continue
        above = (*above, (status.st_dev, status.st_ino))
        for entry in sorted(entries, key=lambda entry: natural_key(entry.name)):
            if not is_litter(entry.name):
                _add_entry(folder, entry, real, above, follow_links)
        if folder.folders:
            check_depth(root, len(above))
        # Depth first.
        waiting += [(inner, above) for inner in reversed(folder.folders)]
    return top


def check_entries(root: Path, seen: int) -> None:
    """Raise an error if there are too many files and folders."""
    if seen > MAX_ENTRIES:
        raise DatasetError(
            f"{root} must have at most {MAX_ENTRIES:,} files and folders, got more; use a folder "
            "that contains only images"
        )


def check_depth(root: Path, depth: int) -> None:
    """Raise an error if folders are nested too deeply."""
    if depth > MAX_DEPTH + 1:
        raise DatasetError(
            f"{root} must have folders nested at most {MAX_DEPTH} levels deep, got more; move the "
            "images up"
        )


def _add_entry(
    folder: Folder,
    entry: os.DirEntry[str],
    root: str,
    above: tuple[tuple[int, int], ...],
    follow_links: bool,
) -> None:
    try:
        is_link, is_folder, is_file = entry.is_symlink(), entry.is_dir(), entry.is_file()
    except OSError:  # circular links
        folder.skipped[LOOP] += 1
        return
    if is_link and not follow_links and (is_folder or not _is_inside(root, entry.path)):
        folder.skipped[LINK] += 1
    elif is_folder:
        if is_link and _identify(entry.path) in above:
            folder.skipped[LOOP] += 1
        else:
            folder.folders.append(Folder(folder.join(entry.name)))
    elif is_file or (is_link and follow_links and not os.path.exists(entry.path)):
        folder.add(entry.name)  # the reader will report a missing file by name
    else:
        folder.skipped[MISSING if is_link else IRREGULAR] += 1


def _is_inside(root: str, path: str) -> bool:
    try:
        return os.path.commonpath([root, os.path.realpath(path)]) == root
    except ValueError:  # another drive
        return False


def _identify(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def describe_skipped(folders: Iterable[Folder]) -> list[str]:
    """Describe the contents of folders that are not read."""
    skipped: Counter[str] = Counter()
    other: Counter[str] = Counter()
    for folder in folders:
        skipped += folder.skipped
        other += folder.other
    links = {kind: count(skipped[kind], "link") for kind in (LINK, LOOP, MISSING)}
    notes = []
    if skipped[LINK]:
        notes.append(
            f"{links[LINK]} to folders or out of the folder, not followed without --follow-links"
        )
    if skipped[LOOP]:
        notes.append(f"{links[LOOP]} to a parent folder, not followed")
    if skipped[MISSING]:
        notes.append(f"{links[MISSING]} to a missing file")
    if number := skipped[IRREGULAR]:
        notes.append(f"{count(number, 'pipe or device', 'pipes or devices')}, not read")
    if number := sum(other.values()):
        kinds = list_some(f"{n} {kind}" for kind, n in sorted(other.items()))
        notes.append(f"{count(number, 'file')} without the name of an image, not read: {kinds}")
    return notes
