"""Images in files that are read on demand, for data sets larger than memory."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, repeat
from math import prod
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c._files import name_errors, open_regular

#: Minimum bytes of images that stay in the file.
MAPPED = 256 << 20
_BLOCK = 8 << 20  # bytes in memory at a time
# A range of the file is read in one call if at least one in this many of its images is used.
_SPARSEST = 4

Batch = NDArray[np.uint8]


def _seek_and_read(descriptor: int, buffers: Sequence[Batch], place: int) -> int:
    """Read into a buffer like `os.preadv`, which does not exist on Windows."""
    (buffer,) = buffers
    with _SEEKING:
        os.lseek(descriptor, place, os.SEEK_SET)
        content = os.read(descriptor, min(len(buffer), _BLOCK))
    buffer[: len(content)] = np.frombuffer(content, np.uint8)
    return len(content)


_SEEKING = threading.Lock()
_preadv = getattr(os, "preadv", _seek_and_read)


class _File:
    """An open file that any thread can read at any offset; closed with its last user."""

    def __init__(self, path: Path) -> None:
        with open_regular(path) as file:
            self.size = os.fstat(file.fileno()).st_size
            self.descriptor = os.dup(file.fileno())

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def read(self, into: Batch, place: int) -> int:
        """Fill a row of bytes from an offset; return the number of bytes read."""
        done = 0
        while count := _preadv(self.descriptor, [into[done:]], place + done):
            done += count
        return done

    def read_each(self, into: Batch, places: list[int]) -> int:
        """Fill each row of bytes from its offset; return the number of bytes read."""
        return sum(map(_preadv, repeat(self.descriptor), zip(into), places))


class _Block(threading.Thread):
    """Images read by a thread."""

    def __init__(self, images: MappedImages, index: NDArray[np.integer]) -> None:
        super().__init__(daemon=True)
        self.images, self.index = images, index
        self.result: Batch | Exception = np.empty(0, np.uint8)
        self.start()

    def run(self) -> None:
        try:
            self.result = self.images[self.index]
        except Exception as error:
            self.result = error

    def wait(self) -> Batch:
        """Return the images, or raise the error of the read."""
        self.join()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class _Queue:
    """Images in a known order, prefetched one block ahead."""

    def __init__(self, images: MappedImages, order: NDArray[np.integer]) -> None:
        self.images, self.order = images, order
        self.handed_out = self.begun = 0
        self.left = images[:0]
        self.block = self._begin()

    def _begin(self) -> _Block:
        start, self.begun = self.begun, self.begun + _count(self.images)
        return _Block(self.images, self.order[start : self.begun])

    def get(self, index: NDArray[np.integer]) -> Batch | None:
        """Return the images at an index if they are next in order."""
        end = self.handed_out + len(index)
        if not np.array_equal(self.order[self.handed_out : end], index):
            return None
        parts = []
        while len(index):
            if not len(self.left):
                self.left = self.block.wait()
                self.block = self._begin()
            parts.append(self.left[: len(index)])
            index, self.left = index[len(parts[-1]) :], self.left[len(index) :]
        self.handed_out = end
        return parts[0] if len(parts) == 1 else np.concatenate([self.images[:0], *parts])


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Images in a file, read when they are indexed.

    An array-like of uint8 (N, C, H, W) with `shape`, `dtype`, `ndim`, `size` and a length; an
    index, a slice, a mask or an array of indices returns an array. `take`, `apply` and `join` do
    not read anything. Threads may share it.

    Parameters
    ----------
    path : Path
    offset : int
        Offset of the first image in bytes.
    count : int
        Number of images in the file.
    stored : tuple of int
        Shape of an image in the file.
    stored_dtype : dtype
        Dtype in the file; `apply` converts values to bytes.
    """

    path: Path
    offset: int
    count: int
    stored: tuple[int, ...]
    stored_dtype: Any = np.uint8
    index: NDArray[np.integer] | None = None  #: selected images; None for all, in order
    steps: tuple[Callable[[Batch], Batch], ...] = ()  #: functions of a batch (M, *stored)
    others: Batch | None = None  #: converted images in memory that follow those in the file
    file: _File = None  # type: ignore[assignment]  # set from the path
    shape: tuple[Any, ...] = field(init=False)  #: (N, C, H, W)
    dtype: np.dtype[Any] = field(init=False)
    queue: list[_Queue] = field(init=False)  #: created by `expect`

    def __post_init__(self) -> None:
        if self.file is None:
            object.__setattr__(self, "file", _File(self.path))
        needed = self.offset + self.count * self._stride
        if self.file.size < needed:
            why = f"it has {self.file.size:,} bytes, fewer than the {needed:,} that its images need"
            raise OSError(errno.EIO, why, str(self.path))
        probe = self._convert(np.zeros((1, *self.stored), self.stored_dtype))
        object.__setattr__(self, "shape", (len(self), *probe.shape[1:]))
        object.__setattr__(self, "dtype", probe.dtype)
        object.__setattr__(self, "queue", [])

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return prod(self.shape)

    @property
    def _stride(self) -> int:
        return prod(self.stored) * np.dtype(self.stored_dtype).itemsize

    def __len__(self) -> int:
        return self._all if self.index is None else len(self.index)

    @property
    def _all(self) -> int:
        """Number of images before selection."""
        return self.count + (0 if self.others is None else len(self.others))

    def take(self, index: slice | ArrayLike) -> MappedImages:
        """Select images without reading them; an index takes 4 bytes per image."""
        places = self._places(index)
        small = np.int32 if self._all < 2**31 else np.int64
        return replace(self, index=places.astype(small))

    def apply(self, function: Callable[[Batch], Batch]) -> MappedImages:
        """Return images to which `function`, of any batch, is applied when they are read."""
        others = None if self.others is None else function(self.others)
        return replace(self, steps=(*self.steps, function), others=others)

    def join(self, others: Batch) -> MappedImages:
        """Append images in memory."""
        added = np.arange(self._all, self._all + len(others))
        whole = others if self.others is None else np.concatenate([self.others, others])
        joined = replace(self, index=None, others=whole)
        return joined if self.index is None else joined.take(np.concatenate([self.index, added]))

    def expect(self, order: NDArray[np.integer]) -> None:
        """Prefetch images in this order in a thread, a few megabytes ahead.

        Indexing in this order returns prefetched images; other images are read as usual.
        """
        # Another object with the same file and no queue.
        self.queue[:] = [_Queue(replace(self), order)] if len(order) else []

    def __getitem__(self, index: Any) -> Batch:
        if isinstance(index, (int, np.integer)):
            return self[np.array([index])][0]
        if self.queue and isinstance(index, np.ndarray):
            images = self.queue[0].get(index)
            if images is not None:
                return images
        places = self._places(index)
        if self.others is None:
            return self._convert(self._read(places))
        images = np.empty((len(places), *self.shape[1:]), self.dtype)
        of_file = places < self.count
        images[of_file] = self._convert(self._read(places[of_file]))
        images[~of_file] = self.others[places[~of_file] - self.count]
        return images

    def __iter__(self) -> Iterator[Batch]:
        return (image for block in blocks(self) for image in block)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("copy must be True or None for images in a file, got False")
        images = np.empty(self.shape, self.dtype)
        start = 0
        for block in blocks(self):
            images[start : start + len(block)] = block
            start += len(block)
        return images if dtype is None else images.astype(dtype, copy=False)

    def _places(self, index: Any) -> NDArray[np.integer]:
        """Return the positions in the file for an index."""
        count = len(self)
        if isinstance(index, slice):
            places = np.arange(*index.indices(count))
        else:
            places = np.asarray(index)
            if places.dtype == bool and places.shape == (count,):
                places = np.flatnonzero(places)
            if places.ndim != 1 or (places.size and places.dtype.kind not in "iu"):
                raise IndexError(
                    "index must be an int, a slice, a mask or a one-dimensional array of integers, "
                    f"got {places.dtype} {places.shape}"
                )
            places = places.astype(np.int64, copy=False)
            if len(places) and not -count <= places.min() <= places.max() < count:
                raise IndexError(
                    f"index must be from {-count} to {count - 1}, got {places.min()} to "
                    f"{places.max()}"
                )
            if len(places) and places.min() < 0:
                places = np.where(places < 0, places + count, places)
        return places if self.index is None else self.index[places]

    def _read(self, places: NDArray[np.integer]) -> Batch:
        """Read the images at these positions in the file, (M, *stored)."""
        size = self._stride
        if not len(places):
            return np.empty((0, *self.stored), self.stored_dtype)
        first, last = int(places.min()), int(places.max())
        stretch = last + 1 - first
        sparse = stretch > _SPARSEST * len(places)
        content = np.empty((len(places) if sparse else stretch, size), np.uint8)
        with name_errors(self.path):
            if sparse:
                starts = self.offset + places.astype(np.int64) * size
                count = self.file.read_each(content, starts.tolist())
            else:
                count = self.file.read(content.reshape(-1), self.offset + first * size)
        if count != content.size:
            raise OSError(errno.EIO, "it has changed since it was opened", str(self.path))
        images = content.view(self.stored_dtype).reshape(-1, *self.stored)
        in_order = len(images) == len(places) and (sparse or (np.diff(places) == 1).all())
        return images if in_order else images[places - first]

    def _convert(self, images: Batch) -> Batch:
        for step in self.steps:
            images = step(images)
        return images


