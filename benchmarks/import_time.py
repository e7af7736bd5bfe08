"""Time to import lenet5c in addition to NumPy, in a new interpreter each time.

    python benchmarks/import_time.py [--repeats 15]

Imports are timed inside the interpreter, without its start. The interpreters take turns after a
warm-up round.
"""

import argparse
import statistics
import subprocess
import sys

from common import Table, machine, positive

TARGET = 0.150  # seconds beyond NumPy, of all packages
MEASURED = {
    "numpy": "numpy",
    "lenet5c": "lenet5c",
    "lenet5c.nn": "lenet5c.nn",
    "lenet5c.datasets": "lenet5c.datasets",
    "lenet5c.training": "lenet5c.training",
    "all of them": "lenet5c, lenet5c.nn, lenet5c.datasets, lenet5c.training",
    "the options of lenet5c train": "lenet5c.commands.parser as tree; tree.make_parser('train')",
}
CODE = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


def seconds(modules):
    """Return the seconds of an import in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(modules)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def measure(repeats):
    """Return name -> list of seconds, one per round."""
    times = {name: [] for name in MEASURED}
    for turn in range(repeats + 1):
        for name, modules in MEASURED.items():
            taken = seconds(modules)
            if turn:
                times[name].append(taken)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--repeats", type=positive, default=15, metavar="N", help="rounds (default: %(default)s)"
    )
    options = parser.parse_args()
    print(machine({}))
    print(
        f"{options.repeats} imports each, in turns. Milliseconds: minimum / median; "
        "beyond NumPy: differences of these.\n"
    )
    times = measure(options.repeats)
    table = Table({"import": 28, "ms": 13, "beyond NumPy": 13})
    base = times["numpy"]
    for name, taken in times.items():
        least, middle = min(taken), statistics.median(taken)
        beyond = f"{1e3 * (least - min(base)):.0f} / {1e3 * (middle - statistics.median(base)):.0f}"
        loads_numpy = name not in ("numpy", "lenet5c")
        table.row(name, f"{1e3 * least:.0f} / {1e3 * middle:.0f}", beyond if loads_numpy else "-")
    of_all = min(times["all of them"]) - min(base)
    print(
        f"\nAll of them at their minimum: {1e3 * of_all:.0f} ms beyond NumPy; "
        f"the target is {1e3 * TARGET:.0f} ms."
    )


if __name__ == "__main__":
    main()
