"""Fine-tuning on the samples that a user has drawn, without forgetting the data that the model came from."""

import copy
import threading

import numpy as np

from lenet5c.datasets import Dataset, Distortion
from lenet5c.nn import CrossEntropyLoss, MLELoss
from lenet5c.nn.rbf import RBF
from lenet5c.optim import Adam, Cosine
from lenet5c.training import NonFiniteError, TrainedModel, Trainer, evaluate

EPOCHS = 3
LEARNING_RATE = 3e-4
BATCH = 64
# Of the data set, what each epoch has of it; and the share of samples in an epoch, as far as repeats reach.
REHEARSED = 12_000
SHARE = 0.1
MOST_REPEATS = 60


class Tuning(threading.Thread):
    """A fine-tuning in the background: from a model to a copy that has seen the samples.

    The result follows from the model and the samples alone: nothing of an earlier fine-tuning stays in it.

    Parameters
    ----------
    trained : lenet5c.training.TrainedModel
        Stays as it is.
    samples : lenet5c.datasets.Dataset
    source : lenet5c.datasets.Source
        The data that the model was trained on: its training images are mixed in, its test images measure.
    done : callable
        ``done(tuned)`` with the new `TrainedModel`, in the thread.
    epochs : int
    """

    def __init__(self, trained, samples, source, done, epochs=EPOCHS):
        super().__init__(name="fine-tuning", daemon=True)
        self.trained, self.samples, self.source, self.done, self.epochs = (
            trained,
            samples,
            source,
            done,
            epochs,
        )
        self.stopped = threading.Event()
        self.status = {
            "state": "running",
            "progress": 0.0,
            "epochs": epochs,
            "samples": len(samples),
        }

    def run(self):
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

    def put(self, **changes):
        """Change the status; readers see the old or the new one, never half."""
        self.status = self.status | changes

    def tune(self):
        """The tuned model, None if it was stopped."""
        self.put(before=self.measured(self.trained))
        model = copy.deepcopy(self.trained.model)
        train_set = mixed(self.samples, self.source.train)
        steps = -(-len(train_set) // BATCH) * self.epochs
        trainer = Trainer(
            model,
            Adam(model, LEARNING_RATE),
            Cosine(LEARNING_RATE, steps),
            loss_of(model),
            self.trained.preparation,
            train_set,
            None,
            batch_size=BATCH,
            epochs=self.epochs,
            distortion=Distortion.named("modern") if self.trained.reading == "ink" else None,
        )
        total = self.epochs * trainer.steps_per_epoch

        def on_step(trainer, _):
            self.put(progress=trainer.steps_taken / total)

        if not trainer.run(on_step, stop=self.stopped.is_set):
            return None
        old = self.trained
        tuned = TrainedModel(model, old.preparation, old.class_names, old.image_shape, old.reading)
        self.put(after=self.measured(tuned))
        return tuned

    def measured(self, trained):
        """[right, of all] on the samples and on the test images."""
        sets = {"samples": self.samples, "tests": self.source.test}
        results = {name: evaluate(trained, each) for name, each in sets.items()}
        return {name: [result.correct, result.count] for name, result in results.items()}


def mixed(samples, rehearsed):
    """A data set to tune on: images of the data set, the same each time, and the samples, repeated to a fair share."""
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


def loss_of(model):
    """The loss that fits what the model puts out."""
    return (
        MLELoss()
        if any(isinstance(layer, RBF) for layer in model.layers.values())
        else CrossEntropyLoss()
    )
