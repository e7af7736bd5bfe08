"""Bringing a data set to the classes and the image size of a model that was trained on another."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import count, listing
from lenet5c.datasets import Dataset, resize
from lenet5c.errors import RunError
from lenet5c.training.model_file import TrainedModel


def match_dataset(trained: TrainedModel, dataset: Dataset) -> tuple[Dataset, list[str]]:
    """Return a data set with the classes and the image size of a model.

    Classes are matched by name, so that their order does not matter, and some of the model's
    classes may be absent. Where data or model have numbers for names, or names that the other has
    not, classes are matched by number. Images of another size than those the model was trained on
    are resized to that.

    Parameters
    ----------
    trained : TrainedModel
    dataset : lenet5c.datasets.Dataset

    Returns
    -------
    dataset : Dataset
        With the model's classes, and images that `trained` takes.
    notes : list of str
        What was changed that a reader of the results should know.

    Raises
    ------
    RunError
        Channels or classes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import Dataset
    >>> from lenet5c.training import match_dataset, open_model
    >>> images, labels = np.zeros((2, 1, 28, 28), np.uint8), np.array([0, 1])
    >>> some = Dataset(images, labels, 2, class_names=("7", "3"))
    >>> dataset, notes = match_dataset(open_model(), some)
    >>> dataset.labels, notes
    (array([7, 3], dtype=int32), ['classes are matched by name; the model knows 8 more'])
    """
    channels = trained.image_shape[0]
    if dataset.images.shape[1] != channels:
        raise RunError(
            f"images must have {count(channels, 'channel')} for this model, got "
            f"{dataset.images.shape[1]} in {dataset.name or 'the data'}; "
            "use other data, or a model that was trained on such images"
        )
    names = tuple(trained.class_names)
    labels, notes = _match_labels(names, dataset)
    images, note = match_size(trained, dataset.images)
    notes += [note] if note else []
    if labels is dataset.labels and images is dataset.images and names == dataset.class_names:
        return dataset, notes
    return replace(
        dataset, images=images, labels=labels, num_classes=len(names), class_names=names
    ), notes


def match_size(
    trained: TrainedModel, images: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], str | None]:
    """Return images of a size that a model takes, and a note if they are resized."""
    size, (height, width) = images.shape[2:], trained.image_shape[1:]
    if size in ((height, width), tuple(trained.preparation.size)):
        return images, None
    return resize(images, (height, width)), (
        f"images of {size[0]} x {size[1]} pixels are resized to {height} x {width}, "
        "which the model was trained on"
    )


def _match_labels(
    known: tuple[str, ...], dataset: Dataset
) -> tuple[NDArray[np.integer], list[str]]:
    """Return the labels as numbers of the model's classes, and notes."""
    names, labels = dataset.class_names, dataset.labels
    data = dataset.name or "the data"
    if names == known:
        return labels, []
    if len(names) > len(known):
        raise RunError(
            f"{data} must have at most the model's {len(known)} classes ({_abbreviate(known)}), "
            f"got {len(names)}; use data with the model's classes"
        )
    distinct = len(set(known)) == len(known) and len(set(names)) == len(names)
    unknown = [name for name in names if name not in known]
    if distinct and not unknown:
        more = len(known) - len(names)
        place = np.array([known.index(name) for name in names], np.int32)
        note = "classes are matched by name" + (f"; the model knows {more} more" if more else "")
        return place[labels], [note]
    if _is_numbered(names) or _is_numbered(known):
        return labels, ["classes are matched by number, for one side has no names"]
    moved = [name for number, name in enumerate(names) if name in known and known[number] != name]
    if len(names) != len(known) or moved:
        raise RunError(
            f"classes of {data} must be among those that the model knows ({_abbreviate(known)}), "
            f"got {(unknown or moved)[0]!r}; name the classes alike"
        )
    note = (
        "classes are matched by number, although their names differ: the model's "
        f"{known[names.index(unknown[0])]!r} is the data's {unknown[0]!r}"
    )
    return labels, [note]


def _is_numbered(names: Sequence[str]) -> bool:
    return tuple(names) == tuple(map(str, range(len(names))))


def _abbreviate(names: Sequence[str]) -> str:
    shown = [repr(name) for name in names[:5]]
    return ", ".join([*shown, f"{len(names) - 5} more"]) if len(names) > 5 else listing(shown)
