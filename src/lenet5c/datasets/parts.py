"""The part of a data set, images or labels, that the name of a file or an array says."""

import re
from pathlib import Path

#: Words in names of files and arrays, in small letters; the longer ones first.
PART_WORDS = {
    "training": "train",
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "testing": "test",
    "t10k": "test",
    "test": "test",
}
IMAGES = frozenset(
    {"x", "images", "image", "imgs", "img", "data", "features", "pixels", "inputs", "digits"}
)
LABELS = frozenset({"y", "labels", "label", "lbls", "targets", "target", "classes", "class"})
#: Words that tell nothing about an array.
_FILLERS = frozenset({"set", "orig", "all", "array"})
_WORD = re.compile("|".join(PART_WORDS))


def split_name(name: str) -> tuple[str | None, str | None]:
    """Return the part and the role that a name says: 'images', 'labels' or 'names' of classes.

    Examples
    --------
    >>> from lenet5c.datasets.parts import split_name
    >>> split_name("x_train"), split_name("kmnist-test-labels"), split_name("target_names")
    (('train', 'images'), ('test', 'labels'), (None, 'names'))
    """
    name = name.casefold()
    part = part_of(name)
    words = re.findall("[a-z]+", _WORD.sub(" ", name, count=1) if part else name)
    words = [word for word in words if word not in _FILLERS]
    if "names" in words:
        return part, "names"
    # The last word that says it: the first ones may be the name of the data set.
    for word in reversed(words):
        if word in LABELS:
            return part, "labels"
        if word in IMAGES:
            return part, "images"
    return part, None


def part_of(name: str) -> str | None:
    """Return the part that the name of a file or an array says; None if it says none.

    Examples
    --------
    >>> from lenet5c.datasets.parts import part_of
    >>> part_of("sign_mnist_train.csv"), part_of("Xtest"), part_of("latest.csv")
    ('train', 'test', None)
    """
    name = name.casefold()
    found = None
    for match in _WORD.finditer(name):
        before, after = name[: match.start()], name[match.end() :]
        # A word of its own, or one beside the single letter of an array.
        if re.search("(^|[^a-z]|(^|[^a-z])[xy])$", before) and re.match(
            "($|[^a-z]|[xy]($|[^a-z])|(images|labels|data|set)($|[^a-z]))", after
        ):
            found = PART_WORDS[match[0]]
    return found


def stem_of(path: Path) -> str:
    """Return the name of a file without its endings, such as .csv.gz."""
    return re.sub(r"(\.(csv|tsv|txt|tab|npy|npz|mat|parquet|gz))+$", "", path.name.casefold())
