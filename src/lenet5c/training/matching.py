"""Conversion of a data set to the classes and the image size of a model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import count, list_some, listing, printable
from lenet5c.datasets import Dataset
from lenet5c.datasets.framing import measure_framing
from lenet5c.datasets.mapped import AnyImages, apply
from lenet5c.datasets.resampling import letterbox
from lenet5c.errors import RunError
from lenet5c.training.model_file import TrainedModel

# Names of the numbers from 0.
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty"),
)
# Redundant words before a number or letter: digit_3, Class 3.
_LABEL = re.compile("(?:digit|number|class|label|category|letter|character)s?")
# Separators between letters and digits, or letters; 1.5 and -1 are kept.
_SEPARATOR = re.compile(r"(?<=[^\W\d_])[\s_./\\-]+(?=\w)|(?<=\w)[\s_./\\-]+(?=[^\W\d_])")


def match_dataset(
    trained: TrainedModel, dataset: Dataset, mapping: Mapping[str, str] | None = None
) -> tuple[Dataset, list[str]]:
    """Return a data set with the classes and the image size of a model.

    Classes are matched by name, independent of their order, and the data may lack some of the
    model's classes. Case, spaces and underscores are ignored, and numbers may be digits or words.
    If the classes of the data are only numbers and the model has names, they are matched by number.
    Images of another size are resized by `letterbox`.

    Parameters
    ----------
    trained : TrainedModel
    dataset : lenet5c.datasets.Dataset
    mapping : dict of str to str, optional
        Class names of the data and the corresponding class names of the model. Several classes of
        the data may map to the same class.

    Returns
    -------
    dataset : Dataset
        Data set with the classes and image size of `trained`.
    notes : list of str
        Remarks on changes that affect the results.

    Raises
    ------
    RunError
        If channels or classes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import Dataset
    >>> from lenet5c.training import match_dataset, open_model
    >>> images, labels = np.zeros((2, 1, 28, 28), np.uint8), np.array([0, 1])
    >>> some = Dataset(images, labels, 2, class_names=("seven", "3"))
    >>> dataset, notes = match_dataset(open_model(), some)
    >>> dataset.labels
    array([7, 3], dtype=int32)
    >>> notes
    ["classes are matched by name: 'seven' is the model's '7'; the model has 8 more"]
    """
    channels = trained.image_shape[0]
    if dataset.images.shape[1] != channels:
        raise RunError(
            f"images must have {count(channels, 'channel')} for this model, got "
            f"{dataset.images.shape[1]} in {dataset.name or 'the data'}; use other data, or a "
            "model trained on such images"
        )
    names = tuple(trained.class_names)
    labels, notes = _match_labels(names, dataset, mapping or {})
    images, note = match_size(trained, dataset.images)
    notes += [each for each in (note, compare_colors(trained, dataset.images)) if each]
    if labels is dataset.labels and images is dataset.images and names == dataset.class_names:
        return dataset, notes
    return replace(
        dataset,
        images=images,
        labels=labels,
        num_classes=len(names),
        class_names=names,
        targets=None,  # columns are the classes of the data
    ), notes


def match_size(trained: TrainedModel, images: AnyImages) -> tuple[AnyImages, str | None]:
    """Return images resized for a model, and a note if they were resized."""
    size, (height, width) = images.shape[2:], trained.image_shape[1:]
    if size in ((height, width), tuple(trained.preparation.size)):
        return images, None
    return apply(images, lambda batch: letterbox(batch, (height, width))), (
        f"images of {size[0]} x {size[1]} pixels are resized to the {height} x {width} of "
        "the training images"
    )


def compare_colors(trained: TrainedModel, images: AnyImages) -> str | None:
    """Return a note if images are dark on light and the training images the reverse, or vice versa.

    There is no note for images that are not ink on a plain background.
    """
    own = trained.framing
    found = None if own is None or own.varied else measure_framing(images)
    if own is None or found is None or found.varied:
        return None
    if (sum(own.ink) > sum(own.paper)) == (sum(found.ink) > sum(found.paper)):
        return None
    colors = ["dark on light", "light on dark"]
    if sum(own.ink) < sum(own.paper):
        colors.reverse()
    return f"the images are {colors[0]}, but the training images were {colors[1]}; invert them"


def _match_labels(
    known: tuple[str, ...], dataset: Dataset, mapping: Mapping[str, str]
) -> tuple[NDArray[np.integer], list[str]]:
    """Return the labels as indices of the model's classes, and notes."""
    names, labels = dataset.class_names, dataset.labels
    data = dataset.name or "the data"
    for ours, options, whose in (
        (mapping.keys(), names, f"classes of {data}"),
        (mapping.values(), known, "the model's classes"),
    ):
        if strange := [name for name in ours if name not in options]:
            raise RunError(
                f"--map must be DATA=MODEL with {whose} among {_abbreviate(options)}, got "
                f"{printable(strange[0])!r}"
            )
    if names == known and not mapping:
        return labels, []
    places = {name: known.index(mapping[name]) for name in mapping}
    counts = np.bincount(labels, minlength=len(names))
    occurring = [name for name, number in zip(names, counts, strict=True) if number]
    rest = [name for name in occurring if name not in places]
    found = match_names(rest, known)
    places |= found
    unknown = [name for name in rest if name not in found]
    if unknown and not mapping and unknown == occurring and _is_numbered(names, known):
        return labels, ["classes are matched by number, because the data has no class names"]
    if unknown:
        pairs = " ".join([f"{name}=CLASS" for name in unknown[:3]] + ["..."] * (len(unknown) > 3))
        if names == tuple(str(int(name) + 1) for name in known if name.isdecimal()):
            pairs = f"{names[-1]}={known[0]}, or 1={known[0]} 2={known[1]} ... if they count from 1"
        raise RunError(
            f"classes of {data} must be among the classes of the model ({_abbreviate(known)}), got "
            f"{_abbreviate(unknown)}; map them with --map {pairs}, rename the classes, or use data "
            "with the classes of the model"
        )
    others = [
        f"{name!r} is the model's {known[places[name]]!r}"
        for name in occurring
        if name != known[places[name]]
    ]
    note = "classes are matched by name" + (f": {list_some(others)}" if others else "")
    if more_known := len(known) - len({places[name] for name in occurring}):
        note += f"; the model has {more_known} more"
    table = np.array([places.get(name, 0) for name in names], np.int32)
    return table[labels], [note]


