"""`Trainer.fit`: a training to watch in a notebook, to interrupt and to go on with."""

import signal
import time

from lenet5c.training.history import History
from lenet5c.training.interrupt import StopRequest
from lenet5c.training.progress import Progress, in_notebook

SNAPSHOT_SECONDS = 0.5
# Who presses a notebook's stop button again before the stretch of steps has ended wants no more than the first time.
GRACE_SECONDS = 5.0


def fit(trainer, progress=True, on_epoch=None):
    """As `Trainer.fit` has it."""
    shown = Progress(trainer, not progress, in_notebook())
    began = time.perf_counter()
    sound = Snapshot(trainer)

    def after_stretch(trainer, samples):
        sound.take(SNAPSHOT_SECONDS)
        shown.step(trainer, samples)

    def after_epoch(trainer, row):
        nonlocal began
        sound.take()
        shown.epoch(row, time.perf_counter() - began)
        began = time.perf_counter()
        if on_epoch:
            on_epoch(trainer, row)

    try:
        with StopRequest((signal.SIGINT,), GRACE_SECONDS) as stop:
            done = trainer.run(after_stretch, after_epoch, stop)
    except (
        KeyboardInterrupt
    ):  # raised by a callback, say, or a layer of one's own, wherever that was
        if not sound.restore():
            raise
        done = False
    finally:
        shown.close()
    if not done:
        shown.line(
            f"Interrupted in epoch {min(trainer.epoch + 1, trainer.epochs)} of {trainer.epochs}, after step "
            f"{trainer.step} of {trainer.steps_per_epoch}; fit() goes on from here."
        )
    elif trainer.epoch < trainer.epochs:
        shown.line(f"No better epoch in {trainer.patience}: the training ends here.")
    kept = trainer.kept_row["epoch"] if done and trainer.keep == "best" else None
    if kept is not None:
        shown.line(f"The weights are those of epoch {kept}.")
    return History(trainer.history, trainer.epochs, done, kept)


class Snapshot:
    """A state between two steps to go back to: an exception may come in the middle of one.

    A trainer whose optimiser is the user's own, without `state_dict`, has none.
    """

    def __init__(self, trainer):
        self.trainer = trainer
        self.possible = hasattr(trainer.optimizer, "state_dict")
        self.take()

    def take(self, seconds=0.0):
        """Note the state as it is now, unless the last one is younger than so many seconds."""
        now = time.perf_counter()
        if self.possible and (seconds == 0 or now - self.taken >= seconds):
            values, arrays = self.trainer.state()
            self.state = {**values, "history": list(values["history"])}, arrays
            self.taken = now

    def restore(self):
        """Go back to it; False if there is none."""
        if self.possible:
            self.trainer.load_state(*self.state)
        return self.possible
