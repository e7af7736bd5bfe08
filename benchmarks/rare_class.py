"""Recall of a digit that is rare in the training images, for settings that may improve it.

    python benchmarks/rare_class.py [--digits 0 1 …] [--rare 25] [--others 500] [--seeds 3]
                                    [--jobs 1]

The training images are the first MNIST images of each digit, --rare of one and --others of each
other digit; all 10,000 test images are classified. "equal" uses --others images of every digit.
"× equal" is the recall of the rare digit divided by that with "equal" and default options: mean and
minimum over the seeds.

The settings are options of `lenet5c train`; docs/howto/few-images.md quotes this table. One digit
and seed take about 20 seconds on two cores.
"""

import argparse
import statistics

import numpy as np
from common import Table, positive

import lenet5c
from lenet5c.datasets import Source, mnist
from lenet5c.recipes import RunConfig
from lenet5c.training import evaluate

# Options, and whether the digit is rare.
SETTINGS = {
    "equal": (False, {}),
    "rare": (True, {}),
    "--class-weight balanced": (True, {"class_weight": "balanced"}),
    "--class-weight balanced --distortion modern": (
        True,
        {"class_weight": "balanced", "distortion": "modern"},
    ),
    "--class-weight balanced --distortion modern --epochs 30": (
        True,
        {"class_weight": "balanced", "distortion": "modern", "epochs": 30},
    ),
    "equal, --distortion modern --epochs 30": (False, {"distortion": "modern", "epochs": 30}),
}


def choose(labels, digit, rare, others):
    """Return the indices of the first images of each digit."""
    counts = [rare if each == digit else others for each in range(10)]
    places = [np.flatnonzero(labels == each)[:count] for each, count in enumerate(counts)]
    return np.sort(np.concatenate(places))


def plan(train, test, chosen, options):
    """Return the trainings, configurations and data, by seed, settings and the digit if rare."""
    runs = {}
    for digit in options.digits:
        for is_rare, changes in chosen.values():
            counts = (options.rare if is_rare else options.others), options.others
            for seed in range(options.seeds):
                key = name_run(seed, changes, digit, counts)
                if key not in runs:
                    some = train.take(choose(train.labels, digit, *counts))
                    runs[key] = RunConfig.named(seed=seed, **changes), Source(some, test)
    return runs


def name_run(seed, changes, digit, counts):
    """Return the name of a training in a plan."""
    return seed, tuple(changes), None if counts[0] == counts[1] else digit


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--digits", nargs="+", type=int, default=list(range(10)), metavar="D")
    add("--rare", type=positive, default=25, metavar="N", help="images of the rare digit")
    add("--others", type=positive, default=500, metavar="N", help="images of each other digit")
    add("--seeds", type=positive, default=3, metavar="N")
    add("--settings", nargs="+", type=int, default=range(len(SETTINGS)), metavar="I")
    add("--jobs", type=positive, default=1, metavar="N", help="parallel trainings")
    options = parser.parse_args()
    chosen = {name: SETTINGS[name] for i, name in enumerate(SETTINGS) if i in options.settings}
    train, test = mnist()
    runs = plan(train, test, chosen, options)
    configs, sources = zip(*runs.values(), strict=True)
    models = lenet5c.run_many(configs, source=sources, jobs=options.jobs).models()
    known = {key: evaluate(model, test) for key, model in zip(runs, models, strict=True)}
    columns = {"rare digit": 0, "settings": max(map(len, SETTINGS))}
    table = Table({**columns, "recall": 6, "lowest": 6, "× equal": 0, "accuracy": 0}, left=2)
    for digit in options.digits:
        equal = 0.0
        for name, (is_rare, changes) in chosen.items():
            counts = (options.rare if is_rare else options.others), options.others
            seeds = range(options.seeds)
            found = [known[name_run(seed, changes, digit, counts)] for seed in seeds]
            recalls = [float(each.scores.recall[digit]) for each in found]
            accuracies = [each.accuracy for each in found]
            recall = statistics.mean(recalls)
            equal = recall if name == "equal" else equal
            cells = [f"{100 * value:.1f}" for value in (recall, min(recalls))]
            share = f"{recall / equal:.2f}" if equal else "-"
            table.row(digit, name, *cells, share, f"{100 * statistics.mean(accuracies):.2f}")


if __name__ == "__main__":
    main()
