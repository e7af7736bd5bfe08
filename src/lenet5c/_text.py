"""Text formatting: sanitized text, counts, lists, aligned tables and HTML tables."""

from __future__ import annotations

import errno
import os
import unicodedata
from contextlib import suppress

TYPE_CHECKING = False  # instead of importing typing, for a faster start of commands
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO


def printable(text: object) -> str:
    r"""Return `text` as one line without control characters.

    Line breaks and control sequences, which names in files may contain, are escaped.

    Examples
    --------
    >>> from lenet5c._text import printable
    >>> print(printable("two\nlines"))
    two\nlines
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


#: Errors that occur only when a file is written.
UNWRITABLE = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EROFS")}


def reason(error: BaseException) -> str:
    """Return the message of an error; system errors name the file and omit the error number.

    Examples
    --------
    >>> from lenet5c._text import reason
    >>> reason(FileNotFoundError(2, "No such file or directory", "a.png"))
    'a.png: No such file or directory'
    >>> reason(OSError(28, "No space left on device", "run/model"))
    'cannot write run/model: No space left on device'
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if error.filename is None:
        return error.strerror
    what = "cannot write " if error.errno in UNWRITABLE else ""
    return f"{what}{os.fsdecode(error.filename)}: {error.strerror}"


def plain(name: str) -> str:
    r"""Return `name` as one line for a picture or a table, never empty.

    Control characters and line breaks become spaces.

    Examples
    --------
    >>> from lenet5c._text import plain
    >>> plain("two\nlines"), plain("")
    ('two lines', '(no name)')
    """
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    visible = "".join(" " if unicodedata.category(c) in hidden else c for c in name)
    return " ".join(visible.split()) or "(no name)"


