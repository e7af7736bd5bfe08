"""Images that stay in their file and are read where they are used, for sets larger than memory."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import repeat
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c._files import name_errors, open_regular

#: Bytes of images from which on they stay in the file.
MAPPED = 256 << 20
_BLOCK = 8 << 20  # bytes that are read or computed at a time
# A stretch of the file is read at once if at least one in so many of its images is wanted.
_SPARSEST = 4

Batch = NDArray[np.uint8]


class _File:
    """An open file, to read at any place from any thread; closed with its last user."""

    def __init__(self, path: Path) -> None:
        with open_regular(path) as file:
            self.size = os.fstat(file.fileno()).st_size
            self.descriptor = os.dup(file.fileno())
        self.lock = threading.Lock()

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def read_each(self, size: int, places: list[int]) -> bytearray:
        """Return `size` bytes from each place."""
        if sys.platform != "win32":
            return bytearray().join(map(os.pread, repeat(self.descriptor), repeat(size), places))
        with self.lock:
            return bytearray().join(self._read_from(size, place) for place in places)

    def _read_from(self, size: int, place: int) -> bytes:
        os.lseek(self.descriptor, place, os.SEEK_SET)
        return os.read(self.descriptor, size)


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Images in a file, read when they are indexed.

    Stands for an array of uint8 (N, C, H, W): it has `shape`, `dtype`, `ndim`, `size` and a
    length, and an index, a slice, a mask or an array of indices gives an array. `take` and `apply`
    read nothing. What is read depends on the index alone, so threads may share it.

    Parameters
    ----------
    path : Path
    offset : int
        Bytes before the first image.
    count : int
        Images in the file.
    stored : tuple of int
        Shape of an image there.
    """

    path: Path
    offset: int
    count: int
    stored: tuple[int, ...]
    index: NDArray[np.integer] | None = None  #: the images taken; None for all, in order
    steps: tuple[Callable[[Batch], Batch], ...] = ()  #: functions of a batch (M, *stored)
    file: _File = None  # type: ignore[assignment]  # that of the path
    shape: tuple[int, ...] = field(init=False)  #: (N, C, H, W)

    def __post_init__(self) -> None:
        if self.file is None:
            object.__setattr__(self, "file", _File(self.path))
        needed = self.offset + self.count * prod(self.stored)
        if self.file.size < needed:
            why = f"it has {self.file.size:,} bytes, fewer than the {needed:,} of its images"
            raise OSError(errno.EIO, why, str(self.path))
        shape = self._convert(np.empty((0, *self.stored), np.uint8)).shape[1:]
        object.__setattr__(self, "shape", (len(self), *shape))

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """That of the images: uint8."""
        return np.dtype(np.uint8)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return prod(self.shape)

    def __len__(self) -> int:
        return self.count if self.index is None else len(self.index)

    def take(self, index: slice | ArrayLike) -> MappedImages:
        """Return the images at these places, unread; an index takes 4 bytes an image."""
        places = self._places(index)
        small = np.int32 if self.count < 2**31 else np.int64
        return replace(self, index=places.astype(small))

    def apply(self, function: Callable[[Batch], Batch]) -> MappedImages:
        """Return images that `function`, of a batch of any length, converts once they are read."""
        return replace(self, steps=(*self.steps, function))

    def __getitem__(self, index: Any) -> Batch:
        if isinstance(index, (int, np.integer)):
            return self[np.array([index])][0]
        return self._convert(self._read(self._places(index)))

    def __iter__(self) -> Iterator[Batch]:
        return (image for block in blocks(self) for image in block)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("copy must not be False: the images are in a file")
        images = np.empty(self.shape, np.uint8)
        start = 0
        for block in blocks(self):
            images[start : start + len(block)] = block
            start += len(block)
        return images if dtype is None else images.astype(dtype, copy=False)

    def _places(self, index: Any) -> NDArray[np.integer]:
        """Return the places in the file of what an index means."""
        count = len(self)
        if isinstance(index, slice):
            places = np.arange(*index.indices(count))
        else:
            places = np.asarray(index)
            if places.dtype == bool and places.shape == (count,):
                places = np.flatnonzero(places)
            if places.ndim != 1 or (places.size and places.dtype.kind not in "iu"):
                raise IndexError(
                    "index must be an int, a slice, a mask or one row of integers, got "
                    f"{places.dtype} {places.shape}"
                )
            places = places.astype(np.int64, copy=False)
            if len(places) and not -count <= places.min() <= places.max() < count:
                raise IndexError(
                    f"index must be within {-count} to {count - 1}, got {places.min()} to "
                    f"{places.max()}"
                )
            if len(places) and places.min() < 0:
                places = np.where(places < 0, places + count, places)
        return places if self.index is None else self.index[places]

    def _read(self, places: NDArray[np.integer]) -> Batch:
        """Return the images at these places in the file, (M, *stored)."""
        size = prod(self.stored)
        if not len(places):
            return np.empty((0, *self.stored), np.uint8)
        first, last = int(places.min()), int(places.max())
        stretch = last + 1 - first
        with name_errors(self.path):
            if stretch > _SPARSEST * len(places):
                starts = self.offset + places.astype(np.int64) * size
                content = self.file.read_each(size, starts.tolist())
                wanted = len(places)
            else:
                start, end = self.offset + first * size, self.offset + (last + 1) * size
                most = range(start, end - _BLOCK, _BLOCK)
                content = self.file.read_each(_BLOCK, list(most))
                rest = start + len(most) * _BLOCK
                content += self.file.read_each(end - rest, [rest])
                wanted = stretch
        if len(content) != wanted * size:
            why = "it has changed since it was opened"
            raise OSError(errno.EIO, why, str(self.path))
        images = np.frombuffer(content, np.uint8).reshape(wanted, *self.stored)
        if wanted == len(places) and (stretch > wanted or (np.diff(places) == 1).all()):
            return images
        return images[places - first]

    def _convert(self, images: Batch) -> Batch:
        for step in self.steps:
            images = step(images)
        return images


Images = Batch | MappedImages


def blocks(images: Images) -> Iterator[Batch]:
    """Yield images one after the other in arrays of some megabytes."""
    count = max(1, _BLOCK // max(1, prod(images.shape[1:])))
    for start in range(0, len(images), count):
        yield images[start : start + count]


def bounds(images: Images, most: int = _BLOCK) -> list[int]:
    """Return the bounds of parts of nearly equal length, of at most some megabytes, or 16 images.

    Of equal length, as a few images by themselves may go through a net in another way.
    """
    count = max(16, most // max(1, prod(images.shape[1:])))
    parts = max(1, -(-len(images) // count))
    return [len(images) * i // parts for i in range(parts + 1)]


def take(images: Images, index: Any) -> Images:
    """Return the images at these places; those in a file stay there."""
    return images.take(index) if isinstance(images, MappedImages) else images[index]


def apply(images: Images, function: Callable[[Batch], Batch]) -> Images:
    """Return what a function makes of each image; of those in a file once they are read."""
    return images.apply(function) if isinstance(images, MappedImages) else function(images)
