"""Columns of a table of images: label, id, and one column per pixel."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isfinite, nan, prod

from lenet5c._text import count, list_some, printable
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.pixels import MIN_SIDE, is_square
from lenet5c.datasets.records import ReadOptions

#: Lowercase names of a label column, in order of preference.
LABEL_NAMES = (
    *("label", "labels", "class", "target", "y", "digit", "letter", "category", "character"),
    *("fine_label", "class_label", "class_id", "class_name"),
)
ID_NAMES = ("id", "ids", "imageid", "image_id", "index", "idx", "row_id", "sample_id")
#: Names of an index column written by pandas.
_INDEX_NAMES = ("", "unnamed: 0", "__index_level_0__")
#: Maximum number of unnamed one-hot label columns.
MAX_ONE_HOT = 1000
_CLASS = re.compile(r"(labels?|class(?:es)?|targets?|y|digits?|letters?)[ _.=-]?[^ _.=-].*")
# Maximum number of different labels among the first few hundred rows.
_MAX_LABELS = 100
# pixel0, px_1, 28x28, p1.2 and so on, or only a number.
_PIXEL = re.compile(r"[a-z]*[ _.-]?\d+([ _x.-]\d+)?", re.ASCII)


@dataclass(frozen=True)
class Columns:
    """Positions of the columns; columns with other names are in `ignored`.

    Instead of a label column, there may be one column for each class, in `one_hot`, by name.
    """

    label: int | None
    id: int | None
    pixels: list[int]
    ignored: list[int]
    one_hot: dict[int, str] = field(default_factory=dict)


def find_columns(
    name: str,
    names: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    options: ReadOptions,
    optional: bool = False,
) -> Columns:
    """Find the columns of a table, by their names, their number and their values.

    Parameters
    ----------
    name : str
        Name of the table in error messages.
    names : sequence of str or None
        Names of the columns, if any.
    rows : sequence of sequences of str
        The first rows, at least one, as long as `names`.
    options : ReadOptions
        Label column and image shape, if set by the user.
    optional : bool, optional
        Allow the label column set by the user to be missing, as in a table of test images.

    Raises
    ------
    DatasetError
        If there is no such column, or the other columns are not the pixels of images.
    """
    if optional and options.label_column is not None:
        with suppress(DatasetError):
            columns = find_columns(name, names, rows, replace(options, label_column=None))
            if columns.label is None:
                return columns
    image_shape = options.shape
    plain = [text.strip().casefold() for text in names or ()]
    rest, ignored = list(range(len(rows[0]))), []

    def fits(count: int) -> bool:
        return count == prod(image_shape) if image_shape else is_square(count)

    def take(place: int | None) -> int | None:
        if place is not None:
            rest.remove(place)
        return place

    label = take(find_label(name, names or (), options.label_column, len(rest)))
    found = find_id(names or ())
    number = take(found if found != label else None)
    one_hot: dict[int, str] = {}
    if not fits(len(rest)) and label is None:
        one_hot = _find_one_hot(names, rows, rest, fits)
        rest = [place for place in rest if place not in one_hot]
    if not fits(len(rest)) and names:
        pixels = [place for place in rest if _PIXEL.fullmatch(plain[place])]
        if fits(len(pixels)):
            ignored = sorted(set(rest) - set(pixels))
            rest = pixels
            if label is None and not one_hot and ignored:
                label = ignored.pop(0)  # the first column with a distinct name
    unlabeled = label is None and not one_hot
    if not fits(len(rest)) and number is None and fits(len(rest) - 1 - unlabeled):
        number = take(next((place for place in rest if _counts(rows, place)), None))
    if not fits(len(rest)) and unlabeled and fits(len(rest) - 1):
        label = take(rest[0] if _is_first_label(rows, rest[0], rest[-1]) else rest[-1])
    if not fits(len(rest)):
        raise DatasetError(_describe_misfit(name, names, rows, rest, image_shape))
    return Columns(label, number, rest, ignored, one_hot)


def _find_one_hot(
    names: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    rest: Sequence[int],
    fits: Callable[[int], bool],
) -> dict[int, str]:
    """Return the one-hot label columns with the names of the classes.

    They are named label_0, label_1, ... or after the classes; unnamed columns are the last or the
    first ones. There are none unless the other columns are the pixels of images.
    """
    plain = [text.strip() for text in names or ()]
    groups: dict[str, list[int]] = {}
    for place in rest if names else ():
        if match := _CLASS.fullmatch(plain[place].casefold()):
            groups.setdefault(match[1], []).append(place)
    candidates = [
        ({place: plain[place][len(prefix) :].strip(" _.-=") for place in places})
        for prefix, places in groups.items()
    ]
    if names:
        others = [place for place in rest if not _PIXEL.fullmatch(plain[place].casefold())]
        candidates.append({place: plain[place] for place in others})
    else:
        for number in range(2, min(MAX_ONE_HOT, len(rest) - MIN_SIDE**2) + 1):
            if fits(len(rest) - number):
                for places in (rest[-number:], rest[:number]):
                    candidates.append({place: str(i) for i, place in enumerate(places)})
    for classes in candidates:
        left = len(rest) - len(classes)
        if len(classes) > 1 and (fits(left) or fits(left - 1)) and _is_one_hot(rows, classes):
            return classes
    return {}


def _is_one_hot(rows: Sequence[Sequence[str]], places: Iterable[int]) -> bool:
    """Return True if some columns have a single 1 in each row and zeros, not all in one column."""
    found = set()
    for row in rows:
        values = [_to_number(row[place]) for place in places]
        if sorted(values)[-2:] != [0, 1] or min(values) != 0:
            return False
        found.add(values.index(1))
    return len(found) > 1


def find_label(
    name: str, names: Sequence[str], label_column: str | None, count: int | None = None
) -> int | None:
    """Return the label column set by the user or found by its name, else None.

    `count` is the number of columns if they have no names.
    """
    if label_column is None:
        return _find_name(names, LABEL_NAMES)
    shown = [printable(text.strip()) for text in names]
    lower = [text.casefold() for text in shown]
    count = len(names) if count is None else count
    if label_column in shown:
        return shown.index(label_column)
    if lower.count(label_column.casefold()) == 1:
        return lower.index(label_column.casefold())
    if re.fullmatch(r"-?\d{1,9}", label_column, re.ASCII) and -count <= int(label_column) < count:
        return int(label_column) % count
    offered = f"{list_some(shown, 4)}, or " if shown else ""
    raise DatasetError(
        f"label_column must be a column of {name}, {offered}a position from 0 to {count - 1}, got "
        f"{label_column!r:.60}; choose another column"
    )


def find_id(names: Sequence[str]) -> int | None:
    """Return the id column found by its name, None if there is none."""
    return _find_name(names, (*ID_NAMES, *_INDEX_NAMES))


def _find_name(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    plain = [text.strip().casefold() for text in names]
    return next((plain.index(each) for each in wanted if each in plain), None)


def _counts(rows: Sequence[Sequence[str]], place: int) -> bool:
    """Return True if a column counts up row by row, or has a different text in each row."""
    values = [row[place].strip() for row in rows]
    if all(re.fullmatch(r"\d{1,15}", value, re.ASCII) for value in values):
        first = int(values[0])
        return len(rows) > 1 and all(int(each) == first + i for i, each in enumerate(values))
    return len(rows) > 1 and len(set(values)) == len(rows) and not any(map(is_number, values))


def _is_first_label(rows: Sequence[Sequence[str]], first: int, last: int) -> bool:
    """Return True if the first column is more likely than the last to be the label column.

    Labels are integers or texts, several of which occur often. If rows are sorted by class, nearly
    all of the first rows have the same label; so have the corner pixels of most images. A
    photograph has more different tones than there are classes.
    """
    doubts = []
    for place in (first, last):
        values = Counter(text for row in rows if (text := row[place].strip()))
        whole = all(_to_number(value).is_integer() for value in values if is_number(value))
        few = whole and len(values) <= _MAX_LABELS
        same = max(values.values(), default=0) > 0.9 * len(rows)
        doubts.append((not few, same, len(values) if few and not same else 0))
    return doubts[0] <= doubts[1]


def is_number(text: str) -> bool:
    """Return True if a field is a finite number."""
    return isfinite(_to_number(text))


def _to_number(text: str) -> float:
    """Parse a number, possibly with a decimal comma; NaN for other texts."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return nan


