"""What a person sees while a model trains."""

import sys
import warnings

from tqdm import tqdm

from lenet5c._text import is_terminal
from lenet5c.commands.cli import say
from lenet5c.training.sparkline import blocks_for, course_for, sparkline

LATEST = 12  # epochs that the bar has a sparkline of


class Progress:
    """A bar on a terminal or in a notebook, a line for each epoch everywhere; nothing when quiet. Logs stay free of bars.

    Parameters
    ----------
    trainer : Trainer
    quiet : bool
    notebook : bool
        Whether this is a notebook's kernel: its output takes a bar, though it is no terminal.
    """

    def __init__(self, trainer, quiet, notebook=False):
        self.quiet = quiet
        self.epochs = trainer.epochs
        samples = len(trainer.train_set)
        done = trainer.epoch * samples + min(trainer.step * trainer.batch_size, samples)
        kind = notebook_bar() if notebook else tqdm
        # A notebook shows what is written to two streams in turns in blocks of two colours.
        file = sys.stdout if notebook else sys.stderr
        self.bar = kind(
            total=trainer.epochs * samples,
            initial=done,
            unit="img",
            unit_scale=True,
            leave=kind is not tqdm,
            mininterval=0.1,
            disable=quiet or not (notebook or is_terminal(file)),
            file=file,
            dynamic_ncols=True,
        )
        self.blocks = blocks_for(file)
        self.heading_due = True

    def step(self, trainer, samples):
        if not self.bar.disable:
            seen = min(trainer.step * trainer.batch_size, len(trainer.train_set))
            losses = [row["train_loss"] for row in trainer.history[-LATEST:]]
            line = (
                f" {sparkline(losses, blocks=self.blocks, logarithmic=True)}"
                if len(losses) > 1
                else ""
            )
            self.bar.set_description(f"epoch {trainer.epoch + 1}/{trainer.epochs}", refresh=False)
            self.bar.set_postfix_str(
                f"loss {trainer.loss_sum / seen:.4f}{line}, accuracy {100 * trainer.correct / seen:.2f}%",
                refresh=False,
            )
            self.bar.update(samples)

    def epoch(self, row, seconds):
        if self.heading_due:
            self.line(
                "epoch   learning rate   train loss   train acc.   valid. loss   valid. acc.   seconds"
            )
            self.heading_due = False
        validation = " " * 26
        if "validation_loss" in row:
            validation = f"{row['validation_loss']:14.4f}{100 * row['validation_accuracy']:13.2f}%"
        self.line(
            f"{row['epoch']:3d}/{self.epochs:<3d}{row['lr']:14.2e}{row['train_loss']:13.4f}"
            f"{100 * row['train_accuracy']:12.2f}%{validation}{seconds:10.2f}"
        )

    def course(self, history):
        """How loss and accuracy went, once the run is over."""
        if history and not self.quiet:
            self.line(course_for(history))

    def line(self, text):
        if not self.quiet:
            with self.bar.external_write_mode(file=sys.stdout):
                say(text)

    def close(self):
        self.bar.close()


def in_notebook():
    """Whether this is the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return "IPKernelApp" in getattr(shell, "config", {})


def notebook_bar():
    """tqdm's widget if ipywidgets is there, else its bar of text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is so, or that ipywidgets is missing
        from tqdm.autonotebook import tqdm as bar
    return bar
