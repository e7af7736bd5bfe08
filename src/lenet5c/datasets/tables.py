"""Tables of text with an image a row, as digit competitions have them: CSV and its like."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import name_errors, open_regular
from lenet5c._text import count, list_some, printable
from lenet5c.datasets.archives import check_unpacked
from lenet5c.datasets.columns import Columns, find_columns, is_header
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.pixels import convert_images, convert_labels, guess_reading
from lenet5c.datasets.records import ALL, Found, ReadOptions, Records

#: Bytes of the pixels of a table, and of a line.
MOST_PIXELS, MOST_LINE = 2 << 30, 16 << 20
#: Between columns; a space only where there is none of the others.
SEPARATORS = "\t;|, "
#: A row has more values than this: otherwise it is none of pixels.
_FEW = 16
_BLOCK = 1 << 18  # bytes
_SAMPLE = 1000  # rows
_COMMA, _SEMICOLON, _NEWLINE, _ZERO = 44, 59, 10, 48


def read_tables(files: dict[str, Path], name: str, options: ReadOptions) -> Found:
    """Read tables, one for each part of a data set.

    Each has a row of pixels for each image, perhaps a label and an id. Columns are named in the
    first line or not; they are separated by commas, semicolons, tabs, bars or spaces. The files may
    be gzipped.

    Raises
    ------
    FileNotFoundError
    DatasetError
        A file is no such table, or damaged; the message names the line.
    """
    shape = options.shape
    tables = {part: _read_table(path, part, options) for part, path in files.items()}
    arrays = {part: table.stack() for part, table in tables.items()}
    names = {str(path): arrays[part] for part, path in files.items()}
    images, notes = convert_images(names, shape)
    parts = {}
    for part, path in files.items():
        table, pixels = tables[part], images[str(path)]
        labels = None if table.columns.label is None else table.read_labels()
        ids = None if table.columns.id is None else table.ids
        parts[part] = Records(pixels, labels, ids)
        notes += table.describe_ignored()
    return Found(parts, name, guess_reading(images.values()), tuple(dict.fromkeys(notes)))


@dataclass(eq=False)
class _Table:
    """A table as it is read."""

    path: Path
    separator: str
    names: list[str] | None
    columns: Columns
    width: int
    pixels: list[NDArray[Any]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    size: int = 0  # bytes of the pixels

    def stack(self) -> NDArray[Any]:
        """Return the pixels of all rows."""
        kind = np.result_type(*{block.dtype for block in self.pixels})
        count = sum(map(len, self.pixels))
        stacked = np.empty((count, len(self.columns.pixels)), kind)
        while self.pixels:  # popped, else all would be in memory twice
            block = self.pixels.pop()
            count -= len(block)
            stacked[count : count + len(block)] = block
        return stacked

    def read_labels(self) -> NDArray[np.int64] | list[str]:
        """Return the labels; a missing one is an error."""
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
        shown = list_some(printable(self.names[place])[:40] for place in self.columns.ignored)
        return [f"{count(len(self.columns.ignored), 'column')} not read: {shown}"]


def _read_table(path: Path, part: str, options: ReadOptions) -> _Table:
    with _open_text(path) as stream:
        head, table, number = b"", None, 1
        for block in _read_blocks(stream, path, path.stat().st_size):
            if table is None:
                # A sample for the roles of the columns, of several blocks if need be.
                head += block
                if head.count(b"\n") <= _SAMPLE and len(head) < 4 * _BLOCK:
                    continue
                table, block, number = _begin(path, part, head, options)
            number = _add(table, block, number)
        if table is None:
            table, block, number = _begin(path, part, head, options)
            _add(table, block, number)
    if not table.pixels:
        raise DatasetError(f"{path} must have a row for each image, got names of columns alone")
    return table


@contextmanager
def _open_text(path: Path) -> Iterator[Any]:
    """Open a file, which may be gzipped; its faults are DatasetErrors."""
    with name_errors(path), open_regular(path) as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: Any = gzip.GzipFile(fileobj=file) if zipped else file
        try:
            yield stream
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DatasetError(
                f"{path}: the gzip data is damaged ({error}); download it again"
            ) from None


def _read_blocks(stream: BinaryIO, path: Path, size: int) -> Iterator[bytes]:
    """Yield the text of a file of `size` bytes as blocks of whole lines, each with a line feed."""
    rest, total = b"", 0
    while block := stream.read(_BLOCK):
        if total == 0:
            _check_text(block, path)
            block = block.removeprefix(b"\xef\xbb\xbf")  # Excel's mark of UTF-8
        total += len(block)
        check_unpacked(path, total, size)
        end = block.rfind(b"\n") + 1
        if end:
            yield (rest + block[:end]).replace(b"\r\n", b"\n")
            rest = block[end:]
        else:
            rest += block
        if len(rest) > MOST_LINE:
            raise DatasetError(
                f"{path} must have lines of at most {MOST_LINE:,} bytes, got a longer one; "
                "it is no table of images"
            )
    if rest.strip():
        yield rest.replace(b"\r", b"") + b"\n"


def _check_text(block: bytes, path: Path) -> None:
    if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DatasetError(f"{path} must be text in UTF-8, got UTF-16; save it as CSV UTF-8")
    if b"\0" in block:
        raise DatasetError(f"{path} must be a table of text, got binary data; give another file")


def _begin(path: Path, part: str, head: bytes, options: ReadOptions) -> tuple[_Table, bytes, int]:
    """Return a table by its first lines, those of the data, and the number of their first."""
    lines = head.decode("utf-8", "replace").split("\n")
    number = next((i for i, line in enumerate(lines) if line.strip()), None)
    if number is None:
        raise DatasetError(f"{path} must be a table of images, got an empty file")
    separator = _find_separator(lines[number])
    sample = [line for line in lines[number : number + _SAMPLE] if line.strip()]
    try:
        rows = list(_split(sample, separator))
    except csv.Error as error:
        raise DatasetError(f"{path} is no table of text ({error}); give another file") from None
    names = rows.pop(0) if is_header(rows[0]) else None
    width = len(names or rows[0])
    full = [row for row in rows if len(row) == width] or [[""] * width]
    columns = find_columns(str(path), names, full, options, part not in ("train", ALL))
    if names is not None:
        number += 1
    rest = head.split(b"\n", number)[-1]
    return _Table(path, separator, names, columns, width), rest, number + 1


def _find_separator(line: str) -> str:
    few = min(_FEW, max(map(line.count, SEPARATORS)))
    return next(each for each in SEPARATORS if line.count(each) >= few)


def _split(lines: list[str], separator: str) -> Iterator[list[str]]:
    if separator == " ":
        return (line.split() for line in lines)
    return csv.reader(lines, delimiter=separator)


def _add(table: _Table, block: bytes, number: int) -> int:
    """Read the rows of a block, whose first line has that number; return that of the next block."""
    after = number + block.count(b"\n")
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
    for place, texts in ((columns.label, table.labels), (columns.id, table.ids)):
        if place is not None:
            stops = ends[:, place].tolist()
            starts = (ends[:, place] - lengths[:, place]).tolist()
            fields = [text[a:b] for a, b in zip(starts, stops, strict=True)]
            texts += [each.decode("utf-8", "replace").strip() for each in fields]
    table.pixels.append(pixels)
    table.size += pixels.nbytes
    if table.size > MOST_PIXELS:
        raise DatasetError(
            f"{table.path} must have at most {MOST_PIXELS:,} bytes of pixels, got more; divide it, "
            "or save the images as .npy files, which need no memory"
        )
    return after


def _tidy(block: bytes, separator: str) -> bytes:
    """Return a block without quotes, empty lines and, if they separate, repeated spaces."""
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
    """Return integers from 0 to 255 that end at these places; None if others are among them."""
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


def _parse_numbers(table: _Table, text: bytes, block: bytes, number: int) -> NDArray[np.float32]:
    """Return numbers of any kind."""
    if table.separator == ";":
        text = text.replace(b",", b".")  # a decimal comma
    try:
        values = np.loadtxt(
            io.BytesIO(text),
            np.float32,
            comments=None,
            delimiter=table.separator,
            usecols=table.columns.pixels,
            ndmin=2,
            encoding="utf-8",
        )
    except (ValueError, UnicodeDecodeError):
        raise _find_fault(table, block, number) from None
    if not np.isfinite(values).all():
        raise _find_fault(table, block, number)
    return values


def _find_ragged(table: _Table, block: bytes, number: int) -> DatasetError:
    """Return the error that names the first line of another width."""
    for i, line in enumerate(block.split(b"\n")):
        text = _tidy(line + b"\n", table.separator)
        width = text.count(table.separator.encode()) + 1
        if text and width != table.width:
            return DatasetError(
                f"{table.path} must have {count(table.width, 'value')} in each row, got "
                f"{width:,} in line {number + i:,}; repair or remove it"
            )
    return DatasetError(f"{table.path} is no table of {table.width:,} columns; give another file")


def _find_fault(table: _Table, block: bytes, number: int) -> DatasetError:
    """Return the error that names the first pixel that is no number."""
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
        f"{table.path} must have numbers as pixels, got others between line {number:,} and "
        f"{number + block.count(10):,}; give another file"
    )
