"""Measure LeNet-5 by images and threads, and predict times for more threads with a model.

    python benchmarks/cost_model.py [--images 16 32 …] [--predict 8 64] [--threads 2] [--repeats 7]

forward: images to logits. train step: forward, loss and backward for one batch. Both are measured
in turns with each number of threads up to --threads. The model of a call on P threads is

    fixed + tile · (tiles of the busiest thread) + thread · (P - 1)

Sixteen images are a tile. A forward pass distributes tiles one by one, so the busiest thread has
ceil(tiles / P). A training step has at most 16 shards of neighboring tiles, cut by the batch alone
(docs/explanation/threads-and-bits.md), so P is at most 16 and at most the number of tiles. The
three coefficients of a pass are nonnegative, and fitted to all its measurements by relative error.

The prediction assumes P cores of the same speed with their own caches, sufficient memory bandwidth,
the same cost for every additional thread, and no other load. It is an extrapolation from few
threads, not a measurement.
"""

from itertools import product
from math import ceil

import numpy as np
from common import Table, interleaved, load_peers, make_parser, positive, print_header, set_threads

import lenet5c
from lenet5c.nn import CrossEntropyLoss, LeNet5

LANES, SHARDS = 16, 16


def portions(work, images):
    """Return the maximum number of parts of a call, and the tiles of the largest one."""
    tiles = ceil(images / LANES)
    parts = tiles if work == "forward" else min(tiles, SHARDS)
    return parts, ceil(tiles / parts)


def tiles_in_a_row(work, images, threads):
    """Return the number of tiles of the busiest thread."""
    parts, tiles = portions(work, images)
    return ceil(parts / threads) * tiles


def terms(work, images, threads):
    """Return the factors of the coefficients of the model."""
    used = min(threads, portions(work, images)[0])
    return 1.0, tiles_in_a_row(work, images, threads), used - 1


def fit(cases, seconds):
    """Return the coefficients, none of them negative, with the least squares of relative errors.

    `cases` are (work, images, threads). Of all choices of coefficients that are not zero, the best
    one whose solution has no negative ones is taken; there are seven.
    """
    seconds = np.asarray(seconds)
    rows = np.array([terms(*case) for case in cases]) / seconds[:, None]
    best, least = np.zeros(rows.shape[1]), np.inf
    for chosen in product((False, True), repeat=rows.shape[1]):
        if not any(chosen):
            continue
        found = np.zeros(rows.shape[1])
        found[list(chosen)] = np.linalg.lstsq(rows[:, chosen], np.ones(len(rows)), rcond=None)[0]
        error = np.square(rows @ found - 1).sum()
        if found.min() >= 0 and error < least:
            best, least = found, error
    return best


def predict(coefficients, work, images, threads):
    return float(np.dot(coefficients, terms(work, images, threads)))


def runs(options):
    """Return (work, images, threads) -> callable."""
    model, loss = LeNet5(pooling="max", rng=0), CrossEntropyLoss()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((max(options.images), 1, 32, 32), np.float32)
    labels = rng.integers(0, 10, len(x))

    def call(work, images, threads):
        def run():
            lenet5c.set_num_threads(threads)
            if work == "forward":
                model.forward(x[:images])
            else:
                model.train_step(x[:images], labels[:images], loss)

        return run

    cases = product(("forward", "train step"), options.images, range(1, options.threads + 1))
    return {
        case: call(*case) for case in cases if case[0] == "forward" or case[1] <= options.largest
    }


def milliseconds(seconds):
    return f"{1e3 * seconds:.3g}"


def main():
    parser = make_parser(__doc__, repeats=7, seconds=0.01)
    add = parser.add_argument
    images = [16, 32, 64, 128, 256, 1024, 10000]
    add(
        "--images",
        type=positive,
        nargs="+",
        default=images,
        metavar="N",
        help="numbers of images, at least 16",
    )
    add("--predict", type=positive, nargs="+", default=[8, 64], metavar="P", help="threads")
    add("--largest", type=positive, default=1024, metavar="N", help="batch of a training step")
    options = parser.parse_args()
    peers = load_peers()
    set_threads(options.threads, peers)
    print_header(
        options.threads,
        peers,
        f"{options.repeats} timings each, in turns. Milliseconds: the least, and in brackets the "
        "model's.",
    )
    calls = runs(options)
    times = interleaved(calls, options.repeats, options.seconds)
    least = {case: min(taken) for case, taken in times.items()}
    measured = {f"{p} thread{'s' * (p > 1)}": p for p in range(1, options.threads + 1)}
    predicted = {f"{p} (model)": p for p in options.predict}
    widths = {"pass": 10, "images": 6, **dict.fromkeys(measured, 15)}
    table = Table(widths | dict.fromkeys(predicted, 10))
    notes = []
    for work in ("forward", "train step"):
        cases = [case for case in calls if case[0] == work]
        found = fit(cases, [least[case] for case in cases])
        for images in dict.fromkeys(case[1] for case in cases):
            cells = []
            for p in measured.values():
                model = milliseconds(predict(found, work, images, p))
                cells.append(f"{milliseconds(least[work, images, p])} ({model})")
            further = (predict(found, work, images, p) for p in predicted.values())
            table.row(work, images, *cells, *map(milliseconds, further))
        errors = [abs(predict(found, *case) / least[case] - 1) for case in cases]
        fixed, tile, thread = 1e6 * found
        notes.append(
            f"{work}: {fixed:.1f} + {tile:.1f} a tile + {thread:.1f} (P - 1) µs; "
            f"off by {np.median(errors):.0%} in the median, {max(errors):.0%} at most."
        )
    print("", *notes, sep="\n")


if __name__ == "__main__":
    main()
