"""Error-reject curves of `lenet5c predict` over all thresholds --reject F.

    pip install 'lenet5c[images,plots]'
    python benchmarks/rejections.py [--count 400] [--seed 0] [--picture docs/images/confidence.png]

Digits are MNIST test digits, drawn as photographs of all kinds (drawn/hard_pictures.py). Letters,
signs and scribbles are drawn by simulated writers who drew no training image, in the form of MNIST
digits, and enlarged to a picture.
"""

import argparse
from io import BytesIO

import numpy as np
from common import Table, machine, positive
from drawn.hard_pictures import hard_picture

from lenet5c.datasets import mnist
from lenet5c.datasets.signs import draw_scribbles, draw_sign
from lenet5c.datasets.stroke_shapes import LETTERS, MARKS, SIGNS
from lenet5c.datasets.strokes import Writers, draw_texts
from lenet5c.recognition import Reader

LIMITS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    text = "pictures of digits, and of other ink (default: %(default)s)"
    add("--count", type=positive, default=400, metavar="N", help=text)
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    add("--picture", metavar="FILE", help="also plot the curves to this file")
    options = parser.parse_args()
    print(machine({}))
    print(f"{options.count} pictures of digits, and as many of other ink, seed {options.seed}\n")
    digits, others = read_digits(options), read_others(options)
    table = Table(
        {"--reject": 8, "digits rejected": 15, "misclassified": 13, "no digits taken": 15}
    )
    for limit in LIMITS:
        rejected, wrong = (np.mean(each) for each in judge(digits, limit))
        figures = rejected, wrong, np.mean(others >= limit)
        table.row(f"{limit:g}", *(f"{100 * each:.1f} %" for each in figures))
    if options.picture:
        draw(digits, others, options.picture)


def confidence(prediction):
    """Return the confidence; -1 if the picture was rejected."""
    return -1.0 if prediction.rejected else prediction.confidence


def read_digits(options):
    """Return rows of (confidence, True if the label is correct)."""
    reader, rows = Reader(reject=0.0), []
    _, test = mnist()
    for i in range(options.count):
        rng = np.random.default_rng([options.seed, 1, i])
        j = int(rng.integers(len(test)))
        prediction = reader(BytesIO(hard_picture(test.images[j, 0], rng)[0]))
        rows.append((confidence(prediction), prediction.label == str(test.labels[j])))
    return np.array(rows)


def read_others(options):
    """Return the confidence of each picture without a digit."""
    reader, rng = Reader(reject=0.0), np.random.default_rng([options.seed, 2])
    writers = Writers.draw(rng, 100)
    each = -(-options.count // 4)
    images = np.concatenate(
        [
            _some(LETTERS, each, writers, rng),
            _some(MARKS, each, writers, rng),
            *(draw_sign(name, -(-each // 8), writers, rng) for name in (*SIGNS, ")", ".")),
            draw_scribbles(each, writers, rng),
        ]
    )
    pictures = (255 - np.kron(np.pad(image, 8), np.ones((4, 4), np.uint8)) for image in images)
    return np.array([confidence(reader(picture)) for picture in pictures])


def _some(table, count, writers, rng):
    texts = [text for of_shape in table.values() for text in of_shape]
    return draw_texts(texts, count, writers, rng)


def judge(digits, limit):
    """Return masks of the rejected and the misclassified digits."""
    confidence, right = digits.T
    rejected = (confidence < limit) | (confidence < 0)
    return rejected, ~rejected & (right == 0)


def draw(digits, others, path):
    """Plot misclassified digits and accepted other ink against rejected digits."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    limits = np.linspace(0.0, 0.9999, 2000)
    found = np.array([[np.mean(each) for each in judge(digits, limit)] for limit in limits])
    taken = np.array([np.mean(others >= limit) for limit in limits])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), dpi=144, layout="constrained")
    for ax, values, name in (
        (left, found[:, 1], "digits misclassified, %"),
        (right, taken, "letters, signs and scribbles taken for digits, %"),
    ):
        ax.plot(100 * found[:, 0], 100 * values, color="#1b2a41")
        for limit in (0.1, 0.5, 0.9, 0.99):
            rejected, wrong = (100 * np.mean(each) for each in judge(digits, limit))
            spot = rejected, wrong if ax is left else 100 * np.mean(others >= limit)
            ax.plot(*spot, "o", color="#d1495b", markersize=4)
            ax.annotate(f"{limit:g}", spot, (4, 4), textcoords="offset points", fontsize=8)
        most = max(0.5, 120 * values[limits >= 0.05].max())  # below, nearly all is taken
        ax.set(xlabel="digits rejected, %", title=name, xlim=(0, 20), ylim=(0, most))
        ax.title.set_fontsize(9)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
    figure.savefig(path)


if __name__ == "__main__":
    main()
