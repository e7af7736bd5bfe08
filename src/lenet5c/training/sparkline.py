"""The course of a run in a line of text: ``loss 0.4102 █▅▃▂▁ 0.0210``."""

import sys
from math import inf, isfinite, log, nan

from lenet5c._text import has_colors, is_terminal

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-=+*%#"
MOST = 40  # a longer line is no easier to read
CYAN, GREEN = "36", "32"
# What a row of a history is split into, and how its figures are written.
PARTS = (
    ("train", "train_loss", "train_accuracy"),
    ("validation", "validation_loss", "validation_accuracy"),
    ("test", "test_loss", "test_accuracy"),
)


def sparkline(values, width=None, blocks=BLOCKS, logarithmic=False):
    """One character for each value, the higher the larger it is.

    Parameters
    ----------
    values : iterable of float
        One that is not finite leaves a gap; equal ones are all in the middle.
    width : int, optional
        The most characters; more values than these are averaged in groups.
    blocks : str
        The characters, lowest first.
    logarithmic : bool
        Whether the height goes by the logarithm. Only if all values are positive.

    Examples
    --------
    >>> from lenet5c.training.sparkline import sparkline
    >>> sparkline([1, 2, 4, 8]), sparkline([1, 2, 4, 8], logarithmic=True), sparkline([8, float("nan"), 1])
    ('▁▂▄█', '▁▃▆█', '█ ▁')
    >>> sparkline(range(1000), width=5), sparkline([0.5, 0.5]), sparkline([3, 1, 2], blocks="_-#")
    ('▁▃▅▆█', '▄▄', '#_-')
    """
    values = _in_groups(list(map(float, values)), width)
    present = [value for value in values if isfinite(value)]
    if logarithmic and present and min(present) > 0:
        values = [log(value) if isfinite(value) else nan for value in values]
        present = [value for value in values if isfinite(value)]
    low, high = min(present, default=0.0), max(present, default=0.0)
    top = len(blocks) - 1

    def character(value):
        if not isfinite(value):
            return " "
        if low == high:
            return blocks[top // 2]
        return blocks[
            round(top * ((value / 2 - low / 2) / (high / 2 - low / 2)))
        ]  # halves do not overflow

    return "".join(map(character, values))


def _in_groups(values, width):
    """At most `width` values: means of neighbours, without those that are not finite."""
    if width is None or len(values) <= width:
        return values
    width = max(1, width)
    groups = [
        values[len(values) * i // width : len(values) * (i + 1) // width] for i in range(width)
    ]
    return [_mean([value for value in group if isfinite(value)]) for group in groups]


def _mean(values):
    return sum(value / len(values) for value in values) if values else nan


def course(history, width=79, blocks=BLOCKS, colours=False):
    """How loss and accuracy went, from the first epoch to the last: a line for each part of the images.

    Parameters
    ----------
    history : list of dict
        As of a `Trainer`.
    width : int
        That of the terminal. Where it is not enough for loss and accuracy side by side, each has a line.
    blocks, colours
        What the terminal shows.

    Returns
    -------
    str

    Examples
    --------
    >>> from lenet5c.training.sparkline import course
    >>> losses, accuracies = (0.4, 0.1, 0.02), (0.88, 0.97, 0.992)
    >>> print(course([{"train_loss": a, "train_accuracy": b} for a, b in zip(losses, accuracies)]))
    train  loss 0.4000 █▅▁ 0.0200   accuracy 88.00% ▁▇█ 99.20%
    """
    rows = []
    for part, *names in PARTS:
        cells = [
            _cell(history, name, accuracy)
            for name, accuracy in zip(names, (False, True), strict=True)
        ]
        if any(cells):
            rows.append((part, cells))
    label = max((len(part) for part, _ in rows), default=0)
    columns = [[cells[i] for _, cells in rows if cells[i]] for i in (0, 1)]
    # Texts and two spaces around each line.
    fixed = [max((len(cell[0] + cell[2]) + 2 for cell in column), default=0) for column in columns]
    most = min(MOST, len(history))
    room = (width - label - 2 - 3 - sum(fixed)) // 2
    if beside := room >= min(most, 8):
        widths = [min(most, room)] * 2
    else:
        widths = [max(1, min(most, width - label - 2 - each)) for each in fixed]
    lines = []
    for part, cells in rows:
        drawn = [_drawn(cell, i, widths[i], blocks, colours) for i, cell in enumerate(cells)]
        if beside:
            lines.append(f"{part:{label}}  " + "   ".join(filter(None, drawn)))
        else:
            lines += [f"{part:{label}}  {text}" for text in drawn if text]
    return "\n".join(lines)


def _cell(history, name, accuracy):
    """(first figure, all values, last figure) of one quantity; None if there are none."""
    values = [row.get(name) for row in history]
    values = [value if isinstance(value, (int, float)) else nan for value in values]
    if all(not isinstance(row.get(name), (int, float)) for row in history):
        return None
    word = "accuracy" if accuracy else "loss"
    first, last = (
        f"{100 * value:.2f}%" if accuracy else figure(value) for value in (values[0], values[-1])
    )
    return f"{word} {first}", values, last


def _drawn(cell, i, width, blocks, colours):
    if cell is None:
        return ""
    first, values, last = cell
    if len(values) == 1:
        return first
    line = sparkline(values, width, blocks, logarithmic=i == 0)
    return f"{first} {coloured(line, (CYAN, GREEN)[i]) if colours else line} {last}"


def figure(loss):
    """A loss in about six characters."""
    return f"{loss:.4f}" if abs(loss) < 1e3 or loss in (inf, -inf) else f"{loss:.3g}"


def coloured(text, colour):
    return f"\x1b[{colour}m{text}\x1b[0m"


def blocks_for(stream):
    """The characters of sparklines that this stream's encoding has."""
    encoding = getattr(stream, "encoding", "ascii")
    if encoding is None:  # io.StringIO: text is all it holds
        return BLOCKS
    try:
        BLOCKS.encode(encoding)
    except (UnicodeError, LookupError):
        return ASCII
    return BLOCKS


def width_of(stream):
    """The columns of a terminal but the last, which some wrap after; those of a usual one for a file."""
    import shutil  # slow to import: it brings the compression formats

    return shutil.get_terminal_size().columns - 1 if is_terminal(stream) else 79


def course_for(history, stream=None):
    """`course` as this stream, or standard output, can show it."""
    stream = sys.stdout if stream is None else stream
    return course(history, width_of(stream), blocks_for(stream), has_colors(stream))
