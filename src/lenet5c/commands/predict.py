"""``lenet5c predict``: read the digits in photographs, scans and drawings.

Exit codes: 0 all read, 1 failed, 2 bad use or a file that cannot be read, 3 a picture was rejected, 130 interrupted.
"""

import glob
import json
import os
import sys
from pathlib import Path

from lenet5c._text import has_colors, printable
from lenet5c.commands.cli import BAD_USE, directory, fail, say, whole
from lenet5c.datasets.dataset import READINGS
from lenet5c.datasets.pictures import PictureError, find_pictures
from lenet5c.errors import MissingExtraError, UserError
from lenet5c.recognition.explain import draw_reading, save_picture
from lenet5c.recognition.predictor import DIGITS, Reader

REJECTED = 3
STREAM = "-"
DESCRIPTION = "Read digits in pictures: photographs, scans, drawings."
EXAMPLES = """examples:
  lenet5c predict seven.jpg
  lenet5c predict scans/ --json > readings.jsonl
  lenet5c predict sheet.png --digits many --explain steps/
  lenet5c predict photos/*.png --model runs/first
  cat drawing.png | lenet5c predict -

Each picture gets a line: its name, the digit, how probable it is, and the next probable ones. A picture in which no
digit is found is rejected, with the reason. Exit codes: 0 all read, 1 failed, 2 bad use or a file that cannot be read,
3 a picture was rejected, 130 interrupted."""


def add_arguments(parser):
    add = parser.add_argument
    add(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="PNG, JPEG, BMP, TIFF, WebP, GIF or PGM; a folder of them; - reads standard input",
    )
    add(
        "--model",
        metavar="FILE",
        help="a model file, the folder of a run, or best, the model that comes with lenet5c (default)",
    )
    add(
        "--digits",
        choices=DIGITS,
        default="one",
        help="what is in a picture: one digit, or several: a number, a sheet (default: one)",
    )
    add(
        "--reading",
        choices=READINGS,
        help="ink: find the strokes, form them as MNIST's; whole: take the picture as it is (default: as the model was trained)",
    )
    add(
        "--top",
        type=whole(1),
        default=3,
        metavar="N",
        help="show the N most probable classes (default: 3)",
    )
    add("--json", action="store_true", help="print one JSON object a line for each picture")
    add(
        "--explain",
        type=directory,
        metavar="PATH",
        help="write a picture of each step from file to net: a folder, or a .png for one picture",
    )


def run(options):
    names, code = [], 0
    for given in options.images:
        try:
            names += expanded(given)
        except UserError as error:  # the others are read all the same
            code = fail(options.prog, error)
    if not names:
        return code
    if options.explain and options.explain.suffix.lower() == ".png" and len(names) != 1:
        raise UserError(
            f"--explain {options.explain} is one picture for {len(names)} images; name a folder"
        )
    reader = Reader(options.model, digits=options.digits, reading=options.reading)
    colours = has_colors(sys.stdout)
    width = min(40, max(len(printable(name)) for name in names))
    taken = set()
    for name in names:
        try:
            reading = reader(source(name))
        except MissingExtraError:
            raise
        except PictureError as error:
            if options.json:
                say(json.dumps({"file": name, "error": str(error)}))
            fail(options.prog, error)
            code = BAD_USE
            continue
        say(
            json.dumps(as_json(name, reading))
            if options.json
            else as_text(name, reading, options.top, width, colours)
        )
        if reading.rejected:
            code = code or REJECTED
        if options.explain:
            save_picture(explanation(options.explain, name, taken), draw_reading(reading))
    return code


def expanded(given):
    """The pictures that an argument names: itself, those of a folder, or those of a pattern that no shell expanded."""
    if given == STREAM:
        return [given]
    if os.path.isdir(given):
        files = [str(path) for path in find_pictures(given)]
        if not files:
            raise UserError(
                f"{given} is a folder without pictures; their names should end in .png, .jpg or the like"
            )
        return files
    if glob.has_magic(given) and not os.path.lexists(given):
        files = sorted(glob.glob(given))
        if not files:
            raise UserError(f"no file is named like {given}")
        return files
    return [given]


def source(name):
    if name != STREAM:
        return name
    if sys.stdin is None or sys.stdin.isatty():
        raise PictureError(
            "standard input is a terminal; send it a picture: lenet5c predict - < picture.png"
        )
    return sys.stdin.buffer


def explanation(path, name, taken):
    """The file for the picture of a picture's steps, another for each."""
    if path.suffix.lower() == ".png":
        return path
    stem = "standard-input" if name == STREAM else Path(name).name
    number = 1
    while (file := f"{stem}{'' if number == 1 else f'-{number}'}.steps.png") in taken:
        number += 1
    taken.add(file)
    return path / file


def as_text(name, reading, top, width, colours):
    def strong(text, colour):
        return f"\033[1;{colour}m{text}\033[0m" if colours else text

    start = f"{printable(name):{width}}  "
    if reading.digits:
        rows = reading.text.splitlines()
        least = min(
            (digit.probability or 0.0, digit.label or "?")
            for line in reading.digits
            for digit in line
        )
        count = sum(map(len, reading.digits))
        tail = f"  ({count} digit{'s' * (count != 1)}, least sure: {least[1]}{f' {least[0]:.1%}' if least[0] else ''})"
        if len(rows) == 1:
            return start + strong(rows[0], 32) + tail
        return start.rstrip() + tail + "".join(f"\n  {strong(row, 32)}" for row in rows)
    if reading.rejected:
        return f"{start}{strong('-', 33)}  rejected: {reading.rejected}"
    (label, probability), *others = reading.top(top)
    then = (
        "   then " + ", ".join(f"{printable(label)} {p:.2%}" for label, p in others)
        if others
        else ""
    )
    return f"{start}{strong(printable(label), 32)}  {probability:.2%}{then}"


def as_json(name, reading):
    """What is known of a picture, for JSON; sheets have their digits in `lines`."""
    known = {"file": name, **_plain(reading)}
    if reading.digits:
        known |= {
            "text": reading.text,
            "lines": [[_plain(digit) for digit in line] for line in reading.digits],
        }
        for key in ("label", "probability", "probabilities", "box"):
            del known[key]
    return known


def _plain(reading):
    return {
        "label": reading.label,
        "probability": reading.probability,
        "probabilities": reading.probabilities,
        "rejected": reading.rejected is not None,
        "reason": reading.rejected,
        "box": reading.box,
    }