def columns(text: str) -> int:
    """Return the width of `text` in terminal columns.

    Examples
    --------
    >>> from lenet5c._text import columns
    >>> columns("Hund"), columns("犬")
    (4, 2)
    """
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shorten(name: str, width: int) -> str:
    """Return `name`, made `plain`, in at most `width` columns, shortened in the middle.

    Examples
    --------
    >>> from lenet5c._text import shorten
    >>> shorten("golden retriever, adult", 12)
    'golden…adult'
    """
    name = plain(name)
    if columns(name) <= width:
        return name
    tail = _cut(name[::-1], (width - 1) // 2)[::-1]
    return _cut(name, width - 1 - columns(tail)).rstrip() + "…" + tail.lstrip()


def _cut(text: str, width: int) -> str:
    cut = ""
    for character in text:
        if columns(cut + character) > width:
            break
        cut += character
    return cut


def table(rows: Iterable[Sequence[object]], align: str, gap: int = 2) -> str:
    """Return `rows` of cells as lines of aligned columns.

    Parameters
    ----------
    rows : iterable of sequences
        Rows of cells, starting with the header.
    align : str
        A letter for each column: ``l`` or ``r``.
    gap : int
        Number of spaces between columns.

    Examples
    --------
    >>> from lenet5c._text import table
    >>> print(table([("layer", "parameters"), ("conv1", 156)], "lr"))
    layer  parameters
    conv1         156
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(columns, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = []
        for cell, width, side in zip(row, widths, align, strict=True):
            space = " " * (width - columns(cell))
            padded.append(cell + space if side == "l" else space + cell)
        lines.append((" " * gap).join(padded).rstrip())
    return "\n".join(lines)


def to_html(value: object) -> str:
    """Return a value as HTML text, escaped and without invalid characters.

    Examples
    --------
    >>> from lenet5c._text import to_html
    >>> to_html("a < b")
    'a &lt; b'
    """
    from html import escape  # imported here for a faster start of commands

    characters = str(value).encode("utf-8", "replace").decode()
    return escape(characters.replace("\0", "\N{REPLACEMENT CHARACTER}"))


def html_table(heading: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table for notebooks; an empty `heading` is omitted.

    Examples
    --------
    >>> from lenet5c._text import html_table
    >>> html_table(["layer"], [["conv1"]])
    '<table><thead><tr><th>layer</th></tr></thead><tbody><tr><td>conv1</td></tr></tbody></table>'
    """

    def line(cells: Sequence[object], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{to_html(cell)}</{tag}>' for cell in cells)}</tr>"

    head = f"<thead>{line(heading, 'th')}</thead>" if heading else ""
    return f"<table>{head}<tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> from lenet5c._text import count
    >>> count(1, "image"), count(60_000, "image"), count(2, "class", "classes")
    ('1 image', '60,000 images', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listing(items: Iterable[object], last: str = "and") -> str:
    """Return items as an enumeration.

    Examples
    --------
    >>> from lenet5c._text import listing
    >>> listing(["a"]), listing(["a", "b", "c"]), listing(["a", "b"], "or")
    ('a', 'a, b and c', 'a or b')
    """
    texts = [str(item) for item in items]
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}"


def list_some(items: Iterable[str], most: int = 5, separator: str = ", ") -> str:
    """Return an enumeration of the first items, with the number of remaining items.

    Examples
    --------
    >>> from lenet5c._text import list_some
    >>> list_some("abc"), list_some("abcd", most=2)
    ('a, b, c', 'a, b, and 2 more')
    """
    texts = list(items)
    more = [f"and {len(texts) - most:,} more"] if len(texts) > most else []
    return separator.join(texts[:most] + more)


def is_terminal(stream: TextIO | None) -> bool:
    """Return True if `stream` is an open terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def has_colors(stream: TextIO | None) -> bool:
    """Return True if text may be colored.

    This is the case on a terminal with colors, unless NO_COLOR is set (no-color.org).
    """
    dumb = os.environ.get("NO_COLOR") or os.environ.get("TERM", "") == "dumb"
    if dumb or not is_terminal(stream):
        return False
    return os.name != "nt" or bool({"WT_SESSION", "ANSICON", "TERM"} & os.environ.keys())


def format_p(p: float, digits: int = 2, name: str = "") -> str:
    """Return a p-value as text, optionally with its name.

    A p-value that underflows is not shown as 0.

    Examples
    --------
    >>> from lenet5c._text import format_p
    >>> format_p(0.0123), format_p(0.0123, 3, "p"), format_p(0.0), format_p(0.0, name="p")
    ('0.012', 'p = 0.0123', '<1e-300', 'p < 1e-300')
    """
    small = p < 1e-300
    number = "1e-300" if small else f"{p:.{digits}g}"
    if name:
        return f"{name} {'<' if small else '='} {number}"
    return f"<{number}" if small else number


def command_line(*words: object) -> str:
    """Return a ``lenet5c`` command line that runs in this environment.

    This is ``lenet5c`` itself if it is found on the search path in this environment, otherwise this
    Python with ``-m lenet5c``.

    Examples
    --------
    >>> from lenet5c._text import command_line
    >>> command_line("train", "--out", "my run").endswith("lenet5c train --out 'my run'")
    True
    """
    import shlex
    import shutil
    import sys

    found = shutil.which("lenet5c")
    here = os.path.dirname(sys.executable)
    if found and os.path.dirname(os.path.abspath(found)) == here:
        program = ["lenet5c"]
    else:
        python = sys.executable or "python"
        with suppress(ValueError):  # another drive
            relative = os.path.relpath(python)
            if not relative.startswith(os.pardir):
                python = relative
        program = [python, "-m", "lenet5c"]
    return shlex.join([*program, *map(str, words)])


def suggest(text: object, names: Iterable[str]) -> str:
    """Return '; did you mean NAME?' with the name closest to a text, '' if none is close."""
    from difflib import get_close_matches

    near = get_close_matches(str(text).lower(), names, 1)
    return f"; did you mean {near[0]}?" if near else ""
