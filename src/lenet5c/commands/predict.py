"""``lenet5c predict``: read digits in photographs, scans and drawings, or classify a data set.

Exit codes: 0 all read, 1 failed, 2 bad use or an unreadable file, 3 a picture was rejected,
130 interrupted.
"""

import glob
import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lenet5c import _files
from lenet5c._text import count, has_colors, is_terminal, listing, printable
from lenet5c.commands.cli import (
    BAD_USE,
    MODEL_HELP,
    add_read_options,
    add_threads,
    directory,
    fail,
    file,
    note,
    read_options,
    say,
    warn,
    whole,
)
from lenet5c.commands.written_sums import GREEN, YELLOW, show_sums, sums_as_json
from lenet5c.datasets.dataset import READINGS
from lenet5c.datasets.file_tree import is_archive
from lenet5c.datasets.files import ENDINGS
from lenet5c.datasets.pictures import PictureError, find_pictures, measure_whites
from lenet5c.datasets.source import open_records, source_name
from lenet5c.errors import UserError
from lenet5c.recognition.explain import draw_prediction, save_picture
from lenet5c.recognition.judge import REJECT
from lenet5c.recognition.predictor import DIGITS, Reader
from lenet5c.recognition.reading import Prediction
from lenet5c.report.predictions import WRITERS, choose_form, read_form, write_predictions
from lenet5c.training import open_model
from lenet5c.training.matching import compare_colors
from lenet5c.training.plot_style import png

