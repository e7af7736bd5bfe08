"""``lenet5c sweep``: train with many seeds and settings at once.

Exit codes: 0 done, 1 a training failed, 2 bad use; 130, 143 or 129 interrupted by SIGINT (Ctrl-C),
SIGTERM or SIGHUP.
"""

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from lenet5c._text import printable
from lenet5c.commands import signals
from lenet5c.commands.cli import FAILED, directory, fail, note, say, whole
from lenet5c.commands.train import add_settings, make_config, naming_options, read_settings
from lenet5c.commands.workers import Workers, add_workers, open_workers
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig, SweepResult, run_many
from lenet5c.recipes.run_config import option_settings
from lenet5c.recipes.search_space import Options, read_space
from lenet5c.recipes.setting import in_words
from lenet5c.recipes.setting import option as option_of
from lenet5c.recipes.sweep_rows import TABLE, format_rows
from lenet5c.training.interrupt import StopRequest

DESCRIPTION = (
    "Train with many seeds and settings. Finished runs are kept in the folder: run the same "
    "command again to continue after an interruption, or with more seeds to train only the new "
    "ones."
)
EXAMPLES = """examples:
  lenet5c sweep --recipe fast --seeds 8
  lenet5c sweep --vary lr=1e-3,4e-3 batch-size=32,64 --seeds 3 --out sweeps/first
  lenet5c sweep --data my-pictures --folds 5 --seeds 2 --jobs 2
  mpiexec -n 9 lenet5c sweep --recipe best --seeds 40 --executor mpi
  lenet5c runs sweeps/first --plot sweeps.png"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the settings of a run, and those of the sweep."""
    group = add_settings(parser)
    add = group.add_argument
    text = "folder of the runs (default: sweeps/default)"
    add("--out", type=directory, default=Path("sweeps/default"), metavar="DIR", help=text)
    text = "number of seeds for each combination, starting with --seed (default: 1)"
    add("--seeds", type=whole(1, 100_000), default=1, metavar="N", help=text)
    add(
        "--vary",
        nargs="+",
        default=[],
        metavar="NAME=A,B,C",
        help="settings and their values, every combination of which is trained; 12+32 is a list",
    )
    add_workers(group, usual="all cores")
    add("--quiet", action="store_true", help="print only the last lines")


@naming_options()
def run(options: Namespace) -> int:
    """Train and print the results; return the exit code."""
    configs = combine(options)
    with open_workers(options, None) as workers:
        return sweep(options, configs, workers) if workers else 0


def combine(options: Namespace) -> list[RunConfig]:
    """Return the runs selected by the options, seeds varying fastest."""
    shared = read_settings(options)
    config = make_config(dict(shared), None)
    chosen: list[dict[str, Any]] = [{}]
    space = read_space(config.settings, options.vary, "--vary", ("recipe", "seed"))
    for name, values in space.items():
        if not isinstance(values, Options):
            raise RunError(f"--vary must be NAME=A,B,C, got a range for {name}; list its values")
        if name in shared:
            flag = option_of(name, option_settings()[name])
            raise RunError(f"{flag} cannot be combined with --vary {flag[2:]}, got {shared[name]}")
        chosen = [each | {name: value} for each in chosen for value in values.values]
    configs = []
    for changes in chosen:
        given = shared | changes
        seed = given.pop("seed", 0)
        made = make_config(given, None)
        configs += [replace(made, seed=seed + i) for i in range(options.seeds)]
    return configs


def sweep(options: Namespace, configs: list[RunConfig], workers: Workers) -> int:
    """Execute the runs with workers; return the exit code."""
    stop = StopRequest()

    def on_message(line: str) -> None:
        if not options.quiet:
            say(line)

    def on_run(row: dict[str, Any]) -> None:
        if row["state"] == "failed":
            note(f"{options.prog}: {row['run']} failed: {printable(row['error'])}")
        else:
            on_message(f"{row['run']}: {row['test_accuracy']:.2%}")

    result = run_many(
        configs,
        options.out,
        executor=workers.executor,
        jobs=workers.jobs,
        progress=not options.quiet,
        on_message=on_message,
        on_run=on_run,
        stop=stop,
    )
    if result.interrupted:
        signals.settle(stop.signal or 0)
        note(f"\nStopped; the runs so far are in {options.out}. Run the same command to continue.")
        return 128 + (stop.signal or 0)
    on_message(f"\n{format_rows(result.rows)}\n")
    return report(options, result)


def report(options: Namespace, result: SweepResult) -> int:
    """Print means over the seeds and the location of the results; return the exit code."""
    for group in result.spread():
        names = [name for name in group if name not in ("count", "mean", "sd", "recipe")]
        words = ", ".join(f"{name} {in_words(group[name])}" for name in names)
        say(
            f"{group['recipe']}{words and ', '}{printable(words)}: {100 * group['mean']:.2f}% ± "
            f"{100 * group['sd']:.2f} (mean and standard deviation of {group['count']} runs)"
        )
    say(f"Results: {options.out / TABLE}")
    if result.failed:
        first, count = result.failed[0], len(result.failed)
        more = "" if count == 1 else f" ({count} in total)"
        message = (
            f"{first['run']} failed: {first['error']}{more}; run the same command again to repeat "
            "failed runs; if the files of a run are damaged, delete its folder first"
        )
        return fail(options.prog, message, FAILED)
    return 0
