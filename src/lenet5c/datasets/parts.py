"""Detection of the part of a data set from the name of a file, array or folder."""

import re
from pathlib import Path
from unicodedata import normalize

#: Parts by words in the names of files, arrays and folders.
PART_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "validation"),
    **dict.fromkeys(("dev", "devel", "development"), "validation"),
    **dict.fromkeys(("t10k", "test", "testing", "tst", "eval", "evaluation"), "test"),
}
IMAGES = frozenset(
    {"x", "images", "image", "imgs", "img", "data", "features", "pixels", "inputs", "digits"}
)
LABELS = frozenset(
    {"y", "labels", "label", "lbls", "targets", "target", "classes", "class", "probabilities"}
)
#: Words in the names of arrays to ignore.
_FILLERS = frozenset({"set", "orig", "all", "array"})
_WORD = re.compile("|".join(sorted(PART_WORDS, key=len, reverse=True)))
# Words in the name of a folder that name a part, and words to ignore.
_FILLER = (
    "(?:the|my|data|datasets?|sets?|splits?|parts?|folders?|dir|images?|imgs?|pictures?|pics?|"
    "photos?|samples?|examples?|files?|png|jpe?g)*"
)
_FOLDER_WORD = re.compile(f"{_FILLER}({_WORD.pattern})?{_FILLER}")


def split_name(name: str) -> tuple[str | None, str | None]:
    """Return the part and the role given by a name: 'images', 'labels' or 'names' of classes.

    Examples
    --------
    >>> from lenet5c.datasets.parts import split_name
    >>> split_name("x_train"), split_name("kmnist-test-labels"), split_name("target_names")
    (('train', 'images'), ('test', 'labels'), (None, 'names'))
    """
    name = name.casefold()
    part = find_part(name)
    name = re.sub(r"\d+ ?x ?\d+", " ", name)  # sizes such as 28x28
    words = re.findall("[a-z]+", _WORD.sub(" ", name, count=1) if part else name)
    words = [word for word in words if word not in _FILLERS]
    if "names" in words:
        return part, "names"
    # The last word counts: the first ones may be the name of the data set.
    for word in reversed(words):
        if word in LABELS:
            return part, "labels"
        if word in IMAGES:
            return part, "images"
    return part, None


def find_part(name: str) -> str | None:
    """Return the part given by the name of a file or an array, None if there is none.

    Examples
    --------
    >>> from lenet5c.datasets.parts import find_part
    >>> find_part("sign_mnist_train.csv"), find_part("Xtest"), find_part("latest.csv")
    ('train', 'test', None)
    """
    name = name.casefold().removeprefix("csv")  # as in csvTrainImages
    found = None
    for match in _WORD.finditer(name):
        before, after = name[: match.start()], name[match.end() :]
        # A separate word, or one next to the single letter of an array.
        if re.search("(^|[^a-z]|(^|[^a-z])[xy])$", before) and re.match(
            "($|[^a-z]|[xy]($|[^a-z])|(images?|labels?|data|set)($|[^a-z]))", after
        ):
            found = PART_WORDS[match[0]]
    return found


def find_folder_part(name: str) -> tuple[str, str] | None:
    """Return the part named by a folder and the remaining words, None if it names no part.

    Examples
    --------
    >>> from lenet5c.datasets.parts import find_folder_part
    >>> find_folder_part("Training Data"), find_folder_part("pets_testSet")
    (('train', ''), ('test', 'pets'))
    >>> find_folder_part("trainer")
    """
    split = re.sub("(?<=[a-z])(?=[A-Z])", " ", normalize("NFKC", name))
    parts, rest = [], []
    for word in re.findall(r"[^\W\d_]+", split.casefold()):
        match = _FOLDER_WORD.fullmatch(word)
        if not match:
            rest.append(word)
        elif match[1]:
            parts.append(PART_WORDS[match[1]])
    return (parts[0], " ".join(rest)) if len(parts) == 1 else None


def get_stem(path: Path) -> str:
    """Return the name of a file without its endings, such as .csv.gz."""
    return re.sub(r"(\.(csv|tsv|txt|tab|npy|npz|mat|parquet|gz))+$", "", path.name.casefold())