REJECTED = 3
STREAM = "-"
# Options only for pictures, or only for a data set.
OF_PICTURES = ("explain", "why", "neighbors", "json", "reading")
OF_DATA = (
    *("out", "like", "probabilities"),
    *("skip_bad", "follow_links", "transpose", "label_column", "image_shape"),
)
DESCRIPTION = (
    "Read digits in pictures: photographs, scans, drawings. With --data, classify all images of a "
    "data set, such as the test set of a competition."
)
EXAMPLES = """examples:
  lenet5c predict seven.jpg
  lenet5c predict scans/ --json > predictions.jsonl
  lenet5c predict sheet.png --digits many --explain steps/
  lenet5c predict homework.jpg --digits sum
  lenet5c predict seven.jpg --why why.png
  lenet5c predict photos/*.png --model runs/first
  cat drawing.png | lenet5c predict -
  lenet5c predict --data test.csv --model runs/first --out predictions.csv
  lenet5c predict --data test.csv --model runs/first --like sample_submission.csv --out mine.csv

Prints a line for each picture: its name, the digit, its probability, and the runners-up.
A picture without a recognizable digit is rejected, with the reason. Exit codes: 0 all read,
1 failed, 2 bad use or an unreadable file, 3 a picture was rejected, 130 interrupted."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    text = (
        "picture file (PNG, JPEG, JPEG 2000, BMP, TIFF, WebP, AVIF, GIF or PGM; HEIC with "
        "pillow-heif), folder of pictures, or - for standard input"
    )
    add("images", nargs="*", metavar="IMAGE", help=text)
    add("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: best)")
    text = (
        "content of a picture: one (a single digit), many (numbers or a sheet of digits) or sum "
        "(written calculations, which are evaluated) (default: one)"
    )
    add("--digits", choices=DIGITS, default="one", help=text)
    add(
        "--reading",
        choices=READINGS,
        help=(
            "ink (find the strokes and center them as in the training images) or whole (use the "
            "entire picture) (default: as the model was trained)"
        ),
    )
    text = (
        "reject pictures whose probability of being the predicted digit is below F: 0 "
        f"rejects nothing, 0.9 all but clear digits (default: {REJECT:g})"
    )
    add("--reject", type=share, default=REJECT, metavar="F", help=text)
    text = "number of most probable classes to show (default: 3)"
    add("--top", type=whole(1), default=3, metavar="N", help=text)
    add("--json", action="store_true", help="print a line of JSON for each picture")
    text = (
        "draw each step from the file to the input of the net into a folder or, for one picture, "
        "a .png file"
    )
    add("--explain", type=directory, metavar="PATH", help=text)
    text = (
        "draw an explanation of the prediction (of the least probable digit, if there are several) "
        "into a folder or, for one picture, a .png file"
    )
    add("--why", type=directory, metavar="PATH", help=text)
    text = (
        "data set to search for the nearest images with --why (default: mnist for models of digits)"
    )
    add("--neighbors", metavar="NAME_OR_PATH", help=text)
    group = parser.add_argument_group("data set")
    text = "classify all images of a data set, as for lenet5c train, with or without labels"
    group.add_argument("--data", metavar="FILE", help=text)
    text = (
        f"file to write, with a row for each image: {listing(WRITERS, 'or')}; - prints CSV "
        "(default: -)"
    )
    group.add_argument("--out", type=file, metavar="FILE", help=text)
    text = (
        "sample file with the columns and rows to write, such as the sample_submission.csv of a "
        "competition"
    )
    group.add_argument("--like", type=file, metavar="SAMPLE", help=text)
    text = "add a column for the probability of each class"
    group.add_argument("--probabilities", action="store_true", help=text)
    add_read_options(group)
    add_threads(group)


def share(text: str) -> float:
    """Return an argument from 0 to less than 1."""
    with suppress(ValueError):
        if 0 <= (value := float(text)) < 1:
            return value
    raise ArgumentTypeError(f"must be at least 0 and less than 1, got {text}")


def run(options: Namespace) -> int:
    """Print a line for each picture, or write a row for each image of a data set."""
    if options.data is not None:
        return predict_data(options)
    for name in OF_DATA:
        if getattr(options, name):
            raise UserError(f"--{name.replace('_', '-')} requires --data; add it")
    if not options.images:
        raise UserError(
            "IMAGE must be a picture or a folder of pictures, got none; add one, or use --data"
        )
    return predict_pictures(options)


def predict_data(options: Namespace) -> int:
    """Write a row for each image of a data set."""
    for name in ("images", *OF_PICTURES):
        if got := getattr(options, name):
            argument = "IMAGE" if name == "images" else f"--{name}"
            remedy = "; use --out NAME.jsonl for JSON Lines" if name == "json" else ""
            raise UserError(f"{argument} cannot be combined with --data, got {got}{remedy}")
    if options.like and options.probabilities:
        raise UserError("--probabilities cannot be combined with --like, which defines the columns")
    data, out = source_name(options.data), options.out
    if out == Path(STREAM):
        out = None
    suffix = check_out(out, data, options.like)
    trained = open_model(options.model)
    how = replace(read_options(options), levels=trained.white)
    records = open_records(
        data, how, on_message=note, note=lambda line: note(f"Note: {line.rstrip('.')}.")
    )
    if text := compare_colors(trained, records.images):
        warn(options.prog, text)
    if options.like:
        form = read_form(options.like, trained, records)
    else:
        form = choose_form(trained, records, options.probabilities)
    sink = nullcontext(Printer()) if out is None else _files.replace_file(out)
    with make_bar(len(records), out) as bar, sink as file_like:
        score = write_predictions(file_like, suffix, trained, records, form, bar.update)
    text = count(score.count, "image") + (f" in {out}" if out else "")
    if score.correct is not None:
        text += f"; accuracy {score.correct / score.count:.2%} ({score.correct:,} correct)"
    note(text)
    return 0


def check_out(out: Path | None, data: str, sample: Path | None) -> str:
    """Return the ending of the output file, after checking it."""
    if out is None:
        return ".csv"
    if (suffix := out.suffix.lower()) not in WRITERS or out.is_dir():
        raise UserError(f"--out must be a file that ends in {listing(WRITERS, 'or')}, got {out}")
    for path in filter(None, (sample, Path(data))):
        if out.exists() and path.exists() and out.samefile(path):
            raise UserError(f"--out must differ from the input file, got {out} for both")
    return suffix


def make_bar(images: int, out: Path | None) -> Any:
    """Return a bar on a terminal to which nothing else is written."""
    from tqdm import tqdm

    busy = out is None and is_terminal(sys.stdout)
    return tqdm(
        total=images,
        unit="img",
        unit_scale=True,
        leave=False,
        file=sys.stderr,
        disable=busy or not is_terminal(sys.stderr),
        dynamic_ncols=True,
    )


class Printer:
    """Standard output as a binary file."""

    def write(self, content: bytes) -> None:
        """Print text in UTF-8."""
        say(content.decode("utf-8", "surrogateescape"), end="")


def predict_pictures(options: Namespace) -> int:
    """Print a line for each picture."""
    names: list[str] = []
    code = 0
    for name in options.images:
        try:
            names += expand(name)
        except UserError as error:  # continue with the others
            code = fail(options.prog, error)
    if not names:
        return code
    for option in ("explain", "why"):
        check_drawings(option, getattr(options, option), len(names))
    if options.neighbors and not options.why:
        raise UserError("--neighbors requires --why; add it")
    reader = Reader(
        options.model, digits=options.digits, reading=options.reading, reject=options.reject
    )
    reader.white = measure_whites(name for name in names if name != STREAM) | reader.white
    width = min(40, max(len(printable(name)) for name in names))
    reasons = None
    if options.why:
        from lenet5c.commands.why import Reasons

        reasons = Reasons(reader, options.neighbors, note)
    taken: set[str] = set()
    for name in names:
        try:
            prediction = reader(open_stream() if name == STREAM else name)
        except PictureError as error:
            if options.json:
                say(json.dumps({"file": name, "error": str(error)}))
            hint = f"; for a data set, use lenet5c predict --data {name}" if is_data(name) else ""
            code = fail(options.prog, f"{error}{hint}", BAD_USE)
            continue
        if options.json:
            say(json.dumps(as_json(name, prediction)))
        else:
            say(f"{printable(name):{width}}  {as_text(prediction, options.top)}")
        if prediction.rejected:
            code = code or REJECTED
        if options.explain:
            path = choose_file(options.explain, name, taken, "steps")
            save_picture(path, draw_prediction(prediction))
        if reasons:
            path = choose_file(options.why, name, taken, "why")
            if (figure := reasons.draw(prediction)) is None:
                note(f"{printable(name)}: no explanation, since the net was not used")
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                _files.write_bytes(path, png(figure))
    return code


def check_drawings(option: str, path: Path | None, count: int) -> None:
    """Raise an error if drawings cannot be written to a path."""
    if path is None:
        return
    if path.suffix.lower() == ".png" and count != 1:
        raise UserError(f"--{option} must be a folder for {count} pictures, got {path}")
    if path.suffix.lower() != ".png" and path.exists() and not path.is_dir():
        raise UserError(
            f"--{option} must be a folder or a file name ending in .png, got {path}, an existing "
            "file; choose another name"
        )


def expand(name: str) -> list[str]:
    """Return the pictures selected by an argument: a file, a folder or a glob pattern."""
    if name == STREAM:
        return [name]
    if os.path.isdir(name):
        files = [str(path) for path in find_pictures(Path(name))]
        if not files:
            raise UserError(
                f"IMAGE must be a picture or a folder of pictures, got {name}, a folder without "
                "pictures; names must end in .png, .jpg or another supported extension"
            )
        return files
    if glob.has_magic(name) and not os.path.lexists(name):
        files = sorted(glob.glob(name))
        if not files:
            raise UserError(f"IMAGE must match a file, but no file matches {name}")
        return files
    return [name]


def is_data(name: str) -> bool:
    """Return True if this is a file with many images."""
    endings = tuple(ending for of_kind in ENDINGS.values() for ending in of_kind)
    return is_archive(name) or name.lower().endswith(endings)


def open_stream() -> Any:
    """Return standard input, unless it is a terminal."""
    if sys.stdin is None or sys.stdin.isatty():
        raise PictureError(
            "standard input must be a picture, got a terminal; use lenet5c predict - < picture.png"
        )
    return sys.stdin.buffer


def choose_file(path: Path, name: str, taken: set[str], kind: str) -> Path:
    """Return the output file for the drawing of a picture, unique for each picture."""
    if path.suffix.lower() == ".png":
        return path
    stem = "standard-input" if name == STREAM else Path(name).name
    number = 1
    while (file := f"{stem}{'' if number == 1 else f'-{number}'}.{kind}.png") in taken:
        number += 1
    taken.add(file)
    return path / file


def as_text(prediction: Prediction, top: int) -> str:
    """Return a prediction as text for the terminal, on several lines for a sheet."""
    if prediction.sums:
        return show_sums(prediction, emphasize)
    if prediction.digits:
        rows = [emphasize(row, GREEN) for row in (prediction.text or "").splitlines()]
        digits = [digit for line in prediction.digits for digit in line]
        least, label = min((each.probability or 0.0, each.label or "?") for each in digits)
        percent = f" {least:.1%}" if least else ""
        tail = f"({count(len(digits), 'digit')}, least probable: {label}{percent})"
        return f"{rows[0]}  {tail}" if len(rows) == 1 else "\n  ".join([tail, *rows])
    if prediction.rejected:
        return f"{emphasize('-', YELLOW)}  rejected: {prediction.rejected}"
    (best, probability), *others = prediction.top(top)
    then = ", ".join(f"{printable(label)} {value:.2%}" for label, value in others)
    text = f"{emphasize(printable(best), GREEN)}  {probability:.2%}"
    return f"{text}   then {then}" if then else text


def emphasize(text: str, color: int) -> str:
    """Return text in bold and color, if supported by standard output."""
    return f"\033[1;{color}m{text}\033[0m" if has_colors(sys.stdout) else text


def as_json(name: str, prediction: Prediction) -> dict[str, Any]:
    """Return a prediction for JSON, with the digits of sheets in `lines` and the signs of sums."""
    if prediction.sums:
        return {"file": name, **sums_as_json(prediction, list_facts)}
    if not prediction.digits:
        return {"file": name, **list_facts(prediction)}
    return {
        "file": name,
        "rejected": prediction.rejected is not None,
        "reason": prediction.rejected,
        "text": prediction.text,
        "lines": [[list_facts(digit) for digit in line] for line in prediction.digits],
    }


def list_facts(prediction: Prediction) -> dict[str, Any]:
    """Return the prediction for one digit for JSON."""
    return {
        "label": prediction.label,
        "probability": prediction.probability,
        "confidence": prediction.confidence,
        "probabilities": prediction.probabilities,
        "rejected": prediction.rejected is not None,
        "reason": prediction.rejected,
        "box": prediction.box,
    }
