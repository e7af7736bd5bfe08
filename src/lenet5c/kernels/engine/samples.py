"""The samples of a batch, passed as one object from the training loop to the tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.kernels.arrays import contiguous, rows
from lenet5c.kernels.ops._distort import Warp


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of one or several batches: stored arrays, conversion and augmentation.

    Parameters
    ----------
    images : ndarray (M, ...) of float32, or of uint8
        uint8 images are converted to ``images * scale + offset`` in float32 before they enter a
        model.
    index : ndarray of int (N,), optional
        Indices of the images in the batch; by default all of them, in order.
    scale : float
    offset : ndarray of float32 (...), optional
        A value for each pixel; required for uint8.
    distortion : lenet5c.datasets.EpochDistortion, optional
        Distortion of uint8 images, applied before they are scaled.
    numbers : ndarray of int (M,), optional
        The number of each image, from which its distortion is drawn; its index in `images` by
        default.

    Raises
    ------
    TypeError, ValueError, IndexError
        An array is invalid; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.nn import Samples
    >>> images, offset = np.full((5, 1, 2, 2), 255, np.uint8), np.full((1, 2, 2), -1, np.float32)
    >>> batch = Samples(images, [3, 0], scale=2 / 255, offset=offset)
    >>> len(batch), batch.shape, batch.values().max()
    (2, (1, 2, 2), np.float32(1.0))
    """

    images: NDArray[Any]
    index: NDArray[np.int64] | None = None
    scale: float = 1.0
    offset: NDArray[np.float32] | None = None
    distortion: Any = None
    numbers: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        images, index, offset = self.images, self.index, self.offset
        if (
            not isinstance(images, np.ndarray)
            or images.dtype not in (np.float32, np.uint8)
            or images.ndim < 2
        ):
            found = type(images).__name__
            if isinstance(images, np.ndarray):
                found = f"{images.dtype} {images.shape}"
            raise TypeError(
                "samples must be an array (N, ...) of float32, or of uint8 with an offset, "
                f"got {found}"
            )
        size = 0 if offset is None else np.size(offset)
        if images.dtype == np.uint8 and size != np.prod(images.shape[1:]):
            raise ValueError(
                f"offset must have a value for each pixel, {images.shape[1:]}, for samples of "
                f"uint8, got {None if offset is None else np.shape(offset)}"
            )
        if self.numbers is not None:
            numbers = _integers("numbers", self.numbers)
            if len(numbers) != len(images):
                raise ValueError(
                    f"numbers must have length {len(images)}, one for each image, got "
                    f"{len(numbers)}"
                )
            object.__setattr__(self, "numbers", numbers)
        if index is not None:
            index = _integers("index", index)
            if len(index) and not 0 <= index.min() <= index.max() < len(images):
                raise IndexError(
                    f"index must be from 0 to {len(images) - 1}, as there are {len(images)} "
                    f"samples, got {index.min()} to {index.max()}"
                )
        self._check_distortion()
        object.__setattr__(self, "index", index)
        if offset is not None:
            object.__setattr__(self, "offset", contiguous(offset, np.float32).reshape(-1))

    def _check_distortion(self) -> None:
        distortion, images = self.distortion, self.images
        if distortion is None:
            return
        if not (
            isinstance(getattr(distortion, "warp", None), Warp) and hasattr(distortion, "stream")
        ):
            raise TypeError(
                "distortion must be the return value of Distortion.for_epoch(seed, epoch), got a "
                f"{type(distortion).__name__}"
            )
        if images.dtype != np.uint8 or images.ndim != 4:
            raise TypeError(
                "samples must be images (N, C, H, W) of uint8 to be distorted, got "
                f"{images.dtype} {images.shape}"
            )

    def __len__(self) -> int:
        return len(self.images if self.index is None else self.index)

    def __getitem__(self, batch: Any) -> Samples:
        """Return the samples selected by an index."""
        index = np.arange(len(self.images)) if self.index is None else self.index
        return replace(self, index=index[batch])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.images.shape[1:]

    @property
    def rows(self) -> NDArray[Any]:
        """All images as rows (M, size), contiguous."""
        return rows(self.images)

    def values(self) -> NDArray[np.float32]:
        """Return the batch in float32, with the same operations as compiled code."""
        if self.distortion is not None:
            batch = self.distortion(self.images, self.index, self.numbers)
        else:
            batch = self.images if self.index is None else self.images[self.index]
        if self.offset is not None and self.images.dtype == np.uint8:
            # Two operations: each rounds to float32, as in compiled code.
            batch = np.multiply(batch, np.float32(self.scale), dtype=np.float32, order="C")
            batch += self.offset.reshape(self.shape)
        return batch


def _integers(name: str, values: Any) -> NDArray[np.int64]:
    row = np.asarray(values)
    if row.ndim != 1 or row.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be a one-dimensional array of integers, got {row.dtype} {row.shape}"
        )
    return contiguous(row, np.int64)
