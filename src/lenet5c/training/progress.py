"""What a person sees while a model trains."""

import sys

from tqdm import tqdm

from lenet5c.command import say


class Progress:
    """A bar on a terminal, a line for each epoch everywhere; nothing when quiet. Logs stay free of bars."""

    def __init__(self, trainer, quiet):
        self.quiet = quiet
        self.epochs = trainer.epochs
        samples = len(trainer.train_set)
        done = trainer.epoch * samples + min(trainer.step * trainer.batch_size, samples)
        self.bar = tqdm(
            total=trainer.epochs * samples, initial=done, unit="img", unit_scale=True, leave=False, mininterval=0.1,
            disable=quiet or sys.stderr is None or not sys.stderr.isatty(), dynamic_ncols=True)  # fmt: skip
        self.heading_due = True

    def step(self, trainer, samples):
        if not self.bar.disable:
            seen = min(trainer.step * trainer.batch_size, len(trainer.train_set))
            self.bar.set_description(f"epoch {trainer.epoch + 1}/{trainer.epochs}", refresh=False)
            self.bar.set_postfix_str(
                f"loss {trainer.loss_sum / seen:.4f}, accuracy {100 * trainer.correct / seen:.2f}%", refresh=False)
            self.bar.update(samples)

    def epoch(self, row, seconds):
        if self.heading_due:
            self.line("epoch   learning rate   train loss   train acc.   valid. loss   valid. acc.   seconds")
            self.heading_due = False
        validation = " " * 26
        if "validation_loss" in row:
            validation = f"{row['validation_loss']:14.4f}{100 * row['validation_accuracy']:13.2f}%"
        self.line(
            f"{row['epoch']:3d}/{self.epochs:<3d}{row['lr']:14.2e}{row['train_loss']:13.4f}"
            f"{100 * row['train_accuracy']:12.2f}%{validation}{seconds:10.2f}"
        )

    def line(self, text):
        if not self.quiet:
            with self.bar.external_write_mode(file=sys.stdout):
                say(text)

    def close(self):
        self.bar.close()
