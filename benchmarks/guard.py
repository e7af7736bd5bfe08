"""Compare the speed of two commits: build both and time a set of rows in turns.

    python benchmarks/guard.py OLD [NEW] [--rows image-1 conv2d …] [--rounds 14] [--json FILE]
    python benchmarks/guard.py --compare FILE FILE

OLD and NEW are revisions of git; without NEW, or with ".", the new one is the working tree. Builds
are cached (--cache), and compiled modules are reused if their sources are equal.

In each round, and for each row, a new process of each commit is started; both are warmed up and
take turns, in alternating order. The change of a round is the ratio of the minimum times; that of a
row is estimated from all its rounds by Wilcoxon's signed ranks. The rounds of a row that is still
undecided are doubled, up to --looks - 1 times. Undecided means that the interval contains both 1
and a change beyond --limit. With the probability --confidence, the intervals of all rows contain
the true values at every look. A row is slower or faster if its interval excludes 1; otherwise no
difference was found, and the last lines name rows whose noise may hide one beyond the limit.

The exit code is 1 if a row is slower and its estimate is beyond --limit, or if only NEW fails to
run it.

--compare takes two files of --json with the same OLD, and compares both NEW commits relative to
OLD, because the speed of a machine varies over time.
"""

import json
import math
import os
import signal
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import rank_intervals
from builds import WORKING_TREE, BuildError, build, default_cache, tree
from common import REST, Table, make_parser, positive, processor, time_cell
from workers import WorkerError, answer, measure, process

from lenet5c.commands.cli import wait_briefly

HERE = Path(__file__).parent
EPOCH_IMAGES = 6_400
# Of guard_worker.py, but for the first two, which are of epoch_worker.py.
ROWS = {
    "train-128": f"training epoch of {EPOCH_IMAGES:,} images, batch 128",
    "train-32": f"training epoch of {EPOCH_IMAGES:,} images, batch 32",
    "images-10000": "10,000 images to logits",
    "images-256": "256 images to logits",
    "images-16": "16 images to logits",
    "image-1": "one image to logits, one thread",
    "conv2d": "conv2d, LeNet-5's second, batch 128",
    "conv2d-backward": "its backward pass",
    "conv2d-3x3-64": "conv2d, 3x3, 64 channels, batch 8",
    "max-pool2d": "max_pool2d, LeNet-5's first, batch 128",
    "start": "lenet5c --version, start to exit",
    "import": "import of lenet5c.nn and lenet5c.training",
    "fast": "lenet5c train --recipe fast, start to exit",
}
TURNS = {"fast": 2}
OTHER_TURNS = 4
SIDES = ["old", "new"]
CLOCKS = ["wall", "cpu"]
SLOWER = "SLOWER"
HEADINGS = {"new / old": 9, "interval": 15}
LAST = {"verdict": 24}


def measure_rows(folders, options):
    """Return the timings and what cannot be run.

    Timings: row -> side -> list of rounds, each a list of turns, each (wall-clock, processor's
    seconds) of a call. What cannot be run: row -> side -> reason.
    """
    times = {row: {side: [] for side in SIDES} for row in options.rows}
    missing = {}
    rows = list(times)
    for number in range(options.rounds << (options.looks - 1)):
        if number in looks(options):
            rows = [row for row in rows if is_undecided(row_change(times[row], options), options)]
        if not rows:
            break
        order = SIDES[::-1] if number % 2 else SIDES
        for row in rows:
            turns, reasons = one_round(row, folders, order, options)
            if reasons:
                missing[row] = reasons
            for side in SIDES:
                times[row][side].append(turns[side])
        rows = [row for row in rows if row not in missing]
        print(f"round {number + 1}: {len(rows)} rows", file=sys.stderr, flush=True)
    return {row: sides for row, sides in times.items() if row not in missing}, missing


def looks(options):
    """Return the numbers of rounds after which rows are judged."""
    return [options.rounds << look for look in range(options.looks)]


def error_rate(rows, options):
    """Return the error rate of an interval for the confidence of a run (Bonferroni)."""
    return (1 - options.confidence) / (max(rows, 1) * options.looks)


def row_change(sides, options):
    alpha = error_rate(len(options.rows), options)
    return rank_intervals.center(changes(sides, options.clock), alpha)


def is_undecided(change, options):
    """Return True if there may be a change beyond the limit, or none."""
    _, low, high = change
    return low <= 0 <= high and max(high, -low) >= math.log1p(options.limit)


