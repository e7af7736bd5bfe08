"""Labeled images, splits, and the data of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.datasets._checks import check_images
from lenet5c.datasets.mapped import MappedImages, take
from lenet5c.errors import UserError

READINGS = ("ink", "whole")


class DatasetError(UserError):
    """Raised when data on disk cannot be used; the message has the file, reason and remedy."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labeled images.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, C, H, W), or MappedImages
        At least one image. Not copied if C-contiguous or in a file.
    labels : ndarray of int, shape (N,)
        Class of each image, 0 to ``num_classes - 1``. Stored as int32.
    num_classes : int
        Number of classes; not all of them need to occur.
    name : str, optional
        Name of the data in reports.
    class_names : tuple of str, optional
        One name per class. Default: the class numbers, ``('0', '1', ...)``.
    ids : tuple of str, optional
        Origin of each image: its file, relative to `root`, or its id in a table.
    root : Path, optional
        Folder of the files.
    sample_weight : ndarray of float32, shape (N,), optional
        Weight of each image in the loss, at least 0 and not all 0.
    targets : ndarray of float32, shape (N, num_classes), optional
        Soft targets: probabilities used instead of the labels, which are the most probable classes.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import Dataset
    >>> data = Dataset(np.zeros((10, 1, 28, 28), np.uint8), np.arange(10), num_classes=10)
    >>> rest, held_out = data.split(0.2, seed=0)
    >>> len(rest), len(held_out)
    (8, 2)
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.integer]
    num_classes: int
    name: str = ""
    class_names: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None
    root: Path | None = None
    sample_weight: NDArray[np.float32] | None = None
    targets: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        check_images(self.images, empty=False)
        num_classes = _check_num_classes(self.num_classes)
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a str, got {self.name!r}")
        # A frozen dataclass sets its fields this way.
        put = object.__setattr__
        if not isinstance(self.images, MappedImages):
            put(self, "images", np.ascontiguousarray(self.images))
        put(self, "labels", _check_labels(self.labels, len(self.images), num_classes))
        put(self, "num_classes", num_classes)
        put(self, "class_names", _check_class_names(self.class_names, num_classes))
        put(self, "ids", _check_ids(self.ids, len(self.images)))
        count = len(self.images)
        for name, shape in (("sample_weight", (count,)), ("targets", (count, num_classes))):
            put(self, name, _check_weights(name, getattr(self, name), shape))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"<Dataset {self.name!r}: {len(self)} images of shape {self.images.shape[1:]}, "
            f"{self.num_classes} classes>"
        )

    def describe(self, index: int) -> str:
        """Return the origin of an image: its file or id, or else its position."""
        return f"[{index}]" if self.ids is None else self.ids[index]

    def take(self, indices: ArrayLike) -> Dataset:
        """Return a copy of the images and labels at `indices`, in that order.

        Images in a file stay there.

        Parameters
        ----------
        indices : array_like of int, shape (M,)
            Positions 0 to N - 1, at least one; repeats are allowed.

        Raises
        ------
        ValueError
            If `indices` is empty, not one-dimensional or not of integers.
        IndexError
            If an index lies outside 0 to N - 1.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet5c.datasets import Dataset
        >>> data = Dataset(np.zeros((3, 1, 2, 2), np.uint8), np.array([7, 8, 9]), num_classes=10)
        >>> data.take([2, 0]).labels
        array([9, 7], dtype=int32)
        """
        indices = np.asarray(indices)
        if indices.ndim != 1 or indices.size == 0 or indices.dtype.kind not in "iu":
            raise ValueError(
                "indices must be a one-dimensional, non-empty sequence of integers, "
                f"got shape {indices.shape} of {indices.dtype}"
            )
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= len(self):
            wrong = low if low < 0 else high
            raise IndexError(f"indices must be from 0 to {len(self) - 1}, got {wrong}")
        return self._pick(indices)

    def split(
        self, count_or_fraction: float, seed: int | np.random.Generator, *, stratify: bool = False
    ) -> tuple[Dataset, Dataset]:
        """Split at random into two disjoint data sets.

        Parameters
        ----------
        count_or_fraction : int or float
            Size of the held-out part: a count, 1 to N - 1, or a fraction between 0 and 1, rounded
            to the nearest count.
        seed : int or numpy.random.Generator
            The same seed gives the same split on every machine.
        stratify : bool, optional
            Hold out the same fraction of each class, to within one image.

        Returns
        -------
        rest, held_out : Dataset
            Each in the original order.

        Raises
        ------
        TypeError, ValueError
            If the size or the seed is invalid.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet5c.datasets import Dataset
        >>> data = Dataset(np.zeros((6, 1, 2, 2), np.uint8), np.array([0, 0, 0, 0, 1, 1]), 2)
        >>> rest, held_out = data.split(3, seed=1, stratify=True)
        >>> held_out.labels
        array([0, 0, 1], dtype=int32)
        """
        count = self._count_held_out("count_or_fraction", count_or_fraction)
        if seed is None:
            raise TypeError(
                "seed must be an int or a numpy.random.Generator, got None; pass a seed so that "
                "the split can be repeated"
            )
        whole = isinstance(seed, Integral) and not isinstance(seed, bool)
        if not (whole or isinstance(seed, np.random.Generator)):
            raise TypeError(f"seed must be an int or a numpy.random.Generator, got {seed!r:.40}")
        if not isinstance(seed, np.random.Generator) and int(seed) < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        # Uniform doubles come straight from the bit generator; the algorithms behind permutation()
        # and shuffle() may change between NumPy releases.
        order = np.argsort(np.random.default_rng(seed).random(len(self)), kind="stable")
        held_out = np.zeros(len(self), dtype=bool)
        held_out[self._stratify(order, count) if stratify else order[:count]] = True
        return self.take(np.flatnonzero(~held_out)), self.take(np.flatnonzero(held_out))

    def split_last(self, count: int) -> tuple[Dataset, Dataset]:
        """Split off the last `count` images.

        Parameters
        ----------
        count : int
            Size of the second part, 1 to N - 1.

        Returns
        -------
        rest, last : Dataset
            Views of this data set's arrays: nothing is copied.

        Raises
        ------
        TypeError, ValueError
            If `count` is invalid.

        Examples
        --------
        >>> from lenet5c.datasets import mnist
        >>> train, test = mnist()
        >>> [len(part) for part in train.split_last(1000)]
        [59000, 1000]
        """
        if isinstance(count, bool) or not isinstance(count, Integral):
            raise TypeError(f"count must be an int, got {count!r}")
        start = len(self) - self._count_held_out("count", count)
        return self._pick(slice(start)), self._pick(slice(start, None))

    def _pick(self, which: NDArray[np.integer] | slice) -> Dataset:
        """Return some of the images with their labels and other data."""
        ids = self.ids
        if ids is not None:
            ids = ids[which] if isinstance(which, slice) else tuple(ids[i] for i in which.tolist())
        arrays = {
            name: None if (array := getattr(self, name)) is None else array[which]
            for name in ("labels", "sample_weight", "targets")
        }
        return replace(self, images=take(self.images, which), ids=ids, **arrays)  # type: ignore[arg-type]

    def _count_held_out(self, name: str, value: float) -> int:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be an int or a float, got {value!r}")
        if isinstance(value, Integral):
            count = int(value)
        elif 0 < value < 1:
            count = int(float(value) * len(self) + 0.5)
        else:
            raise ValueError(f"{name} must be an int, or a fraction between 0 and 1, got {value!r}")
        if not 0 < count < len(self):
            raise ValueError(
                f"{name} must leave an image in each part, from 1 to {len(self) - 1} of "
                f"{len(self)}, got {count} (from {value!r})"
            )
        return count

    def _stratify(self, order: NDArray[np.intp], count: int) -> NDArray[np.intp]:
        """Select `count` entries of `order`, stratified by the largest remainder method."""
        per_class = np.bincount(self.labels, minlength=self.num_classes)
        share, remainder = np.divmod(count * per_class.astype(np.int64), len(self))
        # The remainder is distributed, but one image of each class is left.
        last = per_class - share <= 1
        share[np.lexsort((-remainder, last))[: count - share.sum()]] += 1
        labels = self.labels[order]
        return np.concatenate([order[labels == c][:k] for c, k in enumerate(share) if k])


