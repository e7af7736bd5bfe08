"""NumPy array files: .npz, and .npy files in a folder."""

from __future__ import annotations

import ast
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import name_errors, open_regular
from lenet5c._text import list_some, printable
from lenet5c.datasets.archives import check_unpacked
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.mapped import MAPPED, MappedImages
from lenet5c.datasets.parts import get_stem, split_name
from lenet5c.datasets.pixels import convert_images, convert_labels, convert_targets, guess_reading
from lenet5c.datasets.records import ALL, Found, ReadOptions, Records

#: Maximum number of arrays in an archive.
MAX_ARRAYS = 1000
_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 10_000
_CHUNK = 1 << 20
_MINIMUM = 16  # minimum number of values of an image


@dataclass(frozen=True)
class Stored:
    """An array in a file that has not been read."""

    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[], NDArray[Any] | MappedImages]

    @property
    def numeric(self) -> bool:
        """True if the array may contain pixels."""
        return self.dtype.kind in "buif"


def read_arrays(arrays: Mapping[str, Stored], name: str, options: ReadOptions, path: Path) -> Found:
    """Create a data set from the arrays of a file or folder, by their names or shapes.

    The names may be those of Keras (x_train, y_train, x_test, y_test), scikit-learn (data or
    images, target), MedMNIST (train_images, train_labels, val_images, ...), and the like; arrays
    without such names are paired by their shapes, images before labels and train before test. Rows
    of probabilities, instead of labels or in addition to them, are soft targets.

    Raises
    ------
    DatasetError
        If there are no images, or labels that do not match them.
    """
    chosen = _choose_arrays(arrays, path)
    soft = _find_soft(arrays, chosen, path)
    titles = {part: f"{path}: {printable(pair[0])}" for part, pair in chosen.items()}
    for images, labels in chosen.values():
        if labels is not None and not _fits(arrays[images], arrays[labels]):
            raise DatasetError(
                f"{path}: {printable(labels)} must have a label for each of the "
                f"{arrays[images].shape[0]:,} images in {printable(images)}, got "
                f"{_describe(arrays[labels])}; use arrays of the same length"
            )
    loaded = {part: arrays[pair[0]].load() for part, pair in chosen.items()}
    targets: dict[str, Any] = dict.fromkeys(chosen)
    for part, (_, labels) in chosen.items():
        if labels is None:
            continue
        if part in soft and labels == soft[part].name:
            targets[part] = soft[part].rows.argmax(axis=1).astype(np.int64)
        else:
            values = np.asarray(arrays[labels].load())
            targets[part] = convert_labels(values, f"{path}: {printable(labels)}")
        if len(targets[part]) != len(loaded[part]):  # the last axis has the images, as in MATLAB
            loaded[part] = np.moveaxis(np.asarray(loaded[part]), -1, 0)
    converted, notes, white = convert_images(
        {titles[part]: loaded.pop(part) for part in chosen}, options.shape, options.levels
    )
    parts = {
        part: Records(
            converted[titles[part]],
            targets[part],
            targets=soft[part].rows if part in soft else None,
        )
        for part in chosen
    }
    names = _find_names(arrays, targets.values())
    reading = guess_reading(converted.values())
    return Found(parts, name, reading, tuple(notes), names, white=white)


def _choose_arrays(arrays: Mapping[str, Stored], path: Path) -> dict[str, tuple[str, str | None]]:
    """Return the names of the image and label arrays of each part."""
    images: dict[str, str] = {}
    targets: dict[str, list[str]] = {}
    for name, stored in arrays.items():
        part, role = split_name(name)
        part = part or ALL
        if role == "images" and stored.dtype.hasobject:
            stored.load()  # raises the error
        if role == "images" and _may_be_images(stored):
            # Of scikit-learn's data and images, only the latter have the image shape.
            if part not in images or len(stored.shape) > len(arrays[images[part]].shape):
                images[part] = name
        elif role == "labels":
            targets.setdefault(part, []).append(name)
    if not images:
        return _pair_by_shape(arrays, path)
    if "train" in images:
        images.pop(ALL, None)
    found = {}
    for part, name in images.items():
        fitting = [each for each in targets.get(part, ()) if _fits(arrays[name], arrays[each])]
        fitting.sort(key=lambda each: _is_of_rows(arrays[each]))  # labels before soft targets
        found[part] = (name, (*fitting, *targets.get(part, ()), None)[0])
    if list(found) == ["train"] and not targets.get("train") and targets.get(ALL):
        found["train"] = (found["train"][0], targets[ALL][0])
    order = [part for part in ("train", "validation", "test", ALL) if part in found]
    return {part: found[part] for part in order}


class _Soft(NamedTuple):
    """Soft targets and the name of their array."""

    name: str
    rows: NDArray[np.float32]


