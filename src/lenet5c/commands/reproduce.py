"""``lenet5c reproduce``: train recipes with several seeds, and report on the results.

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
    "Train recipes with several seeds, each training a process of its own, and write a report: "
    "what was reported against what was obtained, with its spread, times, curves and errors. "
    "Finished trainings are kept, so that the same command goes on after an interrupt."
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
        help="seeds 0 to N - 1 of each (default: 20, fewer of recipes that take over a minute)",
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
        help="folder for the trainings (default: runs/reproduce)",
    )
    add_workers(parser, ", whose times are longer then")
    add(
        "--data",
        default="mnist",
        metavar="NAME_OR_PATH",
        help="as for lenet5c train (default: mnist)",
    )
    add(
        "--epochs",
        type=whole(1),
        metavar="N",
        help="in place of the recipes' own; the report says so",
    )
    add(
        "--records",
        action="store_true",
        help=f"write {RECORDS_PAGE} instead, a table of the seconds until a test accuracy",
    )
    add(
        "--reached",
        type=file,
        metavar="FILE",
        help="write the accuracies that lenet5c recipes shows into a file, which is "
        "src/lenet5c/recipes/reached.json in a checkout",
    )


def run(options: Namespace) -> int:
    """Train and report; after an interrupt the trainings leave checkpoints."""
    with open_workers(options) as workers:
        return report(options, workers) if workers else 0


def report(options: Namespace, workers: Workers) -> int:
    """Train by some workers, and report; return the exit code."""
    arguments = {name: getattr(options, name) for name in ("seeds", "out", "work")}
    arguments |= {"jobs": workers.jobs, "executor": workers.executor}
    others = {name: getattr(options, name) for name in ("recipes", "data", "epochs", "reached")}
    try:
        if not options.records:
            reproduce(**arguments, **others, tell=say)
        elif others == {"recipes": [], "data": "mnist", "epochs": None, "reached": None}:
            reproduce_records(**arguments, tell=say)
        else:
            raise RunError("--records must be without recipes, --data, --epochs and --reached")
    except TrainingError as error:
        return fail(options.prog, error, FAILED)
    except KeyboardInterrupt:
        text = "interrupted; the same command goes on where this one stopped"
        raise KeyboardInterrupt(text) from None
    say(f"\nThe report is {options.out / (RECORDS_PAGE if options.records else REPORT)}")
    return 0