def one_round(row, folders, order, options):
    """Time a row in a fresh process of each side; return side -> turns, and side -> reason."""
    children, reasons = {}, {}
    times = {side: [] for side in SIDES}
    with ExitStack() as stack:
        for side in order:
            variables = {"PYTHONPATH": str(folders[side] / "src"), "PYTHONIOENCODING": "utf-8"}
            worker = process(
                *worker_command(row, options), keep_errors=True, env=os.environ | variables
            )
            children[side] = stack.enter_context(worker)
            try:
                package = Path(answer(children[side]))
            except WorkerError as error:
                reasons[side] = str(error)
                continue
            if not package.is_relative_to(folders[side]):
                raise BuildError(f"lenet5c comes from {package}, not from {folders[side]}")
        for turn in range(0 if reasons else TURNS.get(row, OTHER_TURNS)):
            for side in order[::-1] if turn % 2 else order:
                time.sleep(REST)
                times[side].append(measure(children[side]))
    return times, reasons


def worker_command(row, options):
    if row.startswith("train-"):
        batch_size = row.partition("-")[2]
        words = "epoch_worker.py", "command", batch_size, EPOCH_IMAGES, options.threads
    else:
        words = "guard_worker.py", row, options.threads, options.seconds
    return [str(HERE / words[0]), *map(str, words[1:])]


def changes(sides, clock):
    """Return the logarithms of the ratios new / old, one per round."""
    pairs = zip(*(least(sides[side], clock) for side in SIDES), strict=True)
    return [math.log(new / old) for old, new in pairs]


def least(rounds, clock):
    """Return the minimum time of each round, at least the resolution of the clock."""
    return [max(min(turn[CLOCKS.index(clock)] for turn in turns), 1e-9) for turns in rounds]


def judge(estimate, low, high, limit):
    """Return the word for a change, of logarithms of ratios."""
    if low > 0:
        return SLOWER if estimate > math.log1p(limit) else "slower, within the limit"
    return "faster" if high < 0 else "no difference"


def report_run(run, options):
    """Print the table of a run; return the rows that are slower or that NEW alone cannot run."""
    times, missing = run["times"], run["missing"]
    table = Table(
        {"row": 15, "rounds": 6, **dict.fromkeys(SIDES, 17), **HEADINGS, "cpu": 5, **LAST}
    )
    judged = {}
    for row, sides in times.items():
        judged[row] = change = row_change(sides, options)
        cpu = math.exp(statistics.median(changes(sides, "cpu")))
        cells = [time_cell(least(sides[side], "wall")) for side in SIDES]
        verdict = judge(*change, options.limit)
        table.row(row, len(sides["old"]), *cells, *ratio_cells(change), f"{cpu:.3f}", verdict)
    bad = slower(judged, options)
    for row, reasons in missing.items():
        for side, reason in reasons.items():
            print(f"{row}: the {side} one, {run['names'][side]}, cannot run it: {reason}")
        bad += [row] if list(reasons) == ["new"] else []
    if not times and not bad:
        raise WorkerError("no row can be run by both")
    return bad


def slower(judged, options):
    """Return the rows that are slower; print those that are undecided."""
    if unsure := [row for row, change in judged.items() if is_undecided(change, options)]:
        print(f"\nThe noise could hide a change beyond the limit: {', '.join(unsure)}.")
    return [row for row, change in judged.items() if judge(*change, options.limit) == SLOWER]


def ratio_cells(change):
    estimate, low, high = map(math.exp, change)
    return f"{estimate:.3f}", f"{low:.3f} to {high:.3f}"


def report_comparison(first, second, options):
    """Print how much slower or faster the second file's NEW is; return the rows that are slower."""
    shared = [row for row in first["times"] if row in second["times"]]
    names = [f"{run['names']['new']} / {run['names']['old']}" for run in (first, second)]
    widths = {f"{name} ({side})": 9 for name, side in zip(names, SIDES, strict=True)}
    table = Table({"row": 15, **widths, **HEADINGS, **LAST})
    judged = {}
    for row in shared:
        ratios = [changes(run["times"][row], options.clock) for run in (first, second)]
        judged[row] = change = rank_intervals.shift(*ratios, error_rate(len(shared), options))
        medians = [f"{math.exp(statistics.median(values)):.3f}" for values in ratios]
        table.row(row, *medians, *ratio_cells(change), judge(*change, options.limit))
    if left_out := [row for row in {**first["times"], **second["times"]} if row not in shared]:
        print(f"In one of the files only: {', '.join(left_out)}.")
    return slower(judged, options)


