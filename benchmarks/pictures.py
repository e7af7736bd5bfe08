"""Recognition rates of `lenet5c predict` on drawn pictures unlike MNIST, by part and kind.

    pip install 'lenet5c[images,plots]'
    python benchmarks/pictures.py [--parts hard pages sums] [--count 100] [--seed 0] [--save DIR]

All digits are MNIST test images, unless a row says otherwise:

clean      unchanged MNIST images
hard       random pen, paper, light, noise, size, position and slant (drawn/hard_pictures.py)
pages      small digits on large clean pages (drawn/singles.py), and
thin       strokes of 1 to 3 % of the height,
cropped    digits that fill the picture or touch its edge,
pieces     broken strokes,
marked     underlined, struck by a rule, in a box
scenes     notes on a table, punch holes, pencil, screenshots, phones (drawn/scenes.py)
numbers    2 to 8 digits on all kinds of paper, in boxes, combs, frames (drawn/numbers.py)
touching   numbers with touching digits; digits are counted individually, by edit distance
sheets     40 digits per sheet, counted likewise (drawn/sheets.py)
nothing    pictures without a digit (drawn/no_digits.py), doodles, read as one digit
clutter    letters, scribbles, empty tables, doodles (drawn/clutter.py), read as many
sums       written sums, by pen and in distorted fonts (drawn/sums.py)
speed      seconds and memory for a photograph of 12 megapixels

Rejected digits count as not recognized. Rates have 95 % Wilson intervals. `--count` is the number
of pictures per row; for sheets and the like, the total number of digits.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
from common import Table, machine, positive
from drawn.clutter import CLUTTER
from drawn.doodles import single_doodle
from drawn.hard_pictures import hard_picture
from drawn.no_digits import KINDS
from drawn.numbers import NUMBERS, number
from drawn.papers import Page
from drawn.pens import has_loops
from drawn.scenes import SCENES
from drawn.sheets import sheet
from drawn.singles import SINGLES
from drawn.sums import SUMS
from PIL import Image

from lenet5c.datasets import mnist
from lenet5c.recognition import Reader
from lenet5c.training import wilson_interval

SHEETS = {
    "plain": {},
    "one line, close": {"rows": 1, "columns": 40, "gap": 0.15},
    "ruled paper": {"rules": "ruled"},
    "squared paper": {"rules": "squared"},
    "light and noise": {"light": "slope", "noise": 6.0},
    "different sizes": {"sizes": (0.6, 1.5)},
    "boxes touch": {"gap": 0.0},
    "boxes overlap by 8 %": {"gap": -0.08},
}
PER_SHEET = 40
SINGLE = SINGLES | {"scenes": SCENES}
#: Run in a process of its own, on Linux. Its ru_maxrss would be that of this process at least,
#: which has drawn the picture.
PEAK = """
import sys
from pathlib import Path
from lenet5c.recognition import Reader
Reader(digits=sys.argv[2])(sys.argv[1])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--parts",
        nargs="+",
        choices=list(PARTS),
        default=list(PARTS),
        metavar="PART",
        help="parts, as above (default: all)",
    )
    text = "pictures of each row (default: %(default)s)"
    add("--count", type=positive, default=1000, metavar="N", help=text)
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    add("--data", choices=("test", "train"), default="test", help="digits (default: test)")
    text = "save pictures that were not recognized correctly to this folder"
    add("--save", type=Path, metavar="DIR", help=text)
    options = parser.parse_args()
    print(machine({}))
    print(f"Pictures of {options.data} digits, seed {options.seed}, the models of the package.")
    train, test = mnist()
    # Settings are chosen on digits that neither trained the model nor measure it.
    dataset = test if options.data == "test" else train.take(np.arange(55_000, 60_000))
    for part in options.parts:
        began = time.perf_counter()
        print(f"\n{part}")
        PARTS[part](dataset, options)
        print(f"({time.perf_counter() - began:.1f} s)")


def clean_digits(dataset, options):
    reader = Reader()
    chosen = np.random.default_rng([options.seed, 0]).permutation(len(dataset))[: options.count]
    found = [outcome(reader(dataset.images[i, 0]), dataset.labels[i]) for i in chosen]
    rate(heading("clean digits"), "MNIST's images", found)


