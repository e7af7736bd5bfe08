"""Files of MATLAB 5 with images and labels, as those of SVHN."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import name_errors, open_regular
from lenet5c._optional import require
from lenet5c.datasets.archives import check_unpacked
from lenet5c.datasets.arrays import Stored, read_arrays
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.records import Found, ReadOptions

#: MATLAB's names of types, and NumPy's.
_TYPES = {"double": "f8", "single": "f4", "logical": "?"} | {
    f"{sign}int{8 * size}": f"{sign or 'i'}{size}" for sign in ("", "u") for size in (1, 2, 4, 8)
}


def read_matlab(files: dict[str, Path], name: str, options: ReadOptions) -> Found:
    """Read MATLAB files, one for each part of a data set.

    Each has an array of images, such as X of shape (H, W, C, N), and one of labels, such as y. Of
    labels from 1 to 10 the last stands for the digit 0, as in SVHN.

    Raises
    ------
    FileNotFoundError
    DatasetError
        A file is damaged, or has no images.
    MissingExtraError
        SciPy is not installed.
    """
    arrays: dict[str, Stored] = {}
    for part, path in files.items():
        for variable, stored in _list_variables(path).items():
            arrays[variable if len(files) == 1 else f"{part} {variable}"] = stored
    place = next(iter(files.values()))
    found = read_arrays(arrays, name, options, place if len(files) == 1 else place.parent)
    if len(files) == 1 and len(found.parts) == 1:
        found = replace(found, parts=dict(zip(files, found.parts.values(), strict=True)))
    labels = [records.labels for records in found.parts.values() if records.labels is not None]
    if not labels or not all(_is_one_to_ten(each) for each in labels):
        return found
    parts = {
        part: replace(records, labels=np.asarray(records.labels) % 10)
        for part, records in found.parts.items()
        if records.labels is not None
    }
    note = "the label 10 stands for the digit 0"
    return replace(found, parts=found.parts | parts, notes=(*found.notes, note))


def _is_one_to_ten(labels: Any) -> bool:
    return (
        isinstance(labels, np.ndarray)
        and len(labels) > 0
        and {1, 10} == {int(labels.min()), int(labels.max())}
    )


def _list_variables(path: Path) -> dict[str, Stored]:
    scipy_io = require("scipy.io", "mat", "MATLAB files")
    with _open_matlab(path) as file:
        arrays = {
            name: Stored(tuple(shape), np.dtype(_TYPES[kind]), partial(_load, path, name))
            for name, shape, kind in scipy_io.whosmat(file)
            if kind in _TYPES
        }
        sizes = [prod(each.shape) * each.dtype.itemsize for each in arrays.values()]
        check_unpacked(path, sum(sizes), path.stat().st_size)
    return arrays


def _load(path: Path, name: str) -> NDArray[Any]:
    with _open_matlab(path) as file:
        loaded = require("scipy.io", "mat", "MATLAB files").loadmat(file, variable_names=[name])
        if not isinstance(loaded.get(name), np.ndarray):
            raise ValueError("a variable is no array")
        return loaded[name]


@contextmanager
def _open_matlab(path: Path) -> Iterator[BinaryIO]:
    """Open a MATLAB file; whatever its reading raises becomes a DatasetError."""
    with name_errors(path), open_regular(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if file.read(10) in (b"\x89HDF\r\n\x1a\n\0\0", b"MATLAB 7.3"):
            raise DatasetError(
                f"{path} must be a file of MATLAB 5 to 7, got one of 7.3; save it with -v7"
            )
        file.seek(0)
        try:
            yield file
        except (DatasetError, MemoryError, ImportError):
            raise
        except Exception as error:  # of a hostile file anything
            raise DatasetError(
                f"{path} must be an intact file of MATLAB 5, got a damaged one "
                f"({' '.join(str(error).split())[:100]}); save it again"
            ) from None