def read(path):
    """Return the run of a file of --json."""
    try:
        run = json.loads(Path(path).read_text("utf-8"))
        names = run["names"], run["trees"], run["times"], run["missing"], run["machine"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"FILE must be one that --json wrote, got {path}: {error!r}")
    assert all(isinstance(part, (dict, str)) for part in names)
    return run


def compare(paths, options):
    first, second = map(read, paths)
    if first["trees"]["old"] != second["trees"]["old"]:
        olds = " and ".join(run["names"]["old"] for run in (first, second))
        sys.exit(f"the files must have one OLD between them, got {olds}; measure again with one")
    if first["machine"] != second["machine"]:
        print(f"Of two machines: {first['machine']}; {second['machine']}.")
    print(f"{first['names']['new']} (old) against {second['names']['new']} (new).\n")
    return report_comparison(first, second, options)


def run_guard(options):
    """Build, measure, and print; return the rows that are slower."""
    names = dict(zip(SIDES, (options.old, options.new), strict=True))
    trees = {side: tree(options.repository, name) for side, name in names.items()}
    folders = {side: build(options.repository, trees[side], options.cache) for side in SIDES}
    loads = os.getloadavg() if hasattr(os, "getloadavg") else (math.nan,)
    machine = f"{processor()}, {os.cpu_count()} cores; Python {sys.version.split()[0]}"
    named = {side: f"{name} ({trees[side][:10]})" for side, name in names.items()}
    print(
        f"{machine}; {options.threads} thread{'s' if options.threads > 1 else ''}; "
        f"load before: {loads[0]:.1f}\n"
        f"Old: {named['old']}; new: {named['new']}; {options.rounds} rounds or more, judged by "
        f"{options.clock} time. Times: minimum / median of the rounds.",
        flush=True,
    )
    wait_briefly()  # for the workers: the one that rests must not disturb the other
    times, missing = measure_rows(folders, options)
    run = {
        "machine": machine,
        "threads": options.threads,
        "load": loads[0],
        "names": names,
        "trees": trees,
        "times": times,
        "missing": missing,
    }
    if options.json:
        options.json.write_text(json.dumps(run), "utf-8")
    return report_run(run, options)


def share(text):
    """Return an argparse type: a number above 0 and below 1."""
    if not 0 < (value := float(text)) < 1:
        raise ValueError
    return value


def parse():
    parser = make_parser(__doc__, seconds=0.004)
    add = parser.add_argument
    add("old", nargs="?", metavar="OLD")
    add("new", nargs="?", default=WORKING_TREE, metavar="NEW")
    add("--compare", nargs=2, metavar="FILE", help="compare two files of --json")
    listing = "; ".join(f"{row}: {about}" for row, about in ROWS.items())
    add(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=list(ROWS),
        metavar="ROW",
        help=f"(default: all) {listing}",
    )
    add("--rounds", type=positive, default=14, metavar="N", help="(default: %(default)s)")
    add("--looks", type=positive, default=3, metavar="N", help="(default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all timings")
    add(
        "--limit",
        type=share,
        default=0.03,
        metavar="F",
        help="maximum slowdown (default: %(default)s)",
    )
    add(
        "--confidence",
        type=share,
        default=0.99,
        metavar="P",
        help="confidence of the intervals of all rows together (default: %(default)s)",
    )
    add("--clock", choices=CLOCKS, default="wall", help="clock to compare (default: %(default)s)")
    add(
        "--repository",
        type=Path,
        default=HERE.parent,
        metavar="FOLDER",
        help="repository of the commits (default: this one)",
    )
    add(
        "--cache",
        type=Path,
        default=default_cache(),
        metavar="FOLDER",
        help="folder of cached builds (default: %(default)s)",
    )
    options = parser.parse_args()
    options.rows = list(dict.fromkeys(options.rows))
    if (options.old is None) == (options.compare is None):
        parser.error("OLD must be a commit, or --compare two files")
    needed = rank_intervals.fewest(error_rate(len(options.rows), options))
    if options.compare is None and options.rounds < needed:
        parser.error(
            f"--rounds must be at least {needed} for {len(options.rows)} rows, {options.looks} "
            f"looks and a confidence of {options.confidence}, got {options.rounds}"
        )
    return options


def main():
    options = parse()
    # Ended from outside, it leaves its blocks, too, and so ends its workers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        bad = compare(options.compare, options) if options.compare else run_guard(options)
    except (BuildError, WorkerError) as error:
        sys.exit(f"guard: {error}")
    if bad:
        what = f"Slower by more than {options.limit:.0%}, or not to be run by the new one"
        print(f"\n{what}: {', '.join(bad)}.")
    else:
        print(f"\nNothing was found to be slower by more than {options.limit:.0%}.")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
