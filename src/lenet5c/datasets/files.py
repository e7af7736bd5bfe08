"""Files with many images: format detection and grouping."""

import errno
import gzip
import os
import re
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lenet5c._files import name_errors, open_regular
from lenet5c._text import list_some, printable
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.idx_folder import name_classes
from lenet5c.datasets.orientation import set_upright
from lenet5c.datasets.parts import find_part, get_stem, split_name
from lenet5c.datasets.pictures import SUFFIXES
from lenet5c.datasets.records import ALL, Found, ReadOptions

Paths = dict[str, list[Path]]
#: Lowercase file endings by kind.
ENDINGS = {
    "parquet": (".parquet", ".parq"),
    "arrays": (".npz", ".npy"),
    "matlab": (".mat",),
    "table": (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz", ".tab.gz"),
}
#: Parts, in the order in which their files are read.
ORDER = ("train", "validation", "test", ALL)
_MAX_SEEN = 2000  # entries of a folder to check for pictures


def has_files(path: Path) -> bool:
    """Return True if `read_files` can read this file or folder of files."""
    return _find(path, [])[0] is not None


def read_files(path: Path, options: ReadOptions) -> Found:
    """Read a table, Parquet file, MATLAB file or NumPy arrays, or a folder of these.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If the files cannot be read, or their grouping is ambiguous.
    """
    notes: list[str] = []
    kind, parts = _find(path, notes)
    name = path.resolve().name if path.is_dir() else path.name.split(".")[0]
    found = _read(kind or "table", parts, name, options, path)
    first = next(iter(parts.values()))[0].name.casefold().replace("_", "-")
    emnist = re.search("emnist-[a-z]+", first) if kind in ("table", "matlab") else None
    found = replace(found, notes=(*notes, *found.notes))
    found = set_upright(found, options.transpose, emnist is not None)
    return _name_emnist(found, emnist[0]) if emnist else found


def _name_emnist(found: Found, set_name: str) -> Found:
    """Set the class names of an EMNIST data set."""
    labels: list[Any] = [records.labels for records in found.parts.values()]
    if any(isinstance(each, list) for each in labels):
        return found
    names, first = name_classes(set_name, labels)
    parts = {
        part: replace(records, labels=None if each is None else each - first)
        for (part, records), each in zip(found.parts.items(), labels, strict=True)
    }
    return replace(found, parts=parts, class_names=names or found.class_names)


def _find(path: Path, notes: list[str]) -> tuple[str | None, Paths]:
    """Return the kind of a file or of a folder's files, and the files of each part."""
    return _choose_files(path, notes) if path.is_dir() else (detect_kind(path), {ALL: [path]})


def _read(kind: str, parts: Paths, name: str, options: ReadOptions, place: Path) -> Found:
    # Imported here, because most data sets need none of them.
    if kind == "parquet":
        from lenet5c.datasets.parquet import read_parquet

        return read_parquet(parts, name, options)
    if kind == "arrays":
        from lenet5c.datasets.arrays import read_array_files

        return read_array_files(
            [path for paths in parts.values() for path in paths], name, options, place
        )
    single = {part: paths[0] for part, paths in parts.items()}
    if kind == "matlab":
        from lenet5c.datasets.matlab import read_matlab

        return read_matlab(single, name, options)
    from lenet5c.datasets.tables import read_tables

    labels = {part: paths[1] for part, paths in parts.items() if len(paths) > 1}
    return read_tables(single, name, options, labels)


def detect_kind(path: Path) -> str | None:
    """Return the kind of a file by its first bytes, a key of `ENDINGS`; None for another kind."""
    try:
        with name_errors(path), open_regular(path) as file:
            head = file.read(512)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file or folder") from None
    except ValueError as error:  # such as a null character in the name
        raise DatasetError(f"{str(path)!r} cannot be opened: {error}") from None
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENXIO):
            raise
        raise DatasetError(f"{path} must be a regular file or a folder, got neither") from None
    if head[:2] == b"\x1f\x8b":
        with open_regular(path) as file, suppress(OSError, EOFError, zlib.error):
            head = gzip.GzipFile(fileobj=file).read(512)
    if head[:6] == b"\x93NUMPY":
        return "arrays"
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"MATLAB":
        return "matlab"
    if head[:4] == b"PK\3\4":
        return "arrays" if _is_npz(path) else None
    if kind := _kind_by_name(path):
        return kind
    binary = b"\0" in head or head[:1] in (b"\x80", b"\x89")  # such as pickles, HDF5
    return None if binary or path.suffix.lower() in SUFFIXES else "table"


