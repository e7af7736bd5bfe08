"""Bringing a data set to the classes and the image size of a model that was trained on another."""

from dataclasses import replace

import numpy as np

from lenet5c.datasets import resize
from lenet5c.errors import RunError


def match_dataset(trained, dataset):
    """A data set as a model can be asked about it.

    Classes are matched by name, so that their order does not matter, and some of the model's classes may be absent.
    Where data or model have numbers for names, or names that the other has not, classes are matched by number. Images
    of another size than those the model was trained on are resized to that.

    Parameters
    ----------
    trained : TrainedModel
    dataset : lenet5c.datasets.Dataset

    Returns
    -------
    dataset : Dataset
        With the model's classes, and images that `trained` takes.
    notes : list of str
        What was done that a reader of the results should know.

    Raises
    ------
    RunError
        Channels or classes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import Dataset
    >>> from lenet5c.training import match_dataset, pretrained
    >>> some = Dataset(np.zeros((2, 1, 28, 28), np.uint8), np.array([0, 1]), 2, class_names=("7", "3"))
    >>> dataset, notes = match_dataset(pretrained(), some)
    >>> dataset.labels, notes
    (array([7, 3], dtype=int32), ['classes are matched by name; the model knows 8 more'])
    """
    channels, height, width = trained.image_shape
    found = dataset.images.shape[1]
    if found != channels:
        raise RunError(
            f"the model takes images of {channels} channel{'s' * (channels > 1)}, those of "
            f"{dataset.name or 'the data'} have {found}; give data with {channels}, "
            f"or a model that was trained on such images"
        )
    labels, notes = _labels(trained.class_names, dataset)
    images = dataset.images
    size = images.shape[2:]
    if size not in ((height, width), tuple(trained.preparation.size)):
        images = resize(images, (height, width))
        notes.append(
            f"images of {size[0]} x {size[1]} pixels are resized to {height} x {width}, which the model was trained on"
        )
    same = (
        labels is dataset.labels
        and images is dataset.images
        and tuple(trained.class_names) == dataset.class_names
    )
    if same:
        return dataset, notes
    return replace(
        dataset,
        images=images,
        labels=labels,
        num_classes=len(trained.class_names),
        class_names=tuple(trained.class_names),
    ), notes


def _labels(known, dataset):
    """The labels as numbers of the model's classes, and notes."""
    names = dataset.class_names
    known = tuple(known)
    if names == known:
        return dataset.labels, []
    if len(names) > len(known):
        raise RunError(
            f"{dataset.name or 'the data'} has {len(names)} classes, the model {len(known)}; give data with the "
            f"model's classes ({_some(known)})"
        )
    distinct = len(set(known)) == len(known) and len(set(names)) == len(names)
    unknown = [name for name in names if name not in known]
    if distinct and not unknown:
        more = len(known) - len(names)
        place = np.array([known.index(name) for name in names], np.int32)
        return place[dataset.labels], [
            "classes are matched by name" + (f"; the model knows {more} more" if more else "")
        ]
    if _numbered(names) or _numbered(known):
        return dataset.labels, ["classes are matched by number, for one side has no names"]
    moved = [name for number, name in enumerate(names) if name in known and known[number] != name]
    if len(names) != len(known) or moved:
        raise RunError(
            f"{dataset.name or 'the data'} has a class {(unknown or moved)[0]!r}, which the model does not know; it "
            f"knows {_some(known)}: name the classes alike"
        )
    return dataset.labels, [
        f"classes are matched by number, although their names differ: the model's {known[names.index(unknown[0])]!r} "
        f"is the data's {unknown[0]!r}"
    ]


def _numbered(names):
    return tuple(names) == tuple(map(str, range(len(names))))


def _some(names):
    return ", ".join(map(repr, names[:5])) + (
        f" and {len(names) - 5} more" if len(names) > 5 else ""
    )
