"""Output of ``lenet5c train`` about a run: lines, a progress bar, the command to resume it."""

import time
from argparse import Namespace
from functools import partial
from typing import Any

import numpy as np

from lenet5c import kernels, recipes
from lenet5c._text import command_line
from lenet5c.commands.cli import note, say, warn
from lenet5c.datasets.records import IMBALANCE
from lenet5c.recipes import RunConfig
from lenet5c.recipes.run_config import NOTHING
from lenet5c.training import Trainer
from lenet5c.training.loss_terms import describe_loss
from lenet5c.training.progress import Progress
from lenet5c.training.statistics import describe_accuracy

#: Descriptions of nets by class.
KINDS = {"LeNet5": "LeNet-5", "LeNet5_1998": "LeNet-5", "SmallColor": "The net small_color"}
#: Exit code below the target accuracy.
TARGET_MISSED = 3
# Small number of training images, and suggested augmentations.
FEW, FEW_A_STEP = 1000, 16


class Display:
    """Lines and a progress bar of a run, on standard output and standard error."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.progress: Progress | None = None

    def line(self, text: str) -> None:
        """Print a line, unless quiet."""
        if not self.quiet:
            say(text)

    def start(self, trainer: Trainer, config: RunConfig) -> None:
        """Print a description of the training and show the bar."""
        model, trained = trainer.model, trainer.trained
        assert trained is not None  # trainers of recipes have it
        shape = " x ".join(map(str, trained.input_shape))
        kind = KINDS.get(type(model).__name__, "A custom net")
        count, validation = len(trainer.train_set), len(trainer.validation_set or ())
        if config.start:
            frozen = f"; frozen: {', '.join(config.freeze)}" if config.freeze else ""
            self.line(f"Starts from {config.start}{frozen}")
            if trainer.remark and trainer.steps_taken == 0:
                self.line(trainer.remark)
            if not trainer.mixture.endswith("rehearsed") and config.rehearse != NOTHING:
                self.line(
                    "The model may forget its earlier training data; use --rehearse NAME_OR_PATH "
                    "to "
                    "mix it in."
                )
        if config.taught_by:
            share = config.settings.teaching_weight
            labels = f", labels weighted {100 * (1 - share):g} %" if share < 1 else ""
            self.line(
                f"Taught by {config.taught_by} at temperature "
                f"{config.settings.teaching_temperature:g}{labels}"
            )
        mixture = f" per epoch: {trainer.mixture}" if trainer.mixture else " for training"
        self.line(
            f"{kind}, {model.num_params:,} parameters, {shape} input; {count:,} "
            f"images{mixture}, {validation:,} for validation; seed {config.seed}\n"
            f"kernels {kernels.isa}, {kernels.get_num_threads()} threads; results in "
            f"{config.folder}"
        )
        begins = trainer.epoch == 0 and config.fold in (None, 1)
        if count < FEW and not (config.settings.distortion or config.start) and begins:
            in_color = trainer.train_set.images.shape[1] == 3
            name = "pictures-noflip" if in_color else "modern"
            self.line(
                f"For so few images, try --distortion {name} --epochs 300 --batch-size "
                f"{min(FEW_A_STEP, count)}."
            )
        counts = np.bincount(trainer.train_set.labels)
        rarest, most = counts[counts > 0].min(), counts.max()
        if most >= IMBALANCE * rarest and not config.settings.class_weight and begins:
            names = trainer.train_set.class_names
            rare = names[int(np.where(counts > 0, counts, most).argmin())]
            self.line(
                f"The class {rare} has {rarest:,} of {count:,} images, the largest {most:,}; try "
                "--class-weight balanced --distortion modern to give all classes the same weight "
                "and augment the images."
            )
        if self.progress:  # bar of a teacher
            self.progress.close()
        self.progress, self.began = Progress(trainer, self.quiet, write=say), time.perf_counter()

    def step(self, trainer: Trainer, samples: int) -> None:
        """Move the bar."""
        if self.progress:
            self.progress.step(trainer, samples)

    def epoch(self, trainer: Trainer, row: dict[str, Any]) -> None:
        """Print the row of an epoch."""
        if self.progress:
            self.progress.epoch(row, time.perf_counter() - self.began)
        self.began = time.perf_counter()

    def close(self, result: recipes.Run | None = None) -> None:
        """Remove the bar; print a summary of the training if this process finished it."""
        if self.progress:
            self.progress.close()
            if result and not result.interrupted:
                self.progress.finish(result.trainer)
                self.progress.course(result.history)
                self.progress.qualify(result.trainer)
                self.explain(result)

    def explain(self, result: recipes.Run) -> None:
        """Print the terms of the training loss, if they are not in the test loss."""
        if result.summary and (terms := describe_loss(result.trainer)):
            self.line(
                f"The losses above are {terms}; the plain cross-entropy on the test images is "
                f"{result.summary['test_loss']:.4f}."
            )


class FoldDisplay(Display):
    """Lines and a bar for each fold in turn."""

    def __init__(self, options: Namespace) -> None:
        super().__init__(options.quiet)
        self.options = options

    def start(self, trainer: Trainer, config: RunConfig) -> None:
        """Print the number of the fold and a description of the training."""
        self.line(f"\nFold {config.fold} of {config.folds}")
        super().start(trainer, config)

    def fold(self, run: recipes.Run) -> None:
        """Print the result of a fold, and draw its report."""
        self.close(run)
        self.progress = None
        if not self.options.no_report:
            from lenet5c.report.run import leave_report

            leave_report(run, self.line, partial(warn, self.options.prog))
        text = describe_accuracy(run.evaluation.correct, run.evaluation.count)
        self.line(f"Fold {run.config.fold} of {run.config.folds}: {text}")


def report_stop(result: recipes.Run, signal: int) -> int:
    """Print the command to resume; return the exit code."""
    trainer, again = result.trainer, ("train", "--resume", "--out", result.config.folder)
    note(
        f"\nStopped in epoch {trainer.epoch + 1} after step {trainer.step} of "
        f"{trainer.steps_per_epoch}. Continue with:\n  {command_line(*again)}"
    )
    return 128 + signal
