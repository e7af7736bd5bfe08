"""``lenet5c train --folds N``: a run for each fold of the data, and their mean accuracy."""

import argparse
from dataclasses import replace
from functools import partial
from typing import Any

from lenet5c.commands import signals
from lenet5c.commands.cli import FAILED, fail, note, say, warn
from lenet5c.commands.display import TARGET_MISSED, Display, report_stop
from lenet5c.recipes import CrossValidation, Run, RunConfig, cross_validate
from lenet5c.recipes.folds import RECORD
from lenet5c.report.tables import class_table
from lenet5c.training import NonFiniteError, Trainer
from lenet5c.training.interrupt import StopRequest
from lenet5c.training.statistics import describe_accuracy


def run(options: argparse.Namespace, config: RunConfig) -> int:
    """Cross-validate and report; return the exit code."""
    shown, stop = FoldDisplay(options, config), StopRequest()
    try:
        result = cross_validate(
            config,
            resume=options.resume,
            overwrite=options.overwrite,
            tensorboard=options.tensorboard,
            tell=shown.display.line,
            on_fold=shown.fold,
            on_start=shown.start,
            on_step=lambda trainer, samples: shown.display.step(trainer, samples),
            on_epoch=lambda trainer, row: shown.display.epoch(trainer, row),
            stop=stop,
        )
    except NonFiniteError as error:
        message = f"training failed: {error}; give the next run another --out"
        return fail(options.prog, message, FAILED)
    finally:
        shown.display.close()
    if result.interrupted:
        signals.settle(stop.signal or 0)
        whole = replace(result.interrupted.config, folder=config.folder)
        return report_stop(replace(result.interrupted, config=whole), stop.signal or 0)
    shown.display.line(f"Each image by the model of its fold; written to {config.folder}/{RECORD}")
    return report(result, options)


def report(result: CrossValidation, options: argparse.Namespace) -> int:
    """Print the scores of each class and the mean accuracy; return the exit code."""
    over, whole = result.interval, result.evaluation
    if whole is None:
        raise ValueError("result must be of all folds, got an interrupted one")
    if not options.quiet:
        say(class_table(whole.matrix, result.dataset.class_names))
    target = options.target_accuracy
    missed = target is not None and over.mean < target
    if missed:
        note(f"The mean accuracy is below the target of {100 * target:g}%.")
    say(
        f"Accuracy over {over.count} folds: {100 * over.mean:.2f}% ± "
        f"{100 * (over.high - over.mean):.2f} (95 % interval of the mean); {whole.correct} of "
        f"{whole.count} images"
    )
    return TARGET_MISSED if missed else 0


class FoldDisplay:
    """Lines and a bar for each fold in turn."""

    def __init__(self, options: argparse.Namespace, config: RunConfig) -> None:
        self.options, self.config = options, config
        self.display = Display(options.quiet)

    def start(self, trainer: Trainer, config: RunConfig) -> None:
        """Print which fold it is and what is trained."""
        self.display.line(f"\nFold {config.fold} of {config.folds}")
        self.display.start(trainer, config)

    def fold(self, run: Run) -> None:
        """Print the result of a fold, and draw its report."""
        self.display.close(run)
        self.display = Display(self.options.quiet)
        if not self.options.no_report:
            from lenet5c.report.run import leave_report

            leave_report(run, self.display.line, partial(warn, self.options.prog))
        result: Any = run.evaluation
        text = describe_accuracy(result.correct, result.count)
        self.display.line(f"Fold {run.config.fold} of {run.config.folds}: {text}")
