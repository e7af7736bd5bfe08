"""Predictions for a whole data set as a file with one row per image, as in competitions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import name_errors, open_regular
from lenet5c._optional import require
from lenet5c._text import count, list_some
from lenet5c.datasets.conversion import to_gray
from lenet5c.datasets.records import Records
from lenet5c.errors import UserError
from lenet5c.training import TrainedModel
from lenet5c.training.matching import match_names, match_size

CHUNK = 8192  # images at a time
DIGITS = 6  # decimals of a probability
MAX_SAMPLE = 2**30  # bytes
# The name of a file as samples have it: whole, without its ending, without its folder, or both.
SHORTER: tuple[Callable[[str], str], ...] = (
    str,
    lambda name: name.removesuffix(PurePosixPath(name).suffix),
    lambda name: PurePosixPath(name).name,
    lambda name: PurePosixPath(name).stem,
)
Write = Callable[[list[Any]], object]


class Sink(Protocol):
    """Interface of the files to which predictions are written."""

    def write(self, content: bytes, /) -> object:
        """Write bytes."""


@dataclass(frozen=True, eq=False)
class Form:
    """The columns and rows of a file of predictions.

    Attributes
    ----------
    columns : dict
        Name -> 'id', 'label', 'probability' (of that label), 'true_label', or the number of a
        class, whose probability it has.
    ids : sequence of str or int
        By row.
    order : ndarray of int or None
        The image of each row; None if it is that of the same number.
    """

    columns: dict[str, str | int]
    ids: Sequence[Any]
    order: NDArray[np.int64] | None = None


def choose_form(trained: TrainedModel, records: Records, probabilities: bool = False) -> Form:
    """Return the usual columns: id, label, probability, and true_label where it is known.

    Images without ids are numbered from 0. `probabilities` adds a column for each class.
    """
    columns: dict[str, str | int] = {"id": "id", "label": "label", "probability": "probability"}
    if records.labels is not None:
        columns["true_label"] = "true_label"
    if probabilities:
        columns |= {f"probability_{name}": i for i, name in enumerate(trained.class_names)}
    return Form(columns, range(len(records)) if records.ids is None else records.ids)


def read_form(path: Path, trained: TrainedModel, records: Records) -> Form:
    """Return the columns and ids of a sample file, such as the sample submission of a competition.

    The first column has ids. It is followed by one column for the predicted labels, or by one for
    the probability of each class, named after the class. The ids are matched with those of the
    images, which may be file names, with or without folder and extension; images without ids are
    in the order of the rows.

    Raises
    ------
    OSError
    UserError
        If the file is not a sample file, or not one of these images.
    """
    heading, ids = _read_sample(path, len(records))
    first, *others = heading
    known = {name: i for i, name in enumerate(trained.class_names)}
    columns: dict[str, str | int] = {first: "id"}
    if len(others) == 1:
        columns[others[0]] = "label"
    elif len(set(heading)) == len(heading) and others and set(others) <= known.keys():
        columns |= {name: known[name] for name in others}
    else:
        raise UserError(
            f"{path} must have a column of ids and one for labels, or one for each class of the "
            f"model ({list_some(trained.class_names)}), got {list_some(heading)}"
        )
    if len(ids) != len(records):
        found = "more" if len(ids) > len(records) else f"{len(ids):,}"
        raise UserError(
            f"{path} must have a row for each of {count(len(records), 'image')}, got {found}"
        )
    return Form(columns, ids, _find_order(path, ids, records.ids))


def _read_sample(path: Path, most: int) -> tuple[list[str], list[str]]:
    """Return the heading and the first column of a CSV or TSV file, of at most `most` rows and one.

    More are not wanted, and would take memory.
    """
    with name_errors(path), open_regular(path, MAX_SAMPLE) as file:
        text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
        beginning = text.readline(1 << 16)
        text.seek(0)
        rows = csv.reader(text, delimiter="\t" if "\t" in beginning else ",")
        try:
            heading = next(rows, [])
            ids = []
            for row in rows:
                if row and len(row) != len(heading):
                    raise UserError(
                        f"{path} must have {len(heading)} cells in each line, as in its header, "
                        f"got {len(row)} in line {rows.line_num}"
                    )
                ids += row[:1]
                if len(ids) > most:
                    break
        except csv.Error as error:
            raise UserError(f"{path} must be a CSV file: {error}") from None
    return heading, ids


def _find_order(
    path: Path, ids: Sequence[str], of_images: Sequence[str] | None
) -> NDArray[np.int64] | None:
    """Return the image of each row by its id; None where the order is the images' own."""
    if of_images is None:
        return None
    known: set[str] = set()
    for shorten in SHORTER:
        places = {shorten(name): i for i, name in enumerate(of_images)}
        if len(places) == len(of_images) and set(ids) == places.keys():
            order = np.array([places[each] for each in ids])
            return None if (order == np.arange(len(order))).all() else order
        known |= places.keys()
    strange = next((each for each in ids if each not in known), ids[0])
    raise UserError(
        f"ids of {path} must be those of the images, such as {of_images[0]!r}, without repetition, "
        f"got {strange!r}"
    )


@dataclass
class Score:
    """The number of images predicted so far, and of correct predictions.

    `correct` is None where the true labels are not known, or some are no classes of the model.
    """

    count: int = 0
    correct: int | None = 0


