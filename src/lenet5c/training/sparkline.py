"""Sparklines: a run as a line of text, ``loss 0.4102 █▅▃▂▁ 0.0210``."""

import sys
from collections.abc import Iterable, Sequence
from math import inf, isfinite, log, nan
from typing import Any

from lenet5c._text import has_colors, is_terminal

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-=+*%#"
MAXIMUM = 40  # longer lines are not easier to read
CYAN, GREEN = "36", "32"
PARTS = ("train", "validation", "test")


def sparkline(
    values: Iterable[float],
    width: int | None = None,
    blocks: str = BLOCKS,
    logarithmic: bool = False,
) -> str:
    """Return one character for each value, higher for larger values.

    Parameters
    ----------
    values : iterable of float
        Non-finite values leave a gap; if all are equal, they are in the middle.
    width : int, optional
        Maximum number of characters; more values are averaged in groups.
    blocks : str
        Characters, lowest first.
    logarithmic : bool
        Use a logarithmic scale if all values are positive.

    Examples
    --------
    >>> from lenet5c.training.sparkline import sparkline
    >>> sparkline([1, 2, 4, 8]), sparkline([1, 2, 4, 8], logarithmic=True)
    ('▁▂▄█', '▁▃▆█')
    >>> sparkline(range(1000), width=5), sparkline([0.5, 0.5]), sparkline([3, 1, 2], blocks="_-#")
    ('▁▃▅▆█', '▄▄', '#_-')
    """
    heights = _average_groups(list(map(float, values)), width)
    present = [value for value in heights if isfinite(value)]
    if logarithmic and present and min(present) > 0:
        heights = [log(value) if isfinite(value) else nan for value in heights]
        present = [value for value in heights if isfinite(value)]
    low, high = min(present, default=0.0), max(present, default=0.0)
    top = len(blocks) - 1

    def draw(value: float) -> str:
        if not isfinite(value):
            return " "
        if low == high:
            return blocks[top // 2]
        share = (value / 2 - low / 2) / (high / 2 - low / 2)  # halved to avoid overflow
        return blocks[round(top * share)]

    return "".join(map(draw, heights))


def _average_groups(values: list[float], width: int | None) -> list[float]:
    """Return at most `width` values, averaging groups of finite values."""
    if width is None or len(values) <= width:
        return values
    width = max(1, width)
    means = []
    for i in range(width):
        group = values[len(values) * i // width : len(values) * (i + 1) // width]
        finite = [value for value in group if isfinite(value)]
        means.append(sum(value / len(finite) for value in finite) if finite else nan)
    return means


def summarize(
    history: Sequence[dict[str, Any]], width: int = 79, blocks: str = BLOCKS, colors: bool = False
) -> str:
    """Return a line with loss and accuracy by epoch for each part of the data.

    Parameters
    ----------
    history : list of dict
        History of a `Trainer`.
    width : int
        Width of the terminal. If it is too small for loss and accuracy side by side, each has its
        own line.
    blocks, colors
        Characters and colors of the sparklines.

    Examples
    --------
    >>> from lenet5c.training.sparkline import summarize
    >>> figures = [(0.4, 0.88), (0.1, 0.97), (0.02, 0.992)]
    >>> print(summarize([{"train_loss": a, "train_accuracy": b} for a, b in figures]))
    train  loss 0.4000 █▅▁ 0.0200   accuracy 88.00% ▁▇█ 99.20%
    """
    rows = []
    for part in PARTS:
        cells = [_cell(history, part, quantity) for quantity in ("loss", "accuracy")]
        if any(cells):
            rows.append((part, cells))
    label = max((len(part) for part, _ in rows), default=0)
    # Texts and two spaces around each sparkline.
    fixed = [
        max((len(first + last) + 2 for first, _, last in filter(None, column)), default=0)
        for column in (zip(*(cells for _, cells in rows), strict=True) if rows else ((), ()))
    ]
    most = min(MAXIMUM, len(history))
    room = (width - label - 2 - 3 - sum(fixed)) // 2
    if beside := room >= min(most, 8):
        widths = [min(most, room)] * 2
    else:
        widths = [max(1, min(most, width - label - 2 - each)) for each in fixed]
    lines = []
    for part, cells in rows:
        drawn = [_draw(cell, i, widths[i], blocks, colors) for i, cell in enumerate(cells)]
        texts = [text for text in drawn if text]
        for text in ["   ".join(texts)] if beside else texts:
            lines.append(f"{part:{label}}  {text}")
    return "\n".join(lines)


_Cell = tuple[str, list[float], str]  # first figure, all values, last figure


def _cell(history: Sequence[dict[str, Any]], part: str, quantity: str) -> _Cell | None:
    found = [row.get(f"{part}_{quantity}") for row in history]
    values = [value if isinstance(value, (int, float)) else nan for value in found]
    if not any(isinstance(value, (int, float)) for value in found):
        return None
    show = _show_loss if quantity == "loss" else "{:.2%}".format
    return f"{quantity} {show(values[0])}", values, show(values[-1])


def _draw(cell: _Cell | None, i: int, width: int, blocks: str, colors: bool) -> str:
    if cell is None:
        return ""
    first, values, last = cell
    if len(values) == 1:
        return first
    line = sparkline(values, width, blocks, logarithmic=i == 0)
    if colors:
        line = f"\x1b[{(CYAN, GREEN)[i]}m{line}\x1b[0m"
    return f"{first} {line} {last}"


def _show_loss(loss: float) -> str:
    """Return a loss in about six characters."""
    return f"{loss:.4f}" if abs(loss) < 1e3 or loss in (inf, -inf) else f"{loss:.3g}"


def blocks_for(stream: Any) -> str:
    """Return the sparkline characters supported by the encoding of a stream."""
    encoding = getattr(stream, "encoding", "ascii")
    if encoding is None:  # io.StringIO, which accepts any text
        return BLOCKS
    try:
        BLOCKS.encode(encoding)
    except (UnicodeError, LookupError):
        return ASCII
    return BLOCKS


def summarize_for(history: Sequence[dict[str, Any]], stream: Any = None) -> str:
    """Return `summarize` in a form supported by a stream, by default standard output."""
    import shutil  # slow to import because of the compression formats

    stream = sys.stdout if stream is None else stream
    # Without the last column, after which some terminals wrap.
    width = shutil.get_terminal_size().columns - 1 if is_terminal(stream) else 79
    return summarize(history, width, blocks_for(stream), has_colors(stream))