@dataclass(frozen=True, eq=False)
class Source:
    """The data sets of a run.

    Attributes
    ----------
    train, test : Dataset
    validation : Dataset or None
        Validation set, if the data has one.
    reading : {'ink', 'whole'}
        Conversion of a picture to such an image: the ink, cropped and centered on black like
        MNIST's digits, or the whole picture, resized.
    notes : tuple of str
        Remarks for the user, such as the files that were skipped.
    white : dict of str to float
        Gray level of white in pictures of more than eight bits (see `read_picture`) or in arrays of
        other types than bytes, and of 'black' if it is not 0.
    """

    train: Dataset
    test: Dataset
    validation: Dataset | None = None
    reading: str = "ink"
    notes: tuple[str, ...] = ()
    white: Mapping[str, float] = field(default_factory=dict)


def _check_num_classes(num_classes: int) -> int:
    if isinstance(num_classes, bool) or not isinstance(num_classes, Integral):
        raise TypeError(f"num_classes must be an int, got {num_classes!r}")
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    return int(num_classes)


def _check_labels(labels: NDArray[np.integer], count: int, num_classes: int) -> NDArray[np.int32]:
    if not isinstance(labels, np.ndarray):
        raise TypeError(f"labels must be a NumPy array, got {type(labels).__name__}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.shape != (count,):
        raise ValueError(
            f"labels must have shape ({count},), one for each image, got {labels.shape}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise ValueError(
            f"labels must be from 0 to num_classes - 1, {num_classes - 1}, got {wrong}"
        )
    return np.require(labels, np.int32, ("C", "A"))


def _check_class_names(names: tuple[str, ...], num_classes: int) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"class_names must be a tuple of str, got the str {names!r}")
    if not isinstance(names, (tuple, list)):
        raise TypeError(f"class_names must be a tuple of str, got {names!r:.40}")
    names = tuple(names) or tuple(str(c) for c in range(num_classes))
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names must be a tuple of str, got {names!r}")
    if len(names) != num_classes:
        raise ValueError(f"class_names must have {num_classes} names, got {len(names)}")
    return names


def _check_ids(ids: tuple[str, ...] | None, count: int) -> tuple[str, ...] | None:
    if ids is None:
        return None
    if not isinstance(ids, (tuple, list)) or not all(isinstance(each, str) for each in ids):
        raise TypeError(f"ids must be a tuple of str, got {ids!r:.40}")
    if len(ids) != count:
        raise ValueError(f"ids must have length {count}, one for each image, got {len(ids)}")
    return tuple(ids)


def _check_weights(
    name: str, values: NDArray[np.float32] | None, shape: tuple[int, ...]
) -> NDArray[np.float32] | None:
    if values is None:
        return None
    if not isinstance(values, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(values).__name__}")
    if values.dtype.kind not in "fiu" or values.shape != shape:
        raise ValueError(
            f"{name} must be float32 of shape {shape}, got {values.dtype} of {values.shape}"
        )
    array = np.ascontiguousarray(values, np.float32)
    if not (np.isfinite(array).all() and (array >= 0).all() and array.any()):
        raise ValueError(f"{name} must be finite and at least 0, and not all 0, got {values!r:.60}")
    return array