def write_predictions(
    sink: Sink,
    suffix: str,
    trained: TrainedModel,
    records: Records,
    form: Form,
    on_message: Callable[[int], object] | None = None,
) -> Score:
    """Predict the classes of images chunk by chunk, and write a row for each image.

    Parameters
    ----------
    sink : file
    suffix : str
        A key of `WRITERS`.
    trained : TrainedModel
    records : Records
        Images of other channels or another size than the model's are converted.
    form : Form
    on_message : callable, optional
        Called with the number of images of each chunk.

    Raises
    ------
    UserError
        The images cannot be converted, or an output of the model is not finite.
    """
    names, labels = trained.class_names, records.labels
    meant = None if labels is None else _match_labels(labels, names)
    score = Score(correct=None if meant is None else 0)
    with WRITERS[suffix](sink, form) as write:
        for rows in _slice_evenly(len(records)):
            places: Any = rows if form.order is None else form.order[rows]
            probabilities = trained(fit_images(trained, records.images[places]))
            best = probabilities.argmax(axis=1)
            values: dict[str, Any] = {
                "id": form.ids[rows],
                "label": [names[i] for i in best.tolist()],
                "probability": probabilities[np.arange(len(best)), best],
            }
            if labels is not None:
                values["true_label"] = true = _take_labels(labels, places)
                if meant is not None and score.correct is not None:
                    pairs = zip(best.tolist(), true, strict=True)
                    score.correct += sum(meant[label] == number for number, label in pairs)
            write(
                [
                    values[what] if isinstance(what, str) else probabilities[:, what]
                    for what in form.columns.values()
                ]
            )
            score.count += len(best)
            if on_message:
                on_message(len(best))
    return score


def _slice_evenly(number: int) -> Iterator[slice]:
    """Yield slices of nearly equal size: a few images left over would have other last digits."""
    bounds = np.linspace(0, number, max(1, -(-number // CHUNK)) + 1).astype(int).tolist()
    yield from map(slice, bounds[:-1], bounds[1:])


def _match_labels(labels: Any, names: Sequence[str]) -> dict[str, int] | None:
    """Return the class of each label by its name or meaning; None if one is no class."""
    distinct = np.unique(labels) if isinstance(labels, np.ndarray) else set(labels)
    texts = sorted(map(str, distinct))
    found = match_names(texts, names)
    return found if len(found) == len(texts) else None


def _take_labels(labels: Any, places: Any) -> list[str]:
    if isinstance(labels, np.ndarray) or isinstance(places, slice):
        return list(map(str, labels[places]))
    return [str(labels[i]) for i in places.tolist()]


def fit_images(trained: TrainedModel, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images (N, C, H, W) with the channels and the size of those a model was trained on.

    Colors become gray by the weights of ITU-R 601, gray becomes three equal channels. A UserError
    says that there is another number of channels.
    """
    channels, (n, given, h, w) = trained.image_shape[0], images.shape
    if (given, channels) == (1, 3):
        images = np.repeat(images, 3, axis=1)
    elif (given, channels) == (3, 1):
        images = to_gray(images.transpose(0, 2, 3, 1).reshape(n * h, w, 3)).reshape(n, 1, h, w)
    elif given != channels:
        raise UserError(
            f"images must have {count(channels, 'channel')} for this model, got {given}"
        )
    return match_size(trained, images)[0]


@contextmanager
def _write_csv(sink: Sink, form: Form, delimiter: str = ",") -> Iterator[Write]:
    def write(columns: list[Any]) -> None:
        text = io.StringIO(newline="")
        rows = zip(*map(_to_text, columns), strict=True)
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
        sink.write(text.getvalue().encode("utf-8", "surrogateescape"))

    write([[name] for name in form.columns])
    yield write


@contextmanager
def _write_tsv(sink: Sink, form: Form) -> Iterator[Write]:
    with _write_csv(sink, form, "\t") as write:
        yield write


@contextmanager
def _write_json_lines(sink: Sink, form: Form) -> Iterator[Write]:
    def write(columns: list[Any]) -> None:
        rows = zip(*(map(_to_number, column) for column in columns), strict=True)
        lines = (json.dumps(dict(zip(form.columns, row, strict=True))) + "\n" for row in rows)
        sink.write("".join(lines).encode())

    yield write


@contextmanager
def _write_parquet(sink: Sink, form: Form) -> Iterator[Write]:
    arrow, parquet = (
        require(name, "parquet", "parquet files") for name in ("pyarrow", "pyarrow.parquet")
    )
    texts = {"label", "true_label"} | (set() if isinstance(form.ids, range) else {"id"})
    kinds: dict[Any, Any] = {"id": arrow.int64()} | dict.fromkeys(texts, arrow.string())
    schema = arrow.schema(
        [(name, kinds.get(what, arrow.float32())) for name, what in form.columns.items()]
    )
    with parquet.ParquetWriter(sink, schema) as writer:

        def write(columns: list[Any]) -> None:
            writer.write_table(arrow.table(list(map(_to_unicode, columns)), schema=schema))

        yield write


def _to_text(column: Any) -> Sequence[Any]:
    if isinstance(column, np.ndarray):
        return [f"{value:.{DIGITS}f}" for value in column.tolist()]
    return column


def _to_number(value: Any) -> Any:
    return round(float(value), DIGITS) if isinstance(value, np.floating) else value


def _to_unicode(column: Any) -> Any:
    """Return a column without the bytes of file names that are no text, which arrow refuses."""
    if isinstance(column, (np.ndarray, range)):
        return column
    return [text.encode("utf-8", "replace").decode() for text in column]


WRITERS = {
    ".csv": _write_csv,
    ".tsv": _write_tsv,
    ".jsonl": _write_json_lines,
    ".ndjson": _write_json_lines,
    ".parquet": _write_parquet,
}
