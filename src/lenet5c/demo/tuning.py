"""Fine-tuning on drawn samples, with rehearsal of the model's training data."""

import threading
from collections.abc import Callable
from typing import Any

from lenet5c.datasets import Dataset, Source
from lenet5c.recipes import recipe
from lenet5c.training import NonFiniteError, TrainedModel, Trainer, evaluate

EPOCHS = 3


class Tuning(threading.Thread):
    """Fine-tuning of a copy of a model in the background.

    Uses the recipe 'finetune': training images of the source, the training data of the model, are
    mixed in; its test images are used for evaluation. The result depends only on the model and the
    samples, not on earlier fine-tuning. ``done(tuned)`` is called in the thread. Other threads set
    `stopped` to stop it, and read `status`: 'state' ('running', 'done', 'stopped' or 'failed'),
    'progress' and more.
    """

    def __init__(
        self,
        trained: TrainedModel,
        samples: Dataset,
        source: Source,
        done: Callable[[TrainedModel], None],
        epochs: int = EPOCHS,
    ) -> None:
        super().__init__(name="fine-tuning", daemon=True)
        self.trained, self.samples, self.source = trained, samples, source
        self.done, self.epochs = done, epochs
        self.stopped = threading.Event()
        self.status: dict[str, Any] = {}
        self.put(state="running", progress=0.0, epochs=epochs, samples=len(samples))

    def run(self) -> None:
        """Fine-tune and store the result in the status."""
        try:
            tuned = self.tune()
        except (NonFiniteError, ValueError, MemoryError) as error:
            self.put(state="failed", message=f"fine-tuning failed: {error}")
            return
        if tuned is None:
            self.put(state="stopped")
            return
        self.done(tuned)
        self.put(state="done", progress=1.0)

    def put(self, **changes: Any) -> None:
        """Replace the status atomically."""
        self.status = self.status | changes

    def tune(self) -> TrainedModel | None:
        """Return the tuned model, None if it was stopped."""
        self.put(before=self.measure(self.trained))
        trainer, tuned = recipe("finetune", epochs=self.epochs).build(
            Source(self.samples, self.source.test, reading=self.trained.reading),
            seed=0,
            start=self.trained,
            rehearsed=self.source.train,
        )
        total = trainer.steps_per_epoch * self.epochs

        def on_step(trainer: Trainer, _: object) -> None:
            self.put(progress=trainer.steps_taken / total)

        if not trainer.run(on_step, stop=self.stopped.is_set):
            return None
        self.put(after=self.measure(tuned))
        return tuned

    def measure(self, trained: TrainedModel) -> dict[str, list[int]]:
        """Return [correct, count] on the samples and on the test images."""
        sets = {"samples": self.samples, "tests": self.source.test}
        results = {name: evaluate(trained, each) for name, each in sets.items()}
        return {name: [result.correct, result.count] for name, result in results.items()}
