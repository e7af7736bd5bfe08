"""``lenet5c tune``: search for the settings with the best validation accuracy.

Exit codes: 0 done, 1 failed, 2 bad use; 130, 143 or 129 interrupted by SIGINT (Ctrl-C), SIGTERM or
SIGHUP.
"""

import sys
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lenet5c._text import command_line, table
from lenet5c.commands import signals
from lenet5c.commands.cli import FAILED, directory, fail, note, say, whole
from lenet5c.commands.train import add_settings, make_config, naming_options, read_settings
from lenet5c.commands.workers import Workers, add_workers, open_workers
from lenet5c.errors import TrainingError
from lenet5c.recipes import RunConfig
from lenet5c.recipes.search_space import USUAL, read_space
from lenet5c.recipes.tune import BEST, TABLE, Tuning, tune
from lenet5c.training import Trainer
from lenet5c.training.interrupt import StopRequest

SHOWN = 5  # trials in the table at the end
DESCRIPTION = (
    "Search for the settings with the best validation accuracy, with Optuna. Settings given as "
    "options apply to all trials. Run the same command again to continue a study, or several times "
    "in parallel to share the work."
)
EXAMPLES = """examples:
  lenet5c tune --data my-pictures --trials 50 --out studies/mine
  lenet5c tune --search lr=1e-4:1e-1:log activation=tanh,relu dropout --epochs 5 --out studies/net
  lenet5c train --config studies/net/best.json --out runs/best"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the settings of a run and of the search."""
    add = add_settings(parser).add_argument
    text = "folder of the study (default: studies/default)"
    add("--out", type=directory, default=Path("studies/default"), metavar="DIR", help=text)
    text = "total number of finished trials, including those already in the study (default: 50)"
    add("--trials", type=whole(1), default=50, metavar="N", help=text)
    add(
        "--search",
        nargs="+",
        default=list(USUAL),
        metavar="NAME[=VALUES]",
        help="settings to search: NAME, NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C (default: "
        f"{' '.join(USUAL)})",
    )
    add_workers(parser)
    add("--quiet", action="store_true", help="print only the last lines")


@naming_options()
def run(options: Namespace) -> int:
    """Search and print the best settings; return the exit code."""
    config = make_config(read_settings(options), options.out)
    display, stop = Display(options), StopRequest()
    read_space(config.settings, options.search)  # reports errors before reading the data
    with open_workers(options) as workers:
        return search(options, config, display, stop, workers) if workers else 0


def search(
    options: Namespace, config: RunConfig, display: "Display", stop: StopRequest, workers: Workers
) -> int:
    """Search with workers; return the exit code."""
    source = config.open(display.line)
    config = config.choose_recipe(source.train, display.line)
    if not workers.are_here:
        display.show(options.trials, " trials")
    try:
        result = tune(
            config,
            read_space(config.settings, options.search),
            source if workers.are_here else None,  # read by other processes
            trials=options.trials,
            on_message=display.line,
            on_trial=display.trial,
            on_start=display.start,
            on_step=display.step,
            stop=stop,
            executor=workers.executor,
            jobs=workers.jobs,
        )
    except TrainingError as error:
        return fail(options.prog, error, FAILED)
    finally:
        display.close()
    if result.interrupted:
        signals.settle(stop.signal or 0)
        note(
            f"\nStopped; the trials so far are in {options.out}. Run the same command to continue."
        )
        return 128 + (stop.signal or 0)
    report(options, result)
    return 0


def report(options: Namespace, result: Tuning) -> None:
    """Print the best trials and the command to train with the best settings."""
    done = [row for row in result.trials if row["state"] == "complete"]
    done.sort(key=lambda row: -row["validation_accuracy"])
    names = [name for name in (done[0] if done else {}) if name not in ("state", "epochs")]
    shown = "trial", "validation"
    if not options.quiet:
        rows = [(*shown, *names[2:])]
        rows += [tuple(show(name, row.get(name)) for name in names) for row in done[:SHOWN]]
        say(f"\nThe best of {len(result.trials)} trials (all: {options.out / TABLE}):")
        say(table(rows, "rr" + "r" * len(names[2:])))
    best = command_line("train", "--config", options.out / BEST)
    say(f"Train with the best settings:\n  {best}")


def show(name: str, value: Any) -> str:
    """Return a value for a table."""
    if name == "validation_accuracy":
        return f"{100 * value:.2f}%"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Display:
    """A line for each trial, and a bar for the current trial or all trials."""

    def __init__(self, options: Namespace) -> None:
        self.quiet = options.quiet
        self.bar: Any = None
        self.several = False

    def line(self, text: str) -> None:
        """Print a line, unless quiet."""
        if not self.quiet:
            say(text)

    def start(self, trainer: Trainer, _: object) -> None:
        """Show the bar of a trial."""
        self.show(trainer.epochs * len(trainer.train_set), " images")

    def show(self, total: int, unit: str) -> None:
        """Replace the current bar."""
        from tqdm import tqdm

        self.close()
        self.several = unit == " trials"
        self.bar = tqdm(total=total, unit=unit, leave=False, disable=self.quiet or None)

    def step(self, _: Trainer, samples: int) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(samples)

    def trial(self, row: dict[str, Any]) -> None:
        """Print the row of a trial."""
        if not self.several:
            self.close()
        settings = ", ".join(f"{name} {show(name, row[name])}" for name in list(row)[4:])
        accuracy = row["validation_accuracy"]
        percent = "-" if accuracy is None else show("validation_accuracy", accuracy)
        end = "" if row["state"] == "complete" else f" after epoch {row['epochs']}"
        with self.bar.external_write_mode(file=sys.stdout) if self.bar else nullcontext():
            self.line(f"trial {row['trial']:3}  {percent:>7}{end}  {settings}")
        if self.several:
            self.bar.update()

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