def is_header(fields: Sequence[str]) -> bool:
    """Return True if the first line of a table has column names, which may be numbers.

    Examples
    --------
    >>> from lenet5c.datasets.columns import is_header
    >>> is_header(["label", *map(str, range(64))]), is_header(["5"] + ["0"] * 64)
    (True, False)
    """
    fields = [text.strip() for text in fields]
    if 2 * sum(map(is_number, fields)) < len(fields):
        return True
    whole = [int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else -1 for text in fields]
    steps = sum(b - a == 1 for a, b in pairwise(whole) if a >= 0)
    return steps > 0.9 * (len(fields) - 3) or _is_numbered_by_pandas(fields)


def _is_numbered_by_pandas(fields: Sequence[str]) -> bool:
    """Return True if repeated names are numbered 0, 0.1, 0.2, as when pixels are read as names."""
    seen: Counter[str] = Counter()
    for text in fields:
        base, _, repeat = text.partition(".")
        if repeat != (str(seen[base]) if seen[base] else ""):
            return False
        seen[base] += 1
    return len(seen) < len(fields)


def _describe_misfit(
    name: str,
    names: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    rest: Sequence[int],
    image_shape: tuple[int, ...] | None,
) -> str:
    shown = f" ({list_some((printable(text)[:20] for text in names), 4)})" if names else ""
    pictures = re.compile(r".*\.(png|jpe?g|bmp|tiff?|gif|webp)", re.IGNORECASE | re.DOTALL)
    if len(rows[0]) < MIN_SIDE**2:
        files = any(pictures.fullmatch(text.strip()) for text in rows[0])
        remedy = "sort its files into a folder for each class" if files else "use another file"
        return (
            f"{name} must be a table of images, with a column for each pixel, got "
            f"{count(len(rows[0]), 'column')}{shown}; {remedy}"
        )
    if image_shape:
        needed = f"the {prod(image_shape):,} columns of pixels of image_shape,"
    else:
        needed = "a column for each pixel of a square image, and one of labels,"
    return (
        f"{name} must have {needed} got {len(rows[0]):,} columns{shown}, of which {len(rest):,} "
        "may be pixels; set label_column (--label-column) or image_shape (--image-shape)"
    )
