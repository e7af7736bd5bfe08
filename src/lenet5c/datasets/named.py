"""Data sets with a name: fetched into the cache, and read from there."""

import sys
import zipfile
import zlib

import numpy as np

from lenet5c.datasets.cache import OFFLINE, cache_folder, is_offline, locked
from lenet5c.datasets.dataset import Dataset, DatasetError
from lenet5c.datasets.download import DownloadError, Patience, by_hand, fetch, is_complete
from lenet5c.datasets.idx import load_idx, read_idx_stream
from lenet5c.datasets.source import Source

#: Bytes of a file in an archive, at most, before and after it is unzipped.
MOST_ZIPPED, MOST_RAW = 512 << 20, 1 << 30


def load_named(named, *, folder=None, download=True, tell=None, patience=Patience()):
    """Read a data set with a name; fetch it first where it is not in the cache.

    Parameters
    ----------
    named : lenet5c.datasets.registry.NamedSet
    folder : Path, optional
        The cache, by default `lenet5c.datasets.cache.cache_folder`.
    download : bool, optional
        Whether it may be fetched. ``LENET5C_OFFLINE=1`` forbids it as well.
    tell : callable, optional
        Called with a line of text before a download.
    patience : Patience, optional

    Returns
    -------
    Source

    Raises
    ------
    DatasetError
        It is not there and cannot be fetched, or is no such data set.
    """
    place = place_of(named, folder)
    if missing := missing_files(named, folder):
        if not download or is_offline():
            why = f"{OFFLINE} is set" if is_offline() else "downloads are off"
            more = (
                f", and {len(missing) - 1} more files (lenet5c data list {named.name})"
                if len(missing) > 1
                else ""
            )
            raise DownloadError(
                f"{named.name} is not in {place}, and {why}: allow it and run lenet5c data download {named.name}, or "
                f"{by_hand(missing[0], place)}{more}"
            )
        download_named(named, folder=folder, tell=tell, patience=patience)
    return _read(named, place)


def download_named(named, *, folder=None, tell=None, patience=Patience()):
    """Fetch the files of a data set that are not in the cache. Returns the folder that they are in."""
    place = place_of(named, folder)
    place.mkdir(parents=True, exist_ok=True)
    tell = tell or (lambda line: None)
    waiting = f"another process downloads into {place}; waiting for it"
    with locked(place / ".lock", lambda: tell(waiting)):
        for file in missing_files(named, folder):
            size = f"{'' if file.exact else 'up to '}{file.size / 1e6:.1f} MB"
            tell(
                f"downloading {file.name} of {named.name} ({size}) from {file.urls[0].split('/')[2]} to {place}"
            )
            with _Bar(file) as bar:
                fetch(file, place, progress=bar.update, patience=patience)
    return place


def place_of(named, folder=None):
    """Path : The folder in the cache that a data set's files are in."""
    return (cache_folder() if folder is None else folder) / named.folder


def missing_files(named, folder=None):
    """The files of a data set that are not in the cache."""
    place = place_of(named, folder)
    return [file for file in named.files if not is_complete(file, place / file.name)]


class _Bar:
    """A progress bar, on a terminal only."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        from tqdm import tqdm

        self.bar = tqdm(
            total=self.file.size if self.file.exact else None,
            unit="B",
            unit_scale=True,
            leave=False,
            desc=self.file.name,
            disable=sys.stderr is None or not sys.stderr.isatty(),
            dynamic_ncols=True,
        )
        return self

    def update(self, done, total):
        if total is not None:
            self.bar.total = total
        self.bar.update(done - self.bar.n)

    def __exit__(self, *_):
        self.bar.close()


def _read(named, place):
    if named.archive:
        path = place / named.files[0].name
        try:
            with zipfile.ZipFile(path) as archive:
                arrays = [_member(archive, path, name) for name in named.members]
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            raise DatasetError(
                f"{path} is no usable zip file ({error}); delete it and download it again"
            ) from None
    else:
        arrays = [load_idx(place / name) for name in named.members]
    parts = []
    for i, part in enumerate(("train", "test")):
        images, labels = _checked(named, part, *arrays[2 * i : 2 * i + 2])
        if named.transposed:
            _transpose(images)
        parts.append(
            Dataset(
                images[:, np.newaxis], labels, len(named.class_names), named.name, named.class_names
            )
        )
    return Source(*parts, None, named.reading)


def _member(archive, path, name):
    """The IDX file of this name in an archive; nothing is unpacked to the disk."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise DatasetError(f"{path} has no {name}; delete it and download it again") from None
    if info.file_size > MOST_ZIPPED:
        raise DatasetError(
            f"{path}: {name} declares {info.file_size:,} bytes, more than {MOST_ZIPPED:,}; delete it"
        )
    with archive.open(info) as stream:
        return read_idx_stream(stream, f"{path}: {name}", info.file_size, MOST_RAW)


def _checked(named, part, images, labels):
    """uint8 images (N, H, W) and int32 labels (N,), counted from 0; QMNIST's labels have further columns."""
    if images.ndim != 3 or images.dtype != np.uint8 or 0 in images.shape:
        raise DatasetError(
            f"{named.name}: its {part} images are {images.dtype} of shape {images.shape}, not images"
        )
    if labels.ndim == 2 and labels.shape[1]:
        labels = labels[:, 0]
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise DatasetError(
            f"{named.name}: its {part} labels are {labels.dtype} of shape {labels.shape}, for {len(images):,} images"
        )
    labels = labels.astype(np.int32) - named.first_label
    if labels.min() < 0 or labels.max() >= len(named.class_names):
        raise DatasetError(
            f"{named.name}: its {part} labels are not those of {len(named.class_names)} classes"
        )
    return images, labels


def _transpose(images):
    """Exchange rows and columns, in place, as the larger sets take half a gigabyte."""
    for start in range(0, len(images), 4096):
        part = images[start : start + 4096]
        part[:] = part.transpose(0, 2, 1).copy()
