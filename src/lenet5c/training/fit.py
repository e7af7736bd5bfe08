"""`Trainer.fit`: a training to watch in a notebook, to interrupt and to resume."""

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
# A stop button that is pressed again before the stretch of steps has ended means the same.
GRACE_SECONDS = 5.0


def fit(
    trainer: "Trainer",
    progress: bool = True,
    on_epoch: Callable[["Trainer", dict[str, Any]], object] | None = None,
) -> History:
    """Train as `Trainer.fit` describes it."""
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
    except KeyboardInterrupt:  # raised by a callback or a layer of the user's own
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
            f"after step {trainer.step} of {trainer.steps_per_epoch}; fit() goes on from here."
        )
    best = trainer.kept_row if done and trainer.keep == "best" else None
    kept_epoch = best["epoch"] if best else None
    return History(trainer.history, trainer.epochs, done, kept_epoch, describe_loss(trainer))


class Snapshot:
    """A state between two steps to go back to: an exception may come in the middle of one.

    There is none of a trainer whose optimizer has no `state_dict`.

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
        """Save the state as it is now, unless the last one is younger than `seconds`."""
        now = time.perf_counter()
        if self.possible and (seconds == 0 or now - self.taken >= seconds):
            values, arrays = self.trainer.state()
            self.state = {**values, "history": list(values["history"])}, arrays
            self.taken = now

    def restore(self) -> bool:
        """Go back to the saved state; False if there is none."""
        if self.possible:
            self.trainer.load_state(*self.state)
        return self.possible