def hard_digits(dataset, options):
    reader, by_kind = Reader(), defaultdict(list)
    for i in range(options.count):
        rng = np.random.default_rng([options.seed, 1, i])
        j = int(rng.integers(len(dataset)))
        content, _, traits = hard_picture(dataset.images[j, 0], rng)
        prediction = reader(BytesIO(content))
        found = outcome(prediction, dataset.labels[j])
        if found != "correct":
            save(options, "hard", i, content, f"{dataset.labels[j]}-{prediction.label}")
        side = next(
            name
            for most, name in ((100, "40 to 99"), (300, "100 to 299"), (10**9, "300 to 1000"))
            if traits["side"] < most
        )
        for kind in (
            "all",
            *(f"{name}: {traits[name]}" for name in ("light", "stroke", "place", "format")),
            f"side: {side}",
        ):
            by_kind[kind].append(found)
    table = heading("hard digits")
    for kind in sorted(by_kind, key=lambda kind: (kind != "all", kind)):
        rate(table, kind, by_kind[kind])


def single_digits(part):
    def run(dataset, options):
        reader, table = Reader(), heading("one digit")
        for row, (name, draw) in enumerate(SINGLE[part].items()):
            found = []
            for i in range(options.count):
                rng = generator(options, part, row, i)
                j = int(rng.integers(len(dataset)))
                # The center line of a loop that is full of ink is no loop.
                while part == "thin" and not has_loops(
                    dataset.images[j, 0].tobytes(), dataset.labels[j]
                ):
                    j = int(rng.integers(len(dataset)))
                picture = draw(dataset.images[j, 0], rng)
                prediction = reader(picture)
                found.append(outcome(prediction, dataset.labels[j]))
                if found[-1] != "correct":
                    save(options, name, i, picture, f"{dataset.labels[j]}-{prediction.label}")
            rate(table, name, found)

    return run


def numbers(dataset, options):
    reader, table = Reader(digits="many"), heading("all digits of a number", {"of digits": 10})
    for row, (name, draw) in enumerate(NUMBERS["numbers"].items()):
        found, errors, digits = [], 0, 0
        for i in range(options.count):
            picture, text = draw(dataset, generator(options, "numbers", row, i))
            said = read_text(reader, picture)
            found.append(
                "correct"
                if said == text
                else "rejected"
                if "?" in said or not said
                else "misclassified"
            )
            errors, digits = errors + distance(said, text), digits + len(text)
            if said != text:
                save(options, name, i, picture, f"{text}-{said}")
        rate(table, name, found, f"{1 - errors / digits:.2%}")


def touching(dataset, options):
    reader = Reader(digits="many")
    table = Table({"digits that touch": 28, "numbers": 9, "all right": 10, "of digits": 10})
    for row, (name, draw) in enumerate(NUMBERS["touching"].items()):
        right = errors = digits = 0
        for i in range(options.count):
            picture, text = draw(dataset, generator(options, "touching", row, i))
            said = read_text(reader, picture)
            right, errors, digits = (
                right + (said == text),
                errors + distance(said, text),
                digits + len(text),
            )
            if said != text:
                save(options, name, i, picture, f"{text}-{said}")
        table.row(name, options.count, f"{right / options.count:.1%}", f"{1 - errors / digits:.2%}")