def _find_soft(
    arrays: Mapping[str, Stored], chosen: Mapping[str, tuple[str, str | None]], path: Path
) -> dict[str, _Soft]:
    """Return the soft targets of each part, used instead of labels or in an array of their own."""
    found = {}
    for part, (images, labels) in chosen.items():
        count = arrays[images].shape[0]
        named = [labels] if labels is not None else []
        named += [
            name
            for name in arrays
            if name not in (images, labels)
            and split_name(name) in ((part, "labels"), (None, "labels"))
            and (len(chosen) == 1 or split_name(name)[0] == part)
        ]
        for name in named:
            stored = arrays[name]
            if stored.dtype.kind != "f" or not _is_of_rows(stored) or stored.shape[0] != count:
                continue
            try:
                rows = convert_targets(np.asarray(stored.load()), f"{path}: {printable(name)}")
            except DatasetError:
                if name == labels:
                    raise
                continue  # ignore faults of other arrays
            if rows is not None:
                found[part] = _Soft(name, rows)
                break
    return found


def _pair_by_shape(arrays: Mapping[str, Stored], path: Path) -> dict[str, tuple[str, str | None]]:
    images = [name for name, stored in arrays.items() if _may_be_images(stored)]
    others = [name for name in arrays if name not in images]
    pairs: list[tuple[str, str | None]] = []
    for name in images:
        label = next((each for each in others if _fits(arrays[name], arrays[each])), None)
        if label is not None:
            others.remove(label)
        pairs.append((name, label))
    named = [split_name(name)[0] for name, _ in pairs]
    usual = {1: [ALL], 2: ["train", "test"], 3: ["train", "validation", "test"]}
    parts = [part for part in named if part]
    if len(parts) < len(pairs):
        # Several arrays without labels may be anything, such as one for each class.
        labeled = any(label is not None for _, label in pairs)
        parts = usual.get(len(pairs), []) if labeled or len(pairs) == 1 else []
    if not parts or len(set(parts)) < len(parts):
        for stored in arrays.values():
            if stored.dtype.hasobject:
                stored.load()  # raises the error
        held = (f"{printable(name)} {_describe(stored)}" for name, stored in arrays.items())
        raise DatasetError(
            f"{path} must have arrays named x_train and y_train, images and labels, or data and "
            f"target, got {list_some(held, 4) or 'none'}; rename them"
        )
    return dict(zip(parts, pairs, strict=True))


def _may_be_images(stored: Stored) -> bool:
    shape = stored.shape
    return stored.numeric and len(shape) >= 2 and prod(shape) >= _MINIMUM * shape[0] > 0


def _fits(images: Stored, labels: Stored) -> bool:
    """Return True if an array has a label for each image."""
    counts = (images.shape[0], images.shape[-1])
    row = len(labels.shape) == 2 and labels.shape[0] == 1
    return bool(labels.shape) and labels.shape[row] in counts


def _is_of_rows(stored: Stored) -> bool:
    return len(stored.shape) == 2 and 1 not in stored.shape


def _describe(stored: Stored) -> str:
    return f"{stored.dtype} {'x'.join(map(str, stored.shape))}".strip()


def _find_names(arrays: Mapping[str, Stored], labels: Any) -> tuple[str, ...] | None:
    """Return the class names if labels are integers that index them."""
    numbers = [each for each in labels if each is not None]
    if not numbers or not all(isinstance(each, np.ndarray) for each in numbers):
        return None
    for name, stored in arrays.items():
        text = stored.dtype.kind in "US" and len(stored.shape) == 1
        if text and split_name(name)[1] == "names":
            names = [str(each).strip() for each in convert_labels(np.asarray(stored.load()), name)]
            low = min(int(each.min()) for each in numbers if len(each))
            high = max(int(each.max()) for each in numbers if len(each))
            if low >= 0 and high < len(names) == len(set(names)) and all(names):
                return tuple(names)
    return None


def read_array_files(files: Sequence[Path], name: str, options: ReadOptions, place: Path) -> Found:
    """Read a data set from an .npz file, or from .npy and .npz files such as x_train.npy.

    Objects in the files are never unpickled. `place` is the file or folder, for error messages.
    Raises the errors of `read_arrays`, and a DatasetError if a file is damaged.
    """
    with ExitStack() as stack:
        arrays: dict[str, Stored] = {}
        for path in files:
            if path.suffix.lower() == ".npy":
                arrays[get_stem(path)] = open_npy(path)
                continue
            members = _list_members(stack.enter_context(_open_archive(path)), path)
            for member, stored in members.items():
                names = [get_stem(path)] * (len(files) > 1) + [member] * (len(members) > 1)
                arrays[" ".join(names) or member] = stored
        return read_arrays(arrays, name, options, place)


def open_npy(path: Path) -> Stored:
    """Return the array of an .npy file without reading it; its size must match its header."""
    with name_errors(path), open_regular(path) as file:
        header = _read_header(file, str(path), os.fstat(file.fileno()).st_size)
    return Stored(header.shape, header.dtype, partial(_load_npy, path, header))


