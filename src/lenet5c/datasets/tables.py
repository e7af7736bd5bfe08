"""Text tables with one image per row, such as the CSV files of competitions."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import count, list_some, printable
from lenet5c.datasets.columns import Columns, find_columns, find_id, find_label, is_header
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.label_tables import (
    find_part_column,
    find_pixel_text,
    read_label_table,
    read_parts,
    tidy_pixels,
)
from lenet5c.datasets.mapped import take
from lenet5c.datasets.pixels import MIN_SIDE, convert_images, convert_labels, guess_reading
from lenet5c.datasets.records import ALL, Found, ReadOptions, Records
from lenet5c.datasets.text_lines import BLOCK, open_text, read_blocks

#: Maximum bytes of the pixels of a table.
MAX_PIXELS = 2 << 30
#: Column separators; a space is used only if none of the others occurs.
SEPARATORS = "\t;|, "
#: Minimum number of values of a row of pixels.
_FEW = 16
_SAMPLE = 1000  # rows
_COMMA, _SEMICOLON, _NEWLINE, _ZERO = 44, 59, 10, 48


def read_tables(
    files: dict[str, Path], name: str, options: ReadOptions, labels: Mapping[str, Path] = {}
) -> Found:
    """Read tables, one for each part of a data set.

    Each table has a row of pixels for each image, and optionally a label and an id. The first line
    may have column names; columns are separated by commas, semicolons, tabs, bars or spaces. All
    pixels may be in one column, separated by spaces, and labels may be one-hot columns. A column
    such as Usage divides a single table into parts. `labels` are tables that only have labels. The
    files may be gzipped.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If a file is not such a table or is damaged; the message has the line number.
    """
    tables = {part: _read_table(path, part, options) for part, path in files.items()}
    arrays = {part: table.stack() for part, table in tables.items()}
    names = {str(path): arrays[part] for part, path in files.items()}
    images, notes, white = convert_images(names, options.shape, options.levels)
    parts = {}
    for part, path in files.items():
        table, pixels = tables[part], images[str(path)]
        of_rows = table.read_labels() if table.is_labeled else None
        if part in labels:
            of_rows = read_label_table(labels[part], len(pixels))
        ids = None if table.columns.id is None else table.ids
        parts[part] = Records(pixels, of_rows, ids)
        notes += table.describe_ignored()
    if list(files) == [ALL] and tables[ALL].part_column is not None:
        rows_of_parts = read_parts(tables[ALL].words, files[ALL])
        parts = {part: _pick(parts[ALL], rows) for part, rows in rows_of_parts.items()}
    reading = guess_reading(images.values())
    return Found(parts, name, reading, tuple(dict.fromkeys(notes)), white=white)


@dataclass(eq=False)
class _Table:
    """A table being read."""

    path: Path
    separator: str
    names: list[str] | None
    columns: Columns
    width: int
    pixels: list[NDArray[Any]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    size: int = 0  # bytes of pixels
    pixel_text: "_Table | None" = None  # table of the pixels, if one column has all of them
    pixel_column: int = 0
    part_column: int | None = None
    words: list[str] = field(default_factory=list)  # names of the parts

    @property
    def is_labeled(self) -> bool:
        """True if the table has labels."""
        return self.columns.label is not None or bool(self.columns.one_hot)

    def stack(self) -> NDArray[Any]:
        """Return the pixels of all rows."""
        kind = np.result_type(*{block.dtype for block in self.pixels})
        count = sum(map(len, self.pixels))
        stacked = np.empty((count, self.pixels[0].shape[1]), kind)
        while self.pixels:  # popped to avoid holding all pixels twice
            block = self.pixels.pop()
            count -= len(block)
            stacked[count : count + len(block)] = block
        return stacked

    def read_labels(self) -> NDArray[np.int64] | list[str]:
        """Return the labels; raise an error if one is missing."""
        texts = {text: text.strip() for text in set(self.labels)}
        blank = {text for text, label in texts.items() if label.lower() in ("", "nan", "na", "?")}
        if blank:
            row = next(i for i, text in enumerate(self.labels) if text in blank)
            raise DatasetError(
                f"{self.path} must have a label in each row, got none in row {row + 1} of the "
                "data; add it, or remove the row"
            )
        return convert_labels(self.labels, str(self.path))

    def describe_ignored(self) -> list[str]:
        """Return a note on columns that are not read."""
        if not self.columns.ignored or self.names is None:
            return []
        unread = [place for place in self.columns.ignored if place != self.part_column]
        shown = list_some(printable(self.names[place])[:40] for place in unread)
        return [f"{count(len(unread), 'column')} not read: {shown}"] if unread else []


def _read_table(path: Path, part: str, options: ReadOptions) -> _Table:
    with open_text(path) as stream:
        head, table, number = b"", None, 1
        for block in read_blocks(stream, path, path.stat().st_size):
            if table is None:
                # A sample to find the roles of the columns, of several blocks if necessary.
                head += block
                if head.count(b"\n") <= _SAMPLE and len(head) < 4 * BLOCK:
                    continue
                table, block, number = _begin(path, part, head, options)
            number = _add(table, block, number)
        if table is None:
            table, block, number = _begin(path, part, head, options)
            _add(table, block, number)
    if not table.pixels:
        raise DatasetError(f"{path} must have a row for each image, got only a header")
    return table


def _begin(path: Path, part: str, head: bytes, options: ReadOptions) -> tuple[_Table, bytes, int]:
    """Return a table for its first lines, the lines of data, and the number of the first."""
    lines = head.decode("utf-8", "replace").split("\n")
    number = next((i for i, line in enumerate(lines) if line.strip()), None)
    if number is None:
        raise DatasetError(f"{path} must be a table of images, got an empty file")
    separator = _find_separator(lines[number])
    sample = [line for line in lines[number : number + _SAMPLE] if line.strip()]
    try:
        rows = list(_split(sample, separator))
    except csv.Error as error:
        raise DatasetError(f"{path} is not a text table ({error}); use another file") from None
    width = len(rows[0])
    least = MIN_SIDE**2  # pixels of one column, if there are fewer columns
    begins = width < least and find_pixel_text(rows[:1], least) is not None
    names = rows.pop(0) if is_header(rows[0]) and not begins else None
    full = [row for row in rows if len(row) == width] or [[""] * width]
    part_column = find_part_column(names, full)
    pixels = find_pixel_text(full, least) if width < least else None
    if pixels is None:
        columns = find_columns(str(path), names, full, options, part not in ("train", ALL))
        table = _Table(path, separator, names, columns, width)
    else:
        columns = _find_beside(path, names, width, (pixels, part_column), options)
        table = _Table(path, separator, names, columns, width, pixel_column=pixels)
        numbers = len(tidy_pixels(full[0][pixels]).split(" "))
        inner = Columns(None, None, list(range(numbers)), [])
        table.pixel_text = _Table(path, " ", None, inner, numbers, table.pixels)
    table.part_column = part_column
    if names is not None:
        number += 1
    rest = head.split(b"\n", number)[-1]
    return table, rest, number + 1


def _find_beside(
    path: Path,
    names: list[str] | None,
    width: int,
    taken: tuple[int | None, ...],
    options: ReadOptions,
) -> Columns:
    """Return the columns of a table with all pixels in one column; one of two has labels."""
    label = find_label(str(path), names or (), options.label_column, width)
    number = find_id(names or ())
    left = [place for place in range(width) if place not in (*taken, label, number)]
    if label is None and len(left) == 1:
        label = left.pop()
    return Columns(label, number, [], left)


def _find_separator(line: str) -> str:
    few = min(_FEW, max(map(line.count, SEPARATORS)))
    found = next(each for each in SEPARATORS if line.count(each) >= few)
    # Spaces may separate the pixels of one column.
    others = (each for each in SEPARATORS if found == " " and 0 < line.count(each) < few)
    return next(others, found)


def _split(lines: list[str], separator: str) -> Iterator[list[str]]:
    if separator == " ":
        return (line.split() for line in lines)
    return csv.reader(lines, delimiter=separator)


def _add(table: _Table, block: bytes, number: int) -> int:
    """Read the rows of a block that starts at line `number`; return the next line number."""
    after = number + block.count(b"\n")
    if table.pixel_text is not None:
        _add_texts(table, table.pixel_text, block, number)
        return after
    text = _tidy(block, table.separator)
    if not text:
        return after
    data, width = np.frombuffer(text, np.uint8), table.width
    places = np.flatnonzero((data == ord(table.separator)) | (data == _NEWLINE))
    rows = text.count(b"\n")
    if len(places) != rows * width or (data[places[width - 1 :: width]] != _NEWLINE).any():
        raise _find_ragged(table, block, number)
    ends = places.reshape(rows, width)
    lengths = np.diff(places, prepend=-1).reshape(rows, width) - 1
    columns = table.columns
    chosen: Any = columns.pixels
    if chosen == list(range(chosen[0], chosen[-1] + 1)):
        chosen = slice(chosen[0], chosen[-1] + 1)
    pixels: NDArray[Any] | None = _parse_bytes(data, ends[:, chosen], lengths[:, chosen])
    if pixels is None:
        pixels = _parse_numbers(table, text, block, number)
    if columns.one_hot:
        table.labels += _read_one_hot(table, text, block, number)
    others = (columns.label, table.labels), (columns.id, table.ids)
    for place, texts in (*others, (table.part_column, table.words)):
        if place is not None:
            stops = ends[:, place].tolist()
            starts = (ends[:, place] - lengths[:, place]).tolist()
            fields = [text[a:b] for a, b in zip(starts, stops, strict=True)]
            texts += [each.decode("utf-8", "replace").strip() for each in fields]
    table.pixels.append(pixels)
    table.size += pixels.nbytes
    if table.size > MAX_PIXELS:
        raise DatasetError(
            f"{table.path} must have at most {MAX_PIXELS:,} bytes of pixels, got more; split it, "
            "or save the images as .npy files, which are read from disk"
        )
    return after


def _add_texts(table: _Table, inner: _Table, block: bytes, number: int) -> None:
    """Read the rows of a block that have all pixels in one column; `inner` is their table."""
    lines = block.decode("utf-8", "replace").split("\n")
    fields = []
    for i, row in enumerate(_split(lines[:-1], table.separator)):
        if not row:
            continue
        if len(row) != table.width:
            raise DatasetError(
                f"{table.path} must have {count(table.width, 'value')} in each row, got "
                f"{len(row):,} in line {number + i:,}; repair or remove it"
            )
        fields.append(tidy_pixels(row[table.pixel_column]))
        columns = table.columns
        others = (columns.label, table.labels), (columns.id, table.ids)
        for place, texts in (*others, (table.part_column, table.words)):
            if place is not None:
                texts.append(row[place].strip())
    _add(inner, "".join(f"{field}\n" for field in fields).encode(), number)


def _read_one_hot(table: _Table, text: bytes, block: bytes, number: int) -> list[str]:
    """Return the labels of a block's rows from one-hot columns."""
    values = _parse_numbers(table, text, block, number, list(table.columns.one_hot))
    if not (((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all()):
        raise DatasetError(
            f"{table.path} must have a single 1 among the {values.shape[1]} class columns of each "
            f"row, got other values between lines {number:,} and {number + block.count(10):,}"
        )
    names = list(table.columns.one_hot.values())
    return [names[place] for place in values.argmax(axis=1).tolist()]


def _pick(records: Records, rows: NDArray[np.intp]) -> Records:
    """Return some rows of a table."""
    labels, ids = (
        each if each is None or isinstance(each, np.ndarray) else [each[i] for i in rows.tolist()]
        for each in (records.labels, records.ids)
    )
    if isinstance(labels, np.ndarray):
        labels = labels[rows]
    return Records(take(records.images, rows), labels, ids)  # type: ignore[arg-type]


def _tidy(block: bytes, separator: str) -> bytes:
    """Return a block without quotes and empty lines and, if spaces separate, repeated spaces."""
    if b'"' in block:
        block = block.replace(b'"', b"")
    if separator == " ":
        lines = (b" ".join(line.split()) for line in block.split(b"\n"))
        return b"".join(line + b"\n" for line in lines if line)
    if b"\n\n" in block or block[:1] == b"\n":
        block = re.sub(b"\n+", b"\n", block).removeprefix(b"\n")
    return block


def _parse_bytes(
    data: NDArray[np.uint8], ends: NDArray[np.intp], lengths: NDArray[np.intp]
) -> NDArray[np.uint8] | None:
    """Return the integers from 0 to 255 that end at these offsets, None if there are others."""
    if lengths.min() < 1 or lengths.max() > 3:
        return None
    digits = data - np.uint8(_ZERO)
    values = digits[ends - 1]
    if values.max() > 9:
        return None
    values, flat = values.ravel(), ends.ravel()
    for length, weight in ((2, 10), (3, 100)):
        # In most images most pixels have a single digit.
        longer = np.flatnonzero(lengths.ravel() >= length)
        if not len(longer):
            break
        higher = digits[flat[longer] - length]
        if higher.max() > 9:
            return None
        sums = values[longer] + higher.astype(np.uint16) * np.uint16(weight)
        if sums.max() > 255:
            return None
        values[longer] = sums
    return values.reshape(ends.shape)


def _parse_numbers(
    table: _Table, text: bytes, block: bytes, number: int, places: list[int] | None = None
) -> NDArray[np.float32]:
    """Return numbers of any kind, by default those of the pixel columns."""
    if table.separator == ";":
        text = text.replace(b",", b".")  # a decimal comma
    try:
        values = np.loadtxt(
            io.BytesIO(text),
            np.float32,
            comments=None,
            delimiter=table.separator,
            usecols=table.columns.pixels if places is None else places,
            ndmin=2,
            encoding="utf-8",
        )
    except (ValueError, UnicodeDecodeError):
        raise _find_fault(table, block, number) from None
    if not np.isfinite(values).all():
        raise _find_fault(table, block, number)
    return values


def _find_ragged(table: _Table, block: bytes, number: int) -> DatasetError:
    """Return the error for the first line with another number of values."""
    for i, line in enumerate(block.split(b"\n")):
        text = _tidy(line + b"\n", table.separator)
        width = text.count(table.separator.encode()) + 1
        if text and width != table.width:
            return DatasetError(
                f"{table.path} must have {count(table.width, 'value')} in each row, got "
                f"{width:,} in line {number + i:,}; repair or remove it"
            )
    return DatasetError(f"{table.path} is not a table of {table.width:,} columns; use another file")


def _find_fault(table: _Table, block: bytes, number: int) -> DatasetError:
    """Return the error for the first pixel that is not a number."""
    for i, line in enumerate(block.split(b"\n")):
        fields = _tidy(line + b"\n", table.separator)[:-1].split(table.separator.encode())
        for place in table.columns.pixels if len(fields) == table.width else ():
            try:
                size = abs(float(fields[place].replace(b",", b".")))
            except ValueError:
                size = np.nan
            if not size <= float(np.finfo(np.float32).max):
                shown = repr(fields[place].decode("utf-8", "replace").strip())[:40]
                title = f" ({printable(table.names[place])[:40]})" if table.names else ""
                return DatasetError(
                    f"{table.path} must have finite numbers as pixels, got {shown} in line "
                    f"{number + i:,}, column {place}{title}; repair or remove the row"
                )
    return DatasetError(
        f"{table.path} must have numbers as pixels, got other values between line {number:,} and "
        f"{number + block.count(10):,}; use another file"
    )