def sheets(dataset, options):
    reader, count = Reader(digits="many"), -(-options.count // PER_SHEET)
    print(f"{count} sheets of {PER_SHEET} digits of each kind")
    table = Table({"sheets": 28, "errors": 8, "of digits": 10})
    for name, settings in SHEETS.items():
        errors = digits = 0
        for i in range(count):
            settings = {"rows": 4, "columns": 10} | settings
            picture, labels = sheet(
                dataset, np.random.default_rng([options.seed, 3, i]), **settings
            )
            lines = (reader(picture).text or "").replace(" ", "").splitlines()
            said, given = "\n".join(lines), "\n".join("".join(map(str, line)) for line in labels)
            errors += distance(said, given)
            digits += PER_SHEET
        table.row(name, errors, f"{errors / digits:.2%}")


def nothing(dataset, options):
    kinds = KINDS | {"doodle": single_doodle}
    reader, each = Reader(), max(1, options.count // len(kinds))
    print(f"{each} pictures of each kind without a digit")
    table = Table({"no digit": 28, "taken for one": 14})
    for name, draw in kinds.items():
        taken = 0
        for i in range(each):
            rng = np.random.default_rng([options.seed, 2, i])
            taken += reader(draw(rng, int(rng.integers(60, 500)))).rejected is None
        table.row(name, taken)


def clutter(dataset, options):
    reader = Reader(digits="many")
    columns = {"no digits": 30, "pictures": 9, "things": 7, "taken for digits": 17}
    table = Table(columns | {"pictures with any": 18})
    for row, (name, draw) in enumerate(CLUTTER.items()):
        things = taken = pictures = 0
        for i in range(options.count):
            picture, there = draw(generator(options, "clutter", row, i))
            said = sum(map(str.isdigit, reader(picture).text or ""))
            things, taken, pictures = things + there, taken + said, pictures + bool(said)
            if said:
                save(options, name, i, picture, str(said))
        share = f"{taken} = {taken / things:.1%}"
        table.row(name, options.count, things, share, f"{pictures / options.count:.1%}")


def sums(dataset, options):
    reader, table, told = Reader(digits="sum"), heading("whole sum"), []
    for row, (name, draw) in enumerate(SUMS.items()):
        found = []
        for i in range(options.count):
            picture, text = draw(dataset, generator(options, "sums", row, i))
            prediction = reader(picture)
            said = prediction.expression
            if said is not None:
                told.append((prediction.probability, said == text))
            found.append(
                "correct" if said == text else "rejected" if said is None else "misclassified"
            )
            if said != text:
                save(options, name, i, picture, f"{text} {said}")
        rate(table, name, found)
    table = Table({"probability": 14, "pictures": 9, "correct": 9})
    for low, high in pairwise((0.5, 0.7, 0.9, 0.97, 0.99, 1.0)):
        right = [each for share, each in told if low <= share < high or share == high == 1]
        share = f"{np.mean(right):.1%}" if right else "-"
        table.row(f"{low:g} to {high:g}", len(right), share)


def speed(dataset, options):
    """Print time and memory of each reader for one photograph."""
    rng = np.random.default_rng([options.seed, 12])
    page = Page(4000, 3000)
    page.rule("squared", 70, 4, rng)
    for row in range(9):
        _, inks, _ = number(dataset, rng, 8, 8)
        left = 300
        for ink in inks:
            large = np.asarray(Image.fromarray(ink).resize((ink.shape[1] * 2, ink.shape[0] * 2)))
            page.put(large, 300 + 400 * row, left)
            left += large.shape[1] + 60
    picture = page.take(rng, photo=True)
    table = Table({"a photograph of 12 megapixels": 30, "wall s": 15, "CPU s": 15, "peak MB": 9})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "photograph.jpg")
        Image.fromarray(picture).save(path, quality=90)
        for digits in ("one", "many", "sum"):
            reader = Reader(digits=digits)
            wall, used = [], []
            for _ in range(7):
                began, before = time.perf_counter(), time.process_time()
                reader(path)
                wall.append(time.perf_counter() - began)
                used.append(time.process_time() - before)
            command = [sys.executable, "-c", PEAK, str(path), digits]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            peak = int(subprocess.check_output(command, text=True, env=environment))
            cells = (f"{min(times):.2f} / {np.median(times):.2f}" for times in (wall, used))
            table.row(f"--digits {digits}", *cells, f"{peak / 1024:.0f}")
    print(
        "minimum / median of 7 in this process; the peak is of a whole process that reads it once"
    )


def generator(options, part, row, i):
    """Return a random generator for one picture, independent of other parts."""
    return np.random.default_rng([options.seed, *part.encode(), row, i])


def read_text(reader, picture):
    """Return the text without spaces; several lines are kept separate."""
    return (reader(picture).text or "").replace(" ", "")


def outcome(prediction, label):
    """Return 'correct', 'misclassified' or 'rejected'."""
    if prediction.rejected:
        return "rejected"
    return "correct" if prediction.label == str(label) else "misclassified"


def save(options, kind, i, picture, name):
    """Save a picture that was not recognized correctly, with --save."""
    if options.save is None:
        return
    options.save.mkdir(parents=True, exist_ok=True)
    shown = "".join({"\n": "_", "/": "÷", "*": "×", " ": "_"}.get(sign, sign) for sign in name)
    path = options.save / f"{kind.replace(' ', '-')}-{i:04}-{shown[:60]}"
    image = Image.open(BytesIO(picture)) if isinstance(picture, bytes) else Image.fromarray(picture)
    image.save(path.with_name(path.name + ".png"))


def heading(name, more=()):
    columns = {name: 28, "pictures": 9, "correct": 9, "95 % interval": 17, "misclassified": 14}
    return Table(columns | {"rejected": 9} | dict(more))


def rate(table, name, found, *more):
    correct, count = found.count("correct"), len(found)
    low, high = wilson_interval(correct, count)
    wrong, rejected = (found.count(kind) for kind in ("misclassified", "rejected"))
    interval = f"{low:.1%} to {high:.1%}"
    table.row(name, count, f"{correct / count:.2%}", interval, wrong, rejected, *more)


def distance(one, other):
    """Return the Levenshtein distance."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


PARTS = {
    "clean": clean_digits,
    "hard": hard_digits,
    **{part: single_digits(part) for part in SINGLE},
    "numbers": numbers,
    "touching": touching,
    "sheets": sheets,
    "nothing": nothing,
    "clutter": clutter,
    "sums": sums,
    "speed": speed,
}


if __name__ == "__main__":
    main()
