"""Rates at which `lenet5c predict` reads test digits that are drawn anew, unlike MNIST, by kind.

    pip install 'lenet5c[images]'
    python benchmarks/pictures.py [--count 1000] [--seed 0]

Clean digits are MNIST's images as they are. Hard ones get a pen, a paper, light, noise, size, place
and slant at random, and go through a file of a usual format (drawn/hard_pictures.py). What is no
digit should be rejected (drawn/no_digits.py). Sheets have 40 digits each, and are held against
their labels by edit distance (drawn/sheets.py). A rejected digit counts as not read.
"""

import argparse
from collections import defaultdict
from io import BytesIO

import numpy as np
from common import Table, machine, positive
from drawn.hard_pictures import hard_picture
from drawn.no_digits import KINDS
from drawn.sheets import sheet

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


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--count",
        type=positive,
        default=1000,
        metavar="N",
        help="digits of each part (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of all that is drawn (default: %(default)s)",
    )
    options = parser.parse_args()
    print(machine({}))
    print(f"Pictures of test digits, seed {options.seed}, the model of the package.\n")
    _, test = mnist()
    clean_digits(test, options)
    hard_digits(test, options)
    no_digits(options)
    sheets(test, options)


def clean_digits(test, options):
    reader = Reader()
    chosen = np.random.default_rng([options.seed, 0]).permutation(len(test))[: options.count]
    found = [outcome(reader(test.images[i, 0]), test.labels[i]) for i in chosen]
    table = heading("clean digits")
    row(table, "MNIST's images", found)


def hard_digits(test, options):
    reader, by_kind = Reader(), defaultdict(list)
    for i in range(options.count):
        rng = np.random.default_rng([options.seed, 1, i])
        j = int(rng.integers(len(test)))
        content, _, traits = hard_picture(test.images[j, 0], rng)
        found = outcome(reader(BytesIO(content)), test.labels[j])
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
        row(table, kind, by_kind[kind])


def no_digits(options):
    reader, each = Reader(), max(1, options.count // len(KINDS))
    print(f"\n{each} pictures of each kind without a digit")
    table = Table({"no digit": 26, "taken for one": 14})
    for name, draw in KINDS.items():
        taken = 0
        for i in range(each):
            rng = np.random.default_rng([options.seed, 2, i])
            taken += reader(draw(rng, int(rng.integers(60, 500)))).rejected is None
        table.row(name, taken)


def sheets(test, options):
    reader, count = Reader(digits="many"), -(-options.count // PER_SHEET)
    print(f"\n{count} sheets of {PER_SHEET} digits of each kind")
    table = Table({"sheets": 26, "errors": 8, "of digits": 10})
    for name, settings in SHEETS.items():
        errors = digits = 0
        for i in range(count):
            settings = {"rows": 4, "columns": 10} | settings
            picture, labels = sheet(test, np.random.default_rng([options.seed, 3, i]), **settings)
            lines = (reader(picture).text or "").replace(" ", "").splitlines()
            said, given = "\n".join(lines), "\n".join("".join(map(str, line)) for line in labels)
            errors += distance(said, given)
            digits += PER_SHEET
        table.row(name, errors, f"{errors / digits:.2%}")


def outcome(reading, label):
    """Return 'correct', 'misclassified' or 'rejected'."""
    if reading.rejected:
        return "rejected"
    return "correct" if reading.label == str(label) else "misclassified"


def heading(name):
    print()
    columns = {name: 26, "pictures": 9, "correct": 9, "95 % interval": 17, "misclassified": 14}
    return Table(columns | {"rejected": 9})


def row(table, name, found):
    correct, count = found.count("correct"), len(found)
    low, high = wilson_interval(correct, count)
    table.row(
        name,
        count,
        f"{correct / count:.2%}",
        f"{low:.1%} to {high:.1%}",
        found.count("misclassified"),
        found.count("rejected"),
    )


def distance(one, other):
    """Levenshtein's: characters to insert, delete or exchange."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


if __name__ == "__main__":
    main()
