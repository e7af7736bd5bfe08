"""One LeNet-5 of 61,706 parameters, taught by an ensemble of larger ones that is trained here.

    python benchmarks/record.py [--seeds 5] [--teachers 4] [--teacher-epochs 20] [--epochs 80]
        [--temperature 4] [--share 1] [--average 0.999] [--validate]

The teachers have three times the maps and twice the units; they and the student see distorted
digits. The student's targets are the teachers' mean probabilities for the images as they are, at a
temperature that makes them soft; with --share below 1 they are mixed with the labels. A seed is
that of the student; teachers have seeds of their own, and are trained once. The time is that of
everything: teachers, targets, one student.

Settings are chosen with --validate, which trains on the first 55,000 training images and measures
on the other 5,000. Without it the 10,000 test images are classified, by one net, each image once.
"""

import argparse
import statistics
import time

import numpy as np
from common import Table, machine, positive

from lenet5c import recipes
from lenet5c.datasets import Source, mnist
from lenet5c.training import evaluate, teach

TEACHER = {"channels": [18, 48], "units": [240, 168]}
FIRST_TEACHER = 1000  # the seed of the first; students have those from 0 on


def fit(source, seed, **changes):
    """Train a net by the recipe `best` with changes; return it and its seconds."""
    began = time.perf_counter()
    trainer, trained = recipes.recipe("best", **changes).build(source, seed=seed)
    trainer.run()
    return trained, time.perf_counter() - began


def choose_source(validate, most):
    """At most so many training images, and the test images or the last 5,000 for training."""
    train, test = mnist()
    if validate:
        train, test = train.take(np.arange(55_000)), train.take(np.arange(55_000, 60_000))
    return Source(train.take(np.arange(min(most, len(train)))), test)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=positive, default=5, metavar="N", help="students (default: %(default)s)")
    add("--teachers", type=positive, default=4, metavar="N", help="(default: %(default)s)")
    add("--teacher-epochs", type=positive, default=20, metavar="N", help="(default: %(default)s)")
    add("--epochs", type=positive, default=80, metavar="N", help="(default: %(default)s)")
    add("--temperature", type=float, default=4.0, metavar="T", help="(default: %(default)s)")
    add("--share", type=float, default=1.0, metavar="S", help="(default: %(default)s)")
    add("--average", type=float, default=0.999, metavar="D", help="(default: %(default)s)")
    add("--most", type=positive, default=60_000, metavar="N", help="training images (default: all)")
    add("--validate", action="store_true", help="hold out 5,000 training images, and measure there")
    options = parser.parse_args()
    print(machine({}))
    source = choose_source(options.validate, options.most)
    table = Table({"net": 12, "accuracy": 9, "seconds": 8})
    teachers, spent = [], 0.0
    for seed in range(FIRST_TEACHER, FIRST_TEACHER + options.teachers):
        trained, seconds = fit(source, seed, epochs=options.teacher_epochs, **TEACHER)
        teachers.append(trained)
        spent += seconds
        accuracy = evaluate(trained, source.test).accuracy
        table.row(f"teacher {seed}", f"{100 * accuracy:.2f} %", f"{seconds:.0f}")
    began = time.perf_counter()
    taught = Source(teach(source.train, teachers, options.temperature, options.share), source.test)
    spent += time.perf_counter() - began
    accuracies = []
    for seed in range(options.seeds):
        trained, seconds = fit(taught, seed, epochs=options.epochs, average=options.average)
        accuracies.append(100 * evaluate(trained, source.test).accuracy)
        table.row(f"student {seed}", f"{accuracies[-1]:.2f} %", f"{spent + seconds:.0f}")
    spread = f" ± {statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    print(
        f"\n{trained.model.num_params:,} parameters, {len(accuracies)} seeds: "
        f"{statistics.mean(accuracies):.2f} %{spread}"
    )


if __name__ == "__main__":
    main()
