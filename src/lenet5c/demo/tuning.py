"""Fine-tuning on samples that a user has drawn, without forgetting the data of the model."""

import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lenet5c.datasets import Dataset, Distortion, Source
from lenet5c.nn import RBF, CrossEntropyLoss, MLELoss
from lenet5c.optim import Adam, Cosine
from lenet5c.training import NonFiniteError, TrainedModel, Trainer, evaluate

EPOCHS = 3
LEARNING_RATE = 3e-4
BATCH = 64
# Images of the data set in each epoch; and the share of samples in one, as far as repeats reach.
REHEARSED = 12_000
SHARE = 0.1
MOST_REPEATS = 60


class Tuning(threading.Thread):
    """A fine-tuning in the background: from a model to a copy that has seen the samples.

    Training images of the source, the data that the model was trained on, are mixed in; its test
    images measure. The result follows from the model and the samples alone: nothing of an earlier
    one stays in it. ``done(tuned)`` is called in the thread; others set `stopped` to stop it, and
    read `status`: 'state' ('running', 'done', 'stopped' or 'failed'), 'progress' and more.
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
        """Tune, and tell the outcome by the status."""
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
        """Change the status; readers see the old or the new one, never half."""
        self.status = self.status | changes

    def tune(self) -> TrainedModel | None:
        """Return the tuned model, None if it was stopped."""
        self.put(before=self.measure(self.trained))
        old, model = self.trained, copy.deepcopy(self.trained.model)
        train_set = mix(self.samples, self.source.train)
        total = -(-len(train_set) // BATCH) * self.epochs
        penalties = any(isinstance(layer, RBF) for layer in model.layers.values())
        trainer = Trainer(
            model,
            Adam(model, LEARNING_RATE),
            Cosine(LEARNING_RATE, total),
            MLELoss() if penalties else CrossEntropyLoss(),
            old.preparation,
            train_set,
            None,
            batch_size=BATCH,
            epochs=self.epochs,
            distortion=Distortion.named("modern") if old.reading == "ink" else None,
        )

        def on_step(trainer: Trainer, _: object) -> None:
            self.put(progress=trainer.steps_taken / total)

        if not trainer.run(on_step, stop=self.stopped.is_set):
            return None
        tuned = replace(old, model=model, path=None)
        self.put(after=self.measure(tuned))
        return tuned

    def measure(self, trained: TrainedModel) -> dict[str, list[int]]:
        """Return [correct, count] on the samples and on the test images."""
        sets = {"samples": self.samples, "tests": self.source.test}
        results = {name: evaluate(trained, each) for name, each in sets.items()}
        return {name: [result.correct, result.count] for name, result in results.items()}


def mix(samples: Dataset, rehearsed: Dataset) -> Dataset:
    """Return images of the data set, the same each time, and samples repeated to a fair share."""
    count = min(REHEARSED, len(rehearsed))
    chosen = np.random.default_rng(0).choice(len(rehearsed), count, replace=False)
    repeats = int(np.clip(round(SHARE * count / (1 - SHARE) / len(samples)), 1, MOST_REPEATS))
    return Dataset(
        np.concatenate([rehearsed.images[chosen], *[samples.images] * repeats]),
        np.concatenate([rehearsed.labels[chosen], *[samples.labels] * repeats]),
        rehearsed.num_classes,
        "samples and rehearsal",
        rehearsed.class_names,
    )