Images = Batch | MappedImages
AnyImages = TypeVar("AnyImages", bound=Images)


def count_at_hand(images: Images) -> int:
    """Return the number of images to process at once: all in memory, some of those in a file."""
    return _count(images) if isinstance(images, MappedImages) else len(images)


def blocks(images: Images) -> Iterator[Batch]:
    """Yield blocks of images of a few megabytes.

    Blocks have nearly the same length, to avoid a small last block, which a net would process one
    image at a time.
    """
    parts = max(1, -(-len(images) // _count(images)))
    ends = [len(images) * i // parts for i in range(parts + 1)]
    for start, end in pairwise(ends):
        yield images[start:end]


def take(images: Images, index: Any) -> Images:
    """Return the images at these indices; images in a file stay there."""
    return images.take(index) if isinstance(images, MappedImages) else images[index]


def apply(images: AnyImages, function: Callable[[Batch], Batch]) -> AnyImages:
    """Apply a function to images, lazily if they are in a file."""
    if isinstance(images, MappedImages):
        return cast(AnyImages, images.apply(function))
    return cast(AnyImages, function(cast(Batch, images)))


def join(images: Images, others: Images) -> Images:
    """Concatenate images; the first ones stay in their file, if any.

    The others are read into memory, so they should be few.
    """
    if isinstance(images, MappedImages):
        return images.join(np.asarray(others))
    return np.concatenate([images, np.asarray(others)])


def expect(images: Images, order: NDArray[np.integer]) -> None:
    """Prefetch images from a file in the order of their use."""
    if isinstance(images, MappedImages):
        images.expect(order)


def _count(images: Images) -> int:
    """Return the number of images in a few megabytes, at least 16."""
    return max(16, _BLOCK // max(1, prod(images.shape[1:])))
