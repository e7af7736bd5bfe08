"""``lenet5c reproduce``: train recipes with several seeds and report the results.

Exit codes: 0 done, 1 a training failed, 2 bad use, 130 interrupted.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lenet5c.commands.cli import FAILED, directory, fail, file, say, whole
from lenet5c.commands.workers import Workers, add_workers, open_workers
from lenet5c.errors import RunError, TrainingError
from lenet5c.recipes import RECIPES
from lenet5c.reproduction.records import RECORDS_PAGE, reproduce_records
from lenet5c.reproduction.rerun import PICTURES, RECORD, REPORT, reproduce

DESCRIPTION = (
    "Train recipes with several seeds, each in its own process, and write a report that compares "
    "reported and obtained accuracies, with standard deviations, times, curves and errors. "
    "Finished "
    "runs are kept; run the same command again to continue after an interruption."
)
EXAMPLES = """examples:
  lenet5c reproduce fast default --seeds 3 --out report
  lenet5c reproduce paper1998 --jobs 2 --out report
  lenet5c reproduce --records --out report"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("recipes", nargs="*", metavar="RECIPE", help=f"{', '.join(RECIPES)} (default: all)")
    add(
        "--seeds",
        type=whole(1, 1000),
        metavar="N",
        help=(
            "train each recipe with seeds 0 to N - 1 (default: 20, fewer for recipes that take "
            "over a minute)"
        ),
    )
    add(
        "--out",
        type=directory,
        default=Path("docs"),
        metavar="DIR",
        help=f"folder for {REPORT}, {RECORD} and {PICTURES.as_posix()} (default: docs)",
    )
    add(
        "--work",
        type=directory,
        default=Path("runs") / "reproduce",
        metavar="DIR",
        help="folder for the runs (default: runs/reproduce)",
    )
    add_workers(parser)
    add(
        "--data",
        default="mnist",
        metavar="NAME_OR_PATH",
        help="data set, as for lenet5c train (default: mnist)",
    )
    add(
        "--epochs", type=whole(1), metavar="N", help="number of epochs (default: as in each recipe)"
    )
    add(
        "--records",
        action="store_true",
        help=f"write {RECORDS_PAGE} instead, a table of times to reach a test accuracy",
    )
    add(
        "--reached",
        type=file,
        metavar="FILE",
        help=(
            "JSON file to write with the accuracies shown by lenet5c recipes; "
            "src/lenet5c/recipes/reached.json in a checkout"
        ),
    )


def run(options: Namespace) -> int:
    """Train and report; checkpoints are kept after an interruption."""
    with open_workers(options) as workers:
        return report(options, workers) if workers else 0


def report(options: Namespace, workers: Workers) -> int:
    """Train with workers and report; return the exit code."""
    arguments = {name: getattr(options, name) for name in ("seeds", "out", "work")}
    arguments |= {"jobs": workers.jobs, "executor": workers.executor}
    others = {name: getattr(options, name) for name in ("recipes", "data", "epochs", "reached")}
    try:
        if not options.records:
            reproduce(**arguments, **others, on_message=say)
        elif others == {"recipes": [], "data": "mnist", "epochs": None, "reached": None}:
            reproduce_records(**arguments, on_message=say)
        else:
            raise RunError(
                "--records cannot be combined with recipes, --data, --epochs or --reached; omit "
                "them"
            )
    except TrainingError as error:
        return fail(options.prog, error, FAILED)
    except KeyboardInterrupt:
        text = "interrupted; run the same command again to continue"
        raise KeyboardInterrupt(text) from None
    say(f"\nReport: {options.out / (RECORDS_PAGE if options.records else REPORT)}")
    return 0
