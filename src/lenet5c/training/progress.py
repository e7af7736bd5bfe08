"""Training progress: a bar, and a line for each epoch."""

import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TextIO

from lenet5c._text import is_terminal
from lenet5c.training.sparkline import blocks_for, sparkline, summarize_for
from lenet5c.training.statistics import describe_accuracy, is_vague

if TYPE_CHECKING:
    from tqdm import tqdm

    from lenet5c.training.trainer import Trainer

LATEST = 12  # epochs in the sparkline of the bar


class Progress:
    """Progress bar on a terminal or in a notebook, and a line for each epoch; nothing if quiet.

    Parameters
    ----------
    trainer : Trainer
    quiet : bool
    notebook : bool
        True in the kernel of a notebook, which can show a bar although it is not a terminal.
    write : callable
        Function that writes a line to standard output.
    """

    def __init__(
        self,
        trainer: "Trainer",
        quiet: bool,
        notebook: bool = False,
        write: Callable[[str], object] = print,
    ) -> None:
        self.quiet, self.write = quiet, write
        self.epochs = trainer.epochs
        # A notebook would show alternating output of two streams in blocks of two colors.
        file = sys.stdout if notebook else sys.stderr
        shown = not quiet and (notebook or is_terminal(file))
        samples = len(trainer.train_set)
        done = trainer.epoch * samples + min(trainer.step * trainer.batch_size, samples)
        total = trainer.epochs * samples
        self.bar = make_bar(total, done, "img", file, notebook) if shown else None
        self.blocks = blocks_for(file)
        self.heading_due = True

    def step(self, trainer: "Trainer", samples: int) -> None:
        """Show the progress of some steps."""
        if self.bar is None:
            return
        seen = min(trainer.step * trainer.batch_size, len(trainer.train_set))
        losses = [row["train_loss"] for row in trainer.history[-LATEST:]]
        line = sparkline(losses, blocks=self.blocks, logarithmic=True) if len(losses) > 1 else ""
        self.bar.set_description(f"epoch {trainer.epoch + 1}/{trainer.epochs}", refresh=False)
        self.bar.set_postfix_str(
            f"loss {trainer.loss_sum / seen:.4f}{line and ' ' + line}, "
            f"accuracy {100 * trainer.correct / seen:.2f}%",
            refresh=False,
        )
        self.bar.update(samples)

    def epoch(self, row: dict[str, Any], seconds: float) -> None:
        """Show a finished epoch."""
        if self.heading_due:
            self.line(
                "epoch   learning rate   train loss   train acc.   valid. loss   valid. acc."
                "   seconds"
            )
            self.heading_due = False
        validation = " " * 26
        if "validation_loss" in row:
            validation = f"{row['validation_loss']:14.4f}{100 * row['validation_accuracy']:13.2f}%"
        self.line(
            f"{row['epoch']:3d}/{self.epochs:<3d}{row['lr']:14.2e}{row['train_loss']:13.4f}"
            f"{100 * row['train_accuracy']:12.2f}%{validation}{seconds:10.2f}"
        )

    def finish(self, trainer: "Trainer") -> None:
        """Report early stopping and the epoch whose weights are kept, at the end of the run."""
        if trainer.epoch < trainer.epochs:
            self.line(f"No improvement in {trainer.patience} epochs: training ends early.")
        row = trainer.kept_row
        if trainer.keep == "best" and row:
            self.line(f"The weights of epoch {row['epoch']} are kept.")

    def qualify(self, trainer: "Trainer") -> None:
        """Report the interval of the validation accuracy if there are few images."""
        row = trainer.kept_row
        if trainer.validation_set and row:
            count = len(trainer.validation_set)
            correct = round(row["validation_accuracy"] * count)
            if is_vague(correct, count):
                self.line(f"Few validation images: {describe_accuracy(correct, count)}")

    def course(self, history: list[dict[str, Any]]) -> None:
        """Show loss and accuracy of all epochs as sparklines."""
        if history and not self.quiet:
            self.line(summarize_for(history))

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        if not self.quiet:
            bar = self.bar
            above = nullcontext() if bar is None else bar.external_write_mode(file=sys.stdout)
            with above:
                self.write(text)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()


def in_notebook() -> bool:
    """Return True in the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return "IPKernelApp" in getattr(shell, "config", {})


def make_bar(total: int, done: int, unit: str, file: TextIO, notebook: bool) -> "tqdm":
    """Create a bar: tqdm's widget in a notebook with ipywidgets, else a text bar."""
    from tqdm import tqdm  # slow to import, and not needed without a terminal

    kind = tqdm
    if notebook:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the experimental widget or missing ipywidgets
            from tqdm import autonotebook
        kind = autonotebook.tqdm
    return kind(
        total=total,
        initial=done,
        unit=unit,
        unit_scale=total > 1000,
        leave=kind is not tqdm,
        mininterval=0.1,
        file=file,
        dynamic_ncols=True,
    )
