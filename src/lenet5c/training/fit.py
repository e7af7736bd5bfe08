"""Implementation of `Trainer.fit`."""

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lenet5c.training.history import History
from lenet5c.training.interrupt import StopRequest
from lenet5c.training.loss_terms import describe_loss
from lenet5c.training.progress import Progress, in_notebook

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer

SNAPSHOT_SECONDS = 0.5
# Pressing the stop button again before the running steps have ended has no further effect.
GRACE_SECONDS = 5.0


def fit(
    trainer: "Trainer",
    progress: bool = True,
    on_epoch: Callable[["Trainer", dict[str, Any]], object] | None = None,
) -> History:
    """Implement `Trainer.fit`."""
    shown = Progress(trainer, not progress, in_notebook())
    began = time.perf_counter()
    snapshot = Snapshot(trainer)

    def after_stretch(trainer: "Trainer", samples: int) -> None:
        snapshot.take(SNAPSHOT_SECONDS)
        shown.step(trainer, samples)

    def after_epoch(trainer: "Trainer", row: dict[str, Any]) -> None:
        nonlocal began
        snapshot.take()
        shown.epoch(row, time.perf_counter() - began)
        began = time.perf_counter()
        if on_epoch:
            on_epoch(trainer, row)

    try:
        with StopRequest((signal.SIGINT,), GRACE_SECONDS) as stop:
            done = trainer.run(after_stretch, after_epoch, stop)
    except KeyboardInterrupt:  # raised by a callback or a custom layer
        if not snapshot.restore():
            raise
        done = False
    finally:
        shown.close()
    if done:
        shown.finish(trainer)
        shown.qualify(trainer)
    else:
        shown.line(
            f"Interrupted in epoch {min(trainer.epoch + 1, trainer.epochs)} of {trainer.epochs}, "
            f"after step {trainer.step} of {trainer.steps_per_epoch}; call fit() to continue."
        )
    best = trainer.kept_row if done and trainer.keep == "best" else None
    kept_epoch = best["epoch"] if best else None
    return History(trainer.history, trainer.epochs, done, kept_epoch, describe_loss(trainer))


class Snapshot:
    """A saved state to return to after an exception in the middle of a step.

    Not available if the optimizer has no `state_dict`.

    Parameters
    ----------
    trainer : Trainer
    """

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer = trainer
        self.possible = hasattr(trainer.optimizer, "state_dict")
        self.taken = 0.0
        self.take()

    def take(self, seconds: float = 0.0) -> None:
        """Save the current state, unless the last one is younger than `seconds`."""
        now = time.perf_counter()
        if self.possible and (seconds == 0 or now - self.taken >= seconds):
            values, arrays = self.trainer.state()
            self.state = {**values, "history": list(values["history"])}, arrays
            self.taken = now

    def restore(self) -> bool:
        """Restore the saved state; return False if there is none."""
        if self.possible:
            self.trainer.load_state(*self.state)
        return self.possible
