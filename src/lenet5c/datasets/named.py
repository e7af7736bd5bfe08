"""Named data sets, downloaded into the cache and read from there."""

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import open_regular
from lenet5c._text import is_terminal
from lenet5c.datasets.cache import OFFLINE, cache_folder, is_offline, lock
from lenet5c.datasets.dataset import Dataset, DatasetError, Source
from lenet5c.datasets.download import (
    DownloadError,
    RetryPolicy,
    describe_manual_download,
    fetch,
    is_complete,
)
from lenet5c.datasets.idx import load_idx, read_idx_stream
from lenet5c.datasets.orientation import exchange_axes
from lenet5c.datasets.registry import NamedSet, RemoteFile

#: Maximum bytes of a file in an archive, before and after decompression.
MAX_ZIPPED, MAX_RAW = 512 << 20, 1 << 30
#: Maximum bytes of an archive.
MAX_ARCHIVE = 1 << 30
_RETRY = RetryPolicy()


def load_named(
    named: NamedSet,
    *,
    folder: Path | None = None,
    download: bool = True,
    on_message: Callable[[str], object] | None = None,
    retry: RetryPolicy = _RETRY,
) -> Source:
    """Read a named data set, downloading it first if it is not in the cache.

    `folder` is the cache, by default `cache_folder()`. Downloads are disabled by
    ``LENET5C_OFFLINE=1`` or ``download=False``; `on_message` is called with a line of text before
    each. Raises a DatasetError if the data set cannot be downloaded or is invalid.
    """
    place = get_folder(named, folder)
    if missing := missing_files(named, folder):
        if not download or is_offline():
            why = f"{OFFLINE} is set" if is_offline() else "downloads are disabled"
            others = len(missing) - 1
            more = f", and {others} more files (lenet5c data list {named.name})" if others else ""
            raise DownloadError(
                f"{named.name} must be in {place}, as {why}; allow it and run lenet5c data "
                f"download {named.name}, or {describe_manual_download(missing[0], place)}{more}"
            )
        download_named(named, folder=folder, on_message=on_message, retry=retry)
    return _read(named, place)


def download_named(
    named: NamedSet,
    *,
    folder: Path | None = None,
    on_message: Callable[[str], object] | None = None,
    retry: RetryPolicy = _RETRY,
) -> Path:
    """Download the files of a data set that are not in the cache; return their folder."""
    from tqdm import tqdm

    place = get_folder(named, folder)
    place.mkdir(parents=True, exist_ok=True)
    on_message = on_message or (lambda line: None)
    waiting = f"waiting for another process that is downloading into {place}"
    with lock(place / ".lock", lambda: on_message(waiting)):
        for file in missing_files(named, folder):
            size = f"{'' if file.exact else 'up to '}{file.size / 1e6:.1f} MB"
            host = file.urls[0].split("/")[2]
            on_message(f"downloading {file.name} of {named.name} ({size}) from {host} to {place}")
            with tqdm(
                total=file.size if file.exact else None,
                unit="B",
                unit_scale=True,
                leave=False,
                desc=file.name,
                disable=not is_terminal(sys.stderr),
                dynamic_ncols=True,
            ) as bar:

                def progress(done: int, total: int | None, bar: Any = bar) -> None:
                    bar.total = total or bar.total
                    bar.update(done - bar.n)

                fetch(file, place, progress=progress, retry=retry)
    return place


def get_folder(named: NamedSet, folder: Path | None = None) -> Path:
    """Return the folder of a data set's files in the cache."""
    return (cache_folder() if folder is None else folder) / named.folder


def missing_files(named: NamedSet, folder: Path | None = None) -> list[RemoteFile]:
    """Return the files of a data set that are not in the cache."""
    place = get_folder(named, folder)
    return [file for file in named.files if not is_complete(file, place / file.name)]


def _read(named: NamedSet, place: Path) -> Source:
    if named.archive:
        path = place / named.files[0].name
        try:
            with open_regular(path, MAX_ARCHIVE) as file, zipfile.ZipFile(file) as archive:
                arrays = [_read_member(archive, path, name) for name in named.members]
        except Exception as error:  # a malicious file may raise anything
            if isinstance(error, (DatasetError, MemoryError)) or getattr(error, "filename", None):
                raise
            raise DatasetError(
                f"{path} is not a usable zip file ({error}); delete it and download it again"
            ) from None
    else:
        arrays = [load_idx(place / name) for name in named.members]
    names = named.class_names
    parts = []
    for part, images, labels in zip(("train", "test"), arrays[::2], arrays[1::2], strict=True):
        labels = _check_arrays(named, part, images, labels)
        images = images[:, np.newaxis]
        if named.transposed:
            images = exchange_axes(images)
        parts.append(Dataset(images, labels, len(names), named.name, names))
    return Source(parts[0], parts[1], reading=named.reading)


def _read_member(archive: zipfile.ZipFile, path: Path, name: str) -> NDArray[Any]:
    """Return the IDX file with this name in an archive, without extracting it to disk."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise DatasetError(
            f"{path} must contain {name}; delete the file and download it again"
        ) from None
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DatasetError(f"{path}: {name} must be stored or deflate-compressed; delete the file")
    if info.file_size > MAX_ZIPPED:
        raise DatasetError(
            f"{path}: {name} declares {info.file_size:,} bytes, more than {MAX_ZIPPED:,}; delete it"
        )
    with archive.open(info) as stream:
        return read_idx_stream(stream, f"{path}: {name}", info.file_size, MAX_RAW)


def _check_arrays(
    named: NamedSet, part: str, images: NDArray[Any], labels: NDArray[Any]
) -> NDArray[np.int32]:
    """Return the labels counted from 0 after checking the arrays; QMNIST's have more columns."""
    if images.ndim != 3 or images.dtype != np.uint8 or 0 in images.shape:
        raise DatasetError(
            f"{named.name}: its {part} images must be uint8 of shape (N, H, W), "
            f"got {images.dtype} of shape {images.shape}"
        )
    if labels.ndim == 2 and labels.shape[1]:
        labels = labels[:, 0]
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise DatasetError(
            f"{named.name}: its {part} labels must be {len(images):,} integers, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low - named.first_label <= high - named.first_label < len(named.class_names):
        raise DatasetError(
            f"{named.name}: its {part} labels must belong to {len(named.class_names)} classes, got "
            f"{low} to {high}"
        )
    return labels.astype(np.int32) - named.first_label
