"""Parquet files with images, stored as picture files, lists or columns of pixels."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import name_errors, open_regular
from lenet5c._optional import require
from lenet5c._text import count, list_some, printable
from lenet5c.datasets.columns import find_columns, find_id, find_label
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.image_folder import MEMORY, ImageStack, common_size
from lenet5c.datasets.parts import IMAGES
from lenet5c.datasets.pictures import describe_fault, measure_sizes, measure_whites, read_pictures
from lenet5c.datasets.pixels import (
    MIN_SIDE,
    convert_images,
    convert_labels,
    convert_targets,
    guess_reading,
)
from lenet5c.datasets.records import ALL, Found, ReadOptions, Records

#: Maximum bytes of a row group.
MAX_GROUP = 4 << 30
#: Lowercase names of a soft target column.
TARGETS = ("targets", "probabilities", "soft_targets", "soft_labels", "target", "labels")
_ROWS = 1024  # at a time
_METADATA = b"huggingface"  # the metadata key of class names


def read_parquet(files: dict[str, list[Path]], name: str, options: ReadOptions) -> Found:
    """Read Parquet files, one or several for each part of a data set.

    Each row has an image and optionally a label. The image is a picture file (a column of bytes, or
    of structures with `bytes`), a list of pixels, nested or not, or one column for each pixel.
    Class names are taken from the metadata. A list of probabilities, in the label column or in
    another one such as targets, is a soft target.

    Raises
    ------
    FileNotFoundError
    DatasetError
        A file is damaged, or has no images.
    MissingExtraError
        If PyArrow, or Pillow for picture files, is not installed.
    """
    tables = {
        part: [_open(path, options, part not in ("train", ALL)) for path in paths]
        for part, paths in files.items()
    }
    first = next(iter(tables.values()))[0]
    for those in tables.values():
        for table in those:
            if table.kind != first.kind or table.roles != those[0].roles:
                raise DatasetError(
                    f"{table.path} must have the columns of {those[0].path}, got different ones; "
                    "use files of the same data set"
                )
    notes: list[str] = []
    if first.kind == "pictures":
        streams = (_stream_pictures(table) for those in tables.values() for table in those)
        white = measure_whites(chain.from_iterable(streams))
        parts = _read_pictures(tables, options, notes, white)
        reading = guess_reading(records.images for records in parts.values())
        names = _find_names(first, parts)
        return Found(parts, name, reading, tuple(notes), names, white=white)
    arrays = {
        f"{paths[0]}": np.concatenate([_read_pixels(table) for table in tables[part]])
        for part, paths in files.items()
    }
    images, notes, white = convert_images(arrays, options.shape, options.levels)
    parts = {}
    for part, paths in files.items():
        pixels = images[str(paths[0])]
        labels, ids, targets = _read_others(tables[part], len(pixels))
        parts[part] = Records(pixels, labels, ids, targets=targets)
    reading = guess_reading(images.values())
    return Found(parts, name, reading, tuple(notes), _find_names(first, parts), white=white)


@dataclass(frozen=True)
class _Table:
    """A Parquet file and the roles of its columns."""

    path: Path
    kind: str  # 'pictures', 'list' or 'pixels'
    images: list[str]
    label: str | None
    id: str | None
    names: tuple[str, ...]  # class names
    targets: str | None = None

    @property
    def roles(self) -> tuple[str | None, str | None, str | None]:
        """Columns of labels, ids and soft targets."""
        return self.label, self.id, self.targets

    def batches(self, columns: list[str]) -> Iterator[Any]:
        """Yield blocks of rows."""
        with _open_parquet(self.path) as file:
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            # Column sizes are not read: damaged ones would crash the process.
            size = max(group.total_byte_size for group in groups)
            if size > MAX_GROUP:
                raise DatasetError(
                    f"{self.path} must have row groups of at most {MAX_GROUP:,} bytes, got "
                    f"{size:,}; write smaller ones"
                )
            yield from file.iter_batches(_ROWS, columns=columns)


@contextmanager
def _open_parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file, converting read errors to a DatasetError."""
    parquet = require("pyarrow.parquet", "parquet", "Parquet files")
    with name_errors(path), open_regular(path) as stream:
        try:
            with parquet.ParquetFile(stream) as file:
                yield file
        except (DatasetError, MemoryError, ImportError):
            raise
        except Exception as error:  # a malicious file may raise anything
            raise DatasetError(
                f"{path} must be a valid Parquet file, got a damaged one "
                f"({' '.join(str(error).split())[:100]}); download it again"
            ) from None


