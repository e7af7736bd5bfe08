"""Digests of the data of a run."""

import weakref
from typing import Any

import numpy as np

from lenet5c._files import digest
from lenet5c.datasets import Dataset, Source
from lenet5c.datasets.mapped import MappedImages, blocks

#: Number of evenly spaced images of a file in a digest for comparison.
SPREAD = 256
#: The data whose digest is worth keeping, and that digest once it is there.
_kept: tuple[weakref.ref[Source], list[str]] | None = None


def keep_digest(source: Source) -> None:
    """Compute the digest of unchanging data only once, for several runs."""
    global _kept
    _kept = weakref.ref(source), []


def data_digest(source: Source, rehearsed: Source | None = None) -> str:
    """Return the SHA-256 of images, labels, class names, weights and soft targets."""
    known = _kept[1] if _kept and _kept[0]() is source and rehearsed is None else []
    if known:
        return known[0]
    parts: list[Any] = []
    for dataset in _sets(source, rehearsed):
        parts += [_describe(dataset), blocks(dataset.images), *_others(dataset)]
    known.append(digest(*parts))
    return known[0]


def spread_digest(source: Source, rehearsed: Source | None = None) -> str:
    """Return a similar digest that includes only some of the images in a file."""
    parts: list[Any] = []
    for dataset in _sets(source, rehearsed):
        images = dataset.images
        if isinstance(images, MappedImages):
            count = min(SPREAD, len(images))
            images = images[np.linspace(0, len(images) - 1, count).astype(np.int64)]
        parts += [_describe(dataset), images, *_others(dataset)]
    return digest(*parts)


def _sets(source: Source, rehearsed: Source | None) -> list[Dataset]:
    more = rehearsed.train if rehearsed else None
    every = (source.train, source.test, source.validation, more)
    return [dataset for dataset in every if dataset is not None]


def _describe(dataset: Dataset) -> str:
    return f"{dataset.images.shape} {dataset.class_names}"


def _others(dataset: Dataset) -> list[Any]:
    arrays = (dataset.labels, dataset.sample_weight, dataset.targets)
    return [array for array in arrays if array is not None]