def _is_npz(path: Path) -> bool:
    import zipfile  # not needed for most data sets

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return path.suffix.lower() == ".npz"
    return bool(names) and all(name.endswith(".npy") for name in names)


def _choose_files(folder: Path, notes: list[str]) -> tuple[str | None, Paths]:
    """Return the kind of a folder's files and the files of each part; no kind for pictures."""
    folders, files = _list_files(folder)
    if not any(files.values()):
        # Data hubs put the files of each set into a separate folder.
        inner = [each for each in folders if _list_files(each)[1]["parquet"]]
        return _choose_files(inner[0], notes) if len(inner) == 1 else (None, {})
    if any(map(_has_pictures, folders)):
        return None, {}
    for kind, paths in files.items():
        parts: Paths = {part: [] for part in ORDER}
        for path in paths:
            parts[find_part(path.name) or ALL].append(path)
        parts = {part: paths for part, paths in parts.items() if paths}
        if "train" in parts or "test" in parts:
            if kind != "arrays" and (left := parts.pop(ALL, None)):
                shown = list_some(printable(path.name) for path in left)
                notes.append(f"not read, in addition to train and test: {shown}")
            return kind, _check_single(folder, kind, parts)
    kinds = [kind for kind in files if files[kind]]
    if len(kinds) > 1:
        shown = list_some(printable(path.name) for kind in kinds for path in files[kind][:1])
        raise DatasetError(f"{folder} must have files of one kind, got {shown}; pass one of them")
    return kinds[0], _check_single(folder, kinds[0], {ALL: files[kinds[0]]})


def _check_single(folder: Path, kind: str, parts: Paths) -> Paths:
    """Reject several files of a part, except Parquet files, which may be shards.

    A table of images and a table of labels are a pair, images first.
    """
    for part, paths in parts.items():
        if kind == "table" and len(paths) == 2:
            roles = [split_name(get_stem(path))[1] for path in paths]
            if sorted(filter(None, roles)) == ["images", "labels"]:
                parts[part] = paths if roles[0] == "images" else paths[::-1]
                continue
        if len(paths) > 1 and kind not in ("parquet", "arrays"):
            shown = list_some(printable(path.name) for path in paths)
            what = "one such file" if part == ALL else f"one such file for {part}"
            raise DatasetError(f"{folder} must have {what}, got {shown}; pass one of them")
    return parts


def _list_files(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """Return the folders and the files of each kind in a folder, sorted, without hidden ones."""
    found: dict[str, list[Path]] = {kind: [] for kind in ENDINGS}
    folders = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            folders.append(path)
        kind = _kind_by_name(path)
        if kind and path.is_file():
            found[kind].append(path)
    return folders, found


def _kind_by_name(path: Path) -> str | None:
    name = path.name.casefold()
    return next((kind for kind, endings in ENDINGS.items() if name.endswith(endings)), None)


def _has_pictures(folder: Path) -> bool:
    """Return True if a folder or its subfolders contain pictures."""
    waiting, seen = [folder], 0
    while waiting and seen < _MAX_SEEN:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                seen += 1
                if entry.name.lower().endswith(tuple(SUFFIXES)):
                    return True
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                if seen >= _MAX_SEEN:
                    break
    return False