def _load_npy(path: Path, header: _Header) -> NDArray[Any] | MappedImages:
    """Return the array of an .npy file; large image arrays stay in the file."""
    shape, dtype = header.shape, header.dtype
    large = prod(shape) * dtype.itemsize >= MAPPED
    if large and len(shape) > 1 and not header.fortran and dtype.kind in "buif":
        return MappedImages(path, header.length, shape[0], shape[1:], dtype)
    with name_errors(path), open_regular(path) as file:
        file.seek(header.length)
        return _read_elements(file, header, str(path))


@contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file, converting read errors to a DatasetError."""
    with name_errors(path), open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except (DatasetError, MemoryError):
            raise
        except (
            *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError),
            *(ValueError, LookupError, OSError),
        ) as error:
            raise DatasetError(
                f"{path} must be a valid .npz file, got a damaged one "
                f"({' '.join(str(error).split())[:100]}); save it again"
            ) from None


def _list_members(archive: zipfile.ZipFile, path: Path) -> dict[str, Stored]:
    """Return the arrays of an archive; other members are not read."""
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if len(infos) > MAX_ARRAYS:
        raise DatasetError(f"{path} must have at most {MAX_ARRAYS:,} arrays, got {len(infos):,}")
    check_unpacked(path, sum(info.file_size for info in infos), path.stat().st_size)
    arrays = {}
    for info in infos:
        name = info.filename[:-4]
        title = f"{path}: {printable(name)}"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DatasetError(
                f"{title} must be stored or deflate-compressed; save it with numpy.savez"
            )
        with archive.open(info) as stream:
            header = _read_header(stream, title, info.file_size)
        load = partial(_load_member, archive, info, header, title)
        arrays[name] = Stored(header.shape, header.dtype, load)
    return arrays


def _load_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: _Header, title: str
) -> NDArray[Any]:
    with archive.open(info) as stream:
        stream.read(header.length)
        return _read_elements(stream, header, title)


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool  # Fortran order
    length: int  # bytes
    fault: str = ""  # the reason why the elements cannot be read


def _read_header(stream: Any, title: str, size: int) -> _Header:
    """Return the header of an array in a file of `size` bytes, of NumPy's format 1 or 2."""
    start = stream.read(8)
    if start[:6] != _MAGIC:
        raise DatasetError(
            f"{title} must be a NumPy array file, got another format; save it with numpy.save"
        )
    width = {1: 2, 2: 4}.get(start[6] if len(start) == 8 else 0, 0)
    length = int.from_bytes(stream.read(width), "little")
    if width == 0 or length > _MAX_HEADER:
        raise DatasetError(f"{title} must be in NumPy file format 1 or 2; save it with numpy.save")
    try:
        header = ast.literal_eval(stream.read(length).decode("latin1").strip())
        shape, fortran = header["shape"], header["fortran_order"]
        descr = header["descr"]
        if not (type(shape) is tuple and all(type(n) is int and n >= 0 for n in shape)):
            raise ValueError("shape")
    except (ValueError, SyntaxError, TypeError, LookupError, MemoryError, RecursionError):
        raise DatasetError(f"{title} has a damaged header; save it again") from None
    begin = 8 + width + length
    dtype = _read_type(descr)
    if isinstance(dtype, str):
        # It may accompany images.
        fault = f"{title} must be an array of numbers or text, got {dtype}"
        return _Header(shape, np.dtype(object), False, begin, fault)
    needed = begin + prod(shape) * dtype.itemsize
    if needed != size or len(shape) > 32:
        raise DatasetError(
            f"{title} declares {needed:,} bytes (shape {shape} of {dtype}), got {size:,}; save it "
            "again"
        )
    return _Header(shape, dtype, bool(fortran), begin)


def _read_type(descr: Any) -> np.dtype | str:
    """Return the dtype of a header, or a description of an unsupported one."""
    if "O" in str(descr):
        return "one of Python objects, which are never unpickled; save it with another dtype"
    # Excludes structured dtypes and deprecated names.
    if isinstance(descr, str) and re.fullmatch(r"[<>=|]?[?biufcSUmM][0-9a-z\[\]]*", descr):
        with suppress(TypeError):
            dtype = np.dtype(descr)
            if dtype.itemsize:
                return dtype
    return f"one of {printable(descr)[:40]}; save it with another dtype"


def _read_elements(stream: Any, header: _Header, title: str) -> NDArray[Any]:
    if header.fault:
        raise DatasetError(header.fault)
    values = np.empty(header.shape[::-1] if header.fortran else header.shape, header.dtype)
    raw, filled = cast(Any, values.reshape(-1).view(np.uint8)).data, 0
    while filled < len(raw):
        count = stream.readinto(raw[filled : filled + _CHUNK])
        if not count:
            raise DatasetError(f"{title} is truncated; save it again")
        filled += count
    return values.T if header.fortran else values
