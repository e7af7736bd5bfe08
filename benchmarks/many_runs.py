"""Time many trainings in parallel processes and the same ones in sequence, in turns.

    python benchmarks/many_runs.py [--runs 8] [--jobs 2] [--repeats 3] [--recipe fast]

Alone: `lenet5c.recipes.train` for one seed after another in one process, on one thread; the time
excludes the start of Python. At once: `lenet5c.run_many` with --jobs processes, from the call to
its result, including their start and end. The ratio is the time "at once" divided by the time
"alone" per job; 1.00 is perfect scaling. "Processor" is the same ratio of processor times,
including the start of all processes, which other programs do not affect. All files except
summary.json are compared byte by byte. Run it on an idle machine.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import Table, machine, positive

ALONE = """
import sys, time
from dataclasses import replace
from pathlib import Path
import lenet5c
from lenet5c.recipes import grid, train
recipe, count, size, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) or None, sys.argv[4]
lenet5c.set_num_threads(1)
runs = grid(recipe, seed=range(count), train_size=size)
began = time.perf_counter()
for run in runs:
    train(replace(run, folder=Path(folder) / str(run.seed)))
print(time.perf_counter() - began)
"""
AT_ONCE = """
import sys, time
import lenet5c
from lenet5c.recipes import grid
if __name__ == "__main__":
    recipe, count, size, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    runs = grid(recipe, seed=range(count), train_size=size or None)
    began = time.perf_counter()
    result = lenet5c.run_many(runs, folder, jobs=int(sys.argv[5]), progress=False)
    print(time.perf_counter() - began)
    assert not result.failed, result.failed
"""


def carry_out(code, folder, *arguments):
    """Return the seconds that a script prints, and its processor time."""
    file = folder / "script.py"  # which the workers import
    file.write_text(code)
    words = [sys.executable, file, *map(str, arguments)]
    before = sum(os.times()[2:4])
    done = subprocess.run(words, capture_output=True, text=True)
    spent = sum(os.times()[2:4]) - before
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout), spent


def digests(folder):
    """Return digests of the files of all runs, by seed."""
    return sorted(
        (path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.glob("*/*")
        if path.name != "summary.json"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--recipe", default="fast")
    add("--runs", type=positive, default=8, metavar="N")
    add("--jobs", type=positive, default=2, metavar="N")
    add("--repeats", type=positive, default=3, metavar="N")
    add("--train-size", type=int, default=0, metavar="N", help="training images (default: all)")
    options = parser.parse_args()
    print(machine({}))
    ratios = []
    table = Table({"turn": 5, "alone, s": 9, "at once, s": 11, "ratio": 6, "processor": 10})
    for turn in range(options.repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            given = options.recipe, options.runs, options.train_size
            alone, spent = carry_out(ALONE, folder, *given, folder / "alone")
            once, more = carry_out(AT_ONCE, folder, *given, folder / "once", options.jobs)
            if digests(folder / "alone") != digests(folder / "once"):
                sys.exit("the files differ")
        ratios.append(once / (alone / options.jobs))
        table.row(
            turn + 1, f"{alone:.2f}", f"{once:.2f}", f"{ratios[-1]:.3f}", f"{more / spent:.3f}"
        )
    print(
        f"\n{options.runs} trainings of {options.recipe} by {options.jobs} processes: "
        f"{statistics.median(ratios):.3f} of the time after each other, divided by "
        f"{options.jobs} (median of {len(ratios)}); the files are the same"
    )


if __name__ == "__main__":
    main()
