"""Calibration of the probabilities of written sums: reliability diagram and fit.

    pip install 'lenet5c[images,plots]'
    python benchmarks/sum_probabilities.py [--count 40] [--seed 0] [--data train] [--picture FILE]

Sums are those of `benchmarks/pictures.py --parts sums` (drawn/sums.py). With the last 5,000
training digits (the default), slope and offset of the log odds are fitted to the correctness of
lines (Platt, 1999). They are CALIBRATION in lenet5c/recognition/decoding.py.
"""

import argparse
from itertools import pairwise

import numpy as np
from common import Table, machine, positive
from drawn.sums import SUMS

from lenet5c.datasets import mnist
from lenet5c.recognition import Reader
from lenet5c.recognition.decoding import CALIBRATION

BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 0.99, 1.0)
#: Widths of the normal distributions about 1 and 0 that slope and offset have beforehand.
BEFORE = (0.5, 1.0)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--count", type=positive, default=40, metavar="N", help="number per kind (default: 40)")
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    add("--data", choices=("test", "train"), default="train", help="digits (default: train)")
    add("--picture", metavar="FILE", help="also plot the reliability diagram to this file")
    options = parser.parse_args()
    print(machine({}))
    train, test = mnist()
    dataset = test if options.data == "test" else train.take(np.arange(55_000, 60_000))
    said, right = read(dataset, options.count, options.seed)
    table = Table({"probability": 14, "sums": 6, "said": 8, "right": 8})
    for low, high, chosen in bins(said):
        share = (f"{np.mean(each[chosen]):.1%}" for each in (said, right))
        table.row(f"{low:g} to {high:g}", int(chosen.sum()), *share)
    slope, offset = CALIBRATION
    raw = (np.log(said) - np.log1p(-said) - offset) / slope
    for name, odds, usual in (("before", raw, (1.0, 0.0)), ("as it is", raw, CALIBRATION)):
        p = 1 / (1 + np.exp(-usual[0] * odds - usual[1]))
        print(f"{name}: {score(p, right)}")
    if options.data == "train":
        found = fit(raw, right)
        p = 1 / (1 + np.exp(-found[0] * raw - found[1]))
        print(f"fitted: {score(p, right)}; slope {found[0]:.2f}, offset {found[1]:.2f}")
    if options.picture:
        draw(said, right, options.picture)


def read(dataset, count, seed):
    """Return the probabilities of all sums that have one, and a mask of the correct ones."""
    reader, said, right = Reader(digits="sum", reject=0.0), [], []
    for row, draw_sum in enumerate(SUMS.values()):
        for i in range(count):
            picture, text = draw_sum(dataset, np.random.default_rng([seed, *b"sums", row, i]))
            prediction = reader(picture)
            if prediction.expression is not None:
                said.append(prediction.probability)
                right.append(prediction.expression == text)
    return np.clip(said, 1e-6, 1 - 1e-6), np.array(right, float)


def bins(said):
    """Yield the edges and a mask of the probabilities of each nonempty bin."""
    for low, high in pairwise(BINS):
        chosen = (said >= low) & ((said < high) | (high == 1))
        if chosen.any():
            yield low, high, chosen


def score(p, right):
    """Return the mean log loss, the Brier score, and the mean gap of the bins, as text."""
    loss = -np.mean(right * np.log(p) + (1 - right) * np.log1p(-p))
    gap = sum(
        abs(p[chosen].mean() - right[chosen].mean()) * chosen.mean() for *_, chosen in bins(p)
    )
    return f"log loss {loss:.3f}, Brier score {np.mean((p - right) ** 2):.4f}, ECE {gap:.1%}"


def fit(odds, right):
    """Return the maximum-likelihood slope and offset, by Newton's method."""
    terms = np.stack([odds, np.ones(len(odds))], axis=1)
    before, weight = np.array([1.0, 0.0]), np.diag(1 / np.array(BEFORE) ** 2)
    found = before
    for _ in range(30):
        p = 1 / (1 + np.exp(-terms @ found))
        slope = terms.T @ (right - p) - weight @ (found - before)
        curve = (terms * (p * (1 - p))[:, np.newaxis]).T @ terms + weight
        found = found + np.linalg.solve(curve, slope)
    return found


def draw(said, right, path):
    """Draw the reliability diagram, with Wilson intervals."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from lenet5c.training import wilson_interval

    figure, ax = plt.subplots(figsize=(4.4, 3.8), dpi=144, layout="constrained")
    ax.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
    for *_, chosen in bins(said):
        share, middle = right[chosen].mean(), said[chosen].mean()
        low, high = wilson_interval(int(right[chosen].sum()), int(chosen.sum()))
        ax.errorbar(
            middle, share, [[share - low], [high - share]], fmt="o", color="#1b2a41", markersize=4
        )
        ax.annotate(int(chosen.sum()), (middle, share), (5, -9), textcoords="offset points", size=7)
    ax.set(xlabel="probability of a line", ylabel="lines that are right", xlim=(0, 1.02))
    ax.set_ylim(0, 1.02)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
    figure.savefig(path)


if __name__ == "__main__":
    main()