def match_names(names: Sequence[str], known: Sequence[str]) -> dict[str, int]:
    """Return the index in `known` of each name with a unique match, exact or normalized."""
    found = {name: known.index(name) for name in names if list(known).count(name) == 1}
    meanings = [_read_meaning(name) for name in known]
    ours = [_read_meaning(name) for name in names]
    for name, meaning in zip(names, ours, strict=True):
        if meanings.count(meaning) == 1 and ours.count(meaning) == 1:
            found.setdefault(name, meanings.index(meaning))
    return found


def _read_meaning(name: str) -> str:
    """Normalize a name: lowercase, without spaces and separators, numbers as digits."""
    plain = _SEPARATOR.sub("", normalize("NFKC", name).casefold().strip("_ "))
    label = _LABEL.match(plain)
    for text in (plain, plain[label.end() :] if label else ""):
        if text.isdecimal():
            return str(int(text))
        if text in _NUMBERS:
            return str(_NUMBERS.index(text))
    return plain[label.end() :] if label and len(plain) == label.end() + 1 else plain


def _is_numbered(names: Sequence[str], known: Sequence[str]) -> bool:
    """Return True if class names are only numbers, from 0 or from 1 to the number of classes."""
    count = len(names)
    from_zero = list(names) == list(map(str, range(count))) and count <= len(known)
    return from_zero or (list(names) == list(map(str, range(1, count + 1))) and count == len(known))


def _abbreviate(names: Sequence[str]) -> str:
    shown = [repr(name) for name in names[:5]]
    return ", ".join([*shown, f"{len(names) - 5} more"]) if len(names) > 5 else listing(shown)