def _open(path: Path, options: ReadOptions, optional: bool) -> _Table:
    """Find the roles of the columns by type and name."""
    types = require("pyarrow", "parquet", "Parquet files").types
    with _open_parquet(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        names = list(schema.names)
        if not rows or len(set(names)) < len(names):
            raise DatasetError(
                f"{path} must have rows, and columns with different names, got {rows} rows of "
                f"{list_some(map(printable, names), 4)}; use another file"
            )
        kinds = {name: _detect_kind(schema.field(name).type, types) for name in names}
        found = [name for name in names if kinds[name] in ("pictures", "list")]
        found.sort(
            key=lambda name: (
                kinds[name] != "pictures",
                name.casefold() not in IMAGES,
                name.casefold() in TARGETS,
            )
        )
        if found:
            # The pixels are in one column: the others may be label and id.
            others = [name for name in names if kinds[name] == "scalar"]
            wanted = options.label_column
            if optional and wanted is not None and wanted not in names:
                wanted = None
            label, number = _find_others(path, names, others, wanted)
            soft = [name for name in found[1:] if kinds[name] == "list" and name != label]
            targets = next((name for name in soft if name.casefold() in TARGETS), None)
            classes = _read_names(schema, label)
            return _Table(path, kinds[found[0]], found[:1], label, number, classes, targets)
        if list(kinds.values()).count("scalar") < MIN_SIDE**2:
            raise DatasetError(
                f"{path} must have a column of images, as picture files or lists of pixels, or one "
                f"for each pixel, got {list_some(map(printable, names), 4)}; use another file"
            )
        sample = next(file.iter_batches(_ROWS))
        texts = [[str(value) for value in row.values()] for row in sample.to_pylist()]
        chosen = find_columns(str(path), names, texts, options, optional)
        label, number = (None if i is None else names[i] for i in (chosen.label, chosen.id))
        pixels = [names[i] for i in chosen.pixels]
        return _Table(path, "pixels", pixels, label, number, _read_names(schema, label))


def _detect_kind(kind: Any, types: Any) -> str:
    """Return 'pictures', 'list' or 'scalar' for a type; empty for others."""
    if hasattr(kind, "storage_type"):
        kind = kind.storage_type
    if types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        is_bytes = any(each.name == "bytes" and _is_binary(each.type, types) for each in fields)
        return "pictures" if is_bytes else ""
    if _is_binary(kind, types):
        return "pictures"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        while hasattr(kind, "value_type"):
            kind = kind.value_type
        return "list" if types.is_integer(kind) or types.is_floating(kind) else ""
    return "" if types.is_nested(kind) else "scalar"


def _is_binary(kind: Any, types: Any) -> bool:
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _find_others(
    path: Path, names: list[str], others: list[str], label_column: str | None
) -> tuple[str | None, str | None]:
    """Return the label and id columns of a table with an image column."""
    place = find_label(str(path), names, label_column)
    label = None if place is None else names[place]
    place = find_id(names)
    number = names[place] if place is not None and names[place] in others else None
    left = [name for name in others if name not in (label, number)]
    if label is None and len(left) == 1:
        label = left[0]
    return label, number


def _read_names(schema: Any, label: str | None) -> tuple[str, ...]:
    """Return the class names of a label column in the metadata."""
    with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        features = json.loads(schema.metadata[_METADATA])["info"]["features"]
        names = features[label]["names"]
        if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return tuple(printable(name.strip()) for name in names)
    return ()


def _find_names(first: _Table, parts: dict[str, Records]) -> tuple[str, ...] | None:
    """Return the class names if the labels are indices of them."""
    for records in parts.values():
        if isinstance(records.labels, np.ndarray):
            low, high = int(records.labels.min()), int(records.labels.max())
            if low < 0 or high >= len(first.names):
                return None
        elif records.labels is not None:
            return None
    return first.names or None


def _read_others(
    tables: list[_Table], rows: int
) -> tuple[Any, list[str] | None, NDArray[np.float32] | None]:
    """Return the labels, ids and soft targets of `rows` rows."""
    labels: list[Any] = []
    ids: list[str] = []
    soft: list[NDArray[Any]] = []
    for table in tables:
        columns = [name for name in table.roles if name is not None]
        for batch in table.batches(columns) if columns else ():
            if table.label is not None:
                labels += batch.column(batch.schema.get_field_index(table.label)).to_pylist()
            if table.id is not None:
                values = batch.column(batch.schema.get_field_index(table.id)).to_pylist()
                ids += [printable(value) for value in values]
            if table.targets is not None:
                column = batch.column(batch.schema.get_field_index(table.targets))
                soft.append(_flatten(column, f"{table.path}: {printable(table.targets)}"))
    first = tables[0]
    title = f"{first.path}: {printable(first.label)}"
    for name, values in ((first.label, labels), (first.id, ids)):
        if name is not None and len(values) != rows:
            raise DatasetError(
                f"{first.path} must have {rows:,} values in {printable(name)}, one for each image, "
                f"got {len(values):,}; download it again"
            )
    if None in labels:
        raise DatasetError(
            f"{title} must have a label in each row, got none in row {labels.index(None)}, counted "
            "from 0; add it, or remove the row"
        )
    targets = None
    if soft:
        if len({each.shape[1:] for each in soft}) > 1:
            raise DatasetError(
                f"{first.path}: {printable(first.targets)} must have lists of equal length"
            )
        targets = convert_targets(np.concatenate(soft), f"{first.path}: {printable(first.targets)}")
    if first.label is None:
        return None if targets is None else targets.argmax(axis=1), ids or None, targets
    text = any(isinstance(label, str) for label in labels)
    try:
        values = list(map(str, labels)) if text else np.array(labels)
    except ValueError:
        raise DatasetError(f"{title} must have lists of equal length") from None
    of_label = None if isinstance(values, list) else convert_targets(values, title)
    if of_label is not None:
        return of_label.argmax(axis=1), ids or None, of_label
    return convert_labels(values, title), ids or None, targets


def _read_pixels(table: _Table) -> NDArray[Any]:
    """Return lists or columns of pixels as an array."""
    blocks, size = [], 0
    for batch in table.batches(table.images):
        if table.kind == "list":
            block = _flatten(batch.column(0), f"{table.path}: {printable(table.images[0])}")
        else:
            columns = [batch.column(batch.schema.get_field_index(name)) for name in table.images]
            block = np.column_stack([each.to_numpy(zero_copy_only=False) for each in columns])
        blocks.append(block)
        size += block.nbytes
        if size > MEMORY:
            raise DatasetError(
                f"{table.path} must have at most {MEMORY:,} bytes of pixels, got more; split it"
            )
        if block.shape[1:] != blocks[0].shape[1:]:
            raise DatasetError(
                f"{table.path} must have images of one size, got {blocks[0].shape[1:]} and "
                f"{block.shape[1:]}; resize them first"
            )
    if not size:
        raise DatasetError(f"{table.path} must have rows of pixels, got none; download it again")
    return np.concatenate(blocks)


def _flatten(column: Any, title: str) -> NDArray[Any]:
    """Return a column of lists of equal length, nested or not, as an array."""
    column = getattr(column, "storage", column)
    shape = [len(column)]
    while hasattr(column.type, "value_type"):
        before = len(column)
        lengths = np.unique(column.drop_null().value_lengths().to_numpy(zero_copy_only=False))
        if column.null_count or len(lengths) != 1 or not lengths[0]:
            shown = list_some(map(str, lengths)) or "no values"
            more = " and rows without one" if column.null_count else ""
            raise DatasetError(f"{title} must have lists of equal length, got {shown}{more}")
        shape.append(int(lengths[0]))
        column = column.flatten()
        if len(column) != before * shape[-1]:
            raise DatasetError(f"{title} must have lists of equal length, got different lengths")
    return column.to_numpy(zero_copy_only=False).reshape(shape)


def _read_pictures(
    tables: dict[str, list[_Table]], options: ReadOptions, notes: list[str], white: dict[str, float]
) -> dict[str, Records]:
    """Return the images of picture files in all parts, of one size."""
    flat = [(part, table) for part, those in tables.items() for table in those]
    root = flat[0][1].path if len(flat) == 1 else flat[0][1].path.parent
    expected = 0
    for _, table in flat:
        with _open_parquet(table.path) as file:
            expected += file.metadata.num_rows
    sizes = Counter(chain.from_iterable(measure_sizes(_stream_pictures(each)) for _, each in flat))
    images = ImageStack(None, common_size(sizes), MEMORY, expected, root)
    good: dict[str, list[bool]] = {part: [] for part in tables}
    bad = []
    for part, table in flat:
        pictures = read_pictures(_stream_pictures(table), images.prepare, white=white)
        for i, picture in enumerate(pictures):
            good[part].append(not isinstance(picture, Exception))
            if isinstance(picture, Exception):
                why = describe_fault(picture, Path("standard input"))
                bad.append(f"{'' if len(flat) == 1 else f'{table.path.name} '}row {i} {why}")
            else:
                images.add(picture)
    if bad:
        shown = list_some(bad, 3, "; ")
        rows = f"{count(len(bad), 'image')} that cannot be read"
        if not options.skip_bad:
            raise DatasetError(f"{root}: {rows} ({shown}); skip them with --skip-bad")
        notes.append(f"{rows}, skipped: {shown}")
    for part, those in tables.items():
        if not any(good[part]):
            raise DatasetError(f"{those[0].path}: no image can be read; use another file")
    stacked, start = images.stack(), 0
    parts = {}
    for part, those in tables.items():
        kept = np.array(good[part])
        labels, ids, targets = _read_others(those, len(kept))
        targets = targets if targets is None else targets[kept]
        if isinstance(labels, np.ndarray):
            labels = labels[kept]
        elif labels is not None:
            labels = [label for label, keep in zip(labels, kept, strict=True) if keep]
        if ids is not None:
            ids = [each for each, keep in zip(ids, kept, strict=True) if keep]
        end = start + int(kept.sum())
        parts[part] = Records(stacked[start:end], labels, ids, targets=targets)
        start = end
    return parts


def _stream_pictures(table: _Table) -> Iterator[io.BytesIO]:
    """Yield the picture files in a column, empty if missing."""
    for batch in table.batches(table.images):
        column = batch.column(0)
        column = getattr(column, "storage", column)
        if hasattr(column.type, "get_field_index"):
            column = column.field(column.type.get_field_index("bytes"))
        if column.null_count == len(column):
            raise DatasetError(
                f"{table.path} must contain picture files, got none in "
                f"{printable(table.images[0])}, "
                "possibly only their names; use a file that contains the images"
            )
        for value in column:
            yield io.BytesIO(value.as_py() or b"")
