"""The training loop."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets import Dataset, Distortion, Preparation
from lenet5c.datasets.mapped import count_at_hand
from lenet5c.errors import NonFiniteError, RunError
from lenet5c.nn import Samples, Sequential
from lenet5c.nn.layer import check_integer, positive
from lenet5c.nn.steps import Steps, StepsTaken
from lenet5c.optim import ReduceOnPlateau
from lenet5c.training import checkpoint, state
from lenet5c.training.average import WeightAverage
from lenet5c.training.calibration import calibrate_trained
from lenet5c.training.divergence import find_non_finite
from lenet5c.training.estimate import estimate_curvature
from lenet5c.training.evaluation import evaluate
from lenet5c.training.history import History
from lenet5c.training.local_samples import expect_order, local_samples
from lenet5c.training.model_file import TrainedModel
from lenet5c.training.notebook import show_trainer
from lenet5c.training.parallel import ALONE, Ranks
from lenet5c.training.selection import best_row, epochs_since_best
from lenet5c.training.weights import ClassWeight, Targets, class_weights, weigh, weigh_loss

KEEPS = ("last", "best")
ORDERS = ("reshuffled", "constant")
OnStep = Callable[["Trainer", int], object]
OnEpoch = Callable[["Trainer", dict[str, Any]], object]


class Trainer:
    """Train a model on a data set; training can be stopped after any step and resumed.

    All random numbers depend only on `seed` and the position; the order of an epoch, for example,
    is not drawn from a generator with state. Two runs with the same settings produce the same
    bytes, whether or not they are interrupted, with any number of threads.

    Parameters
    ----------
    model : lenet5c.nn.Sequential
    optimizer : lenet5c.optim optimizer of that model
        An optimizer with `estimate`, such as SDLM, estimates the curvature before each epoch on
        `samples` random training samples without augmentation.
    schedule : callable
        Returns the learning rate of step 0, 1, ...; `ReduceOnPlateau` also receives the validation
        losses.
    loss : CrossEntropyLoss, MSELoss, MLELoss or MAPLoss
    preparation : lenet5c.datasets.Preparation
    train_set : lenet5c.datasets.Dataset
        Its `sample_weight` and soft `targets`, if any, are used in the loss.
    validation_set : lenet5c.datasets.Dataset or None
        Evaluated after each epoch. The accuracy is unweighted; the loss uses the weights.
    batch_size : int
        At most the number of images.
    epochs : int
    seed : int
        Random seed of the order of the samples and of their augmentation.
    order : {'reshuffled', 'constant'}
        New order in each epoch, or that of the first in all ('constant', LeCun et al., 1998).
    distortion : lenet5c.datasets.Distortion, optional
        Augmentation of the training images, drawn anew in each epoch.
    average : float
        Decay per step of a `WeightAverage`, which replaces the weights for evaluation and at the
        end; 0 for none.
    keep : {'last', 'best'}
        Final weights of the model: those of the last epoch, or of the best one on the validation
        set.
    patience : int
        Stop after this many epochs without an improvement on the validation set; 0 to disable. An
        improvement is a higher accuracy, or the same accuracy with a lower loss.
    class_weight : None, 'balanced' or dict of class name to weight
        See `class_weights`. The loss of a batch is the mean weighted by class and `sample_weight`.

    Attributes
    ----------
    history : list of dict
        A row for each finished epoch: epoch, step, lr, train_loss, train_accuracy and, with a
        validation set, validation_loss and validation_accuracy. Training metrics are means over the
        epoch, while the model is changing; a mixed image has the label with the larger weight.
    epoch, step : int
        The position: number of finished epochs, and of finished steps in the current epoch.
    trained : TrainedModel or None
        The model with its preparation and class names, if the trainer was created by a recipe.
    calibrates : bool, calibration : Calibration or None
        Whether `run` fits the temperature of `trained` on the validation set, and the result.
    mixture, remark : str
        Remarks of a recipe on images mixed into `train_set` and on the initial model.
    ranks : lenet5c.training.parallel.Ranks
        Processes that train together, each with such a trainer; by default only this one.
    draws : int
        Number of epochs after which the augmentation repeats; 0 for never.
    stretch_seconds : float
        Approximate duration of compiled runs of steps, between which callbacks and signals are
        handled; 0 for single steps.

    Raises
    ------
    ValueError
        If an argument is invalid, or a required validation set is missing.
    TypeError
        If the distortion is not a Distortion.
    """

    stretch_seconds = 0.1
    trained: TrainedModel | None = None
    calibrates, calibration = True, None
    mixture, remark, draws = "", "", 0
    ranks: Ranks = ALONE
    _repr_html_ = show_trainer

    def __init__(
        self,
        model: Sequential,
        optimizer: Steps,
        schedule: Callable[[int], float],
        loss: Any,
        preparation: Preparation,
        train_set: Dataset,
        validation_set: Dataset | None,
        *,
        batch_size: int,
        epochs: int,
        seed: int = 0,
        order: str = "reshuffled",
        distortion: Distortion | None = None,
        average: float = 0.0,
        keep: str = "last",
        patience: int = 0,
        class_weight: ClassWeight = None,
    ) -> None:
        if getattr(optimizer, "model", model) is not model:
            raise ValueError(
                "optimizer must belong to the model being trained, got one of another model; "
                f"create it with this model: {type(optimizer).__name__}(model, ...)"
            )
        if not isinstance(distortion, Distortion | None):
            raise TypeError(
                f"distortion must be a Distortion or None, got {distortion!r}; see Distortion.named"
            )
        for name, choice, choices in (("order", order, ORDERS), ("keep", keep, KEEPS)):
            if choice not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {choice!r}")
        if type(patience) is not int or patience < 0:
            raise ValueError(f"patience must be an integer of at least 0, got {patience!r}")
        self._on_plateau = isinstance(schedule, ReduceOnPlateau)
        for text, needed in (
            (f"keep {keep!r}", keep == "best"),
            (f"patience {patience}", patience > 0),
            (f"schedule {schedule!r}", self._on_plateau),
        ):
            if needed and validation_set is None:
                raise ValueError(
                    f"validation_set must be a Dataset for {text}, got None; "
                    f"hold out some training images, or change {text.partition(' ')[0]}"
                )
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.preparation = preparation
        self.loss, weights = weigh_loss(loss, class_weights(class_weight, train_set))
        self.train_set = weigh(preparation.fit_dataset(train_set), weights)
        held_out = validation_set and preparation.fit_dataset(validation_set)
        self.validation_set = held_out and weigh(held_out, weights)
        self.batch_size = positive("batch_size", batch_size)
        self.targets = Targets(self.train_set, self.loss, batch_size, distortion)
        self.epochs = positive("epochs", epochs)
        self.seed = check_integer("seed", seed, 0)
        self.order, self.distortion = order, distortion
        self.keep, self.patience = keep, patience
        self.average = WeightAverage(model, average, self.steps_per_epoch) if average else None
        preparation.offset(self.train_set.images.shape[1])  # checks the channels
        self.history: list[dict[str, Any]] = []
        self.epoch, self._stretch, self._running = 0, 1, False
        self.best_weights: dict[str, NDArray[Any]] | None = None  # state of the model, if saved
        self._longest = count_at_hand(self.train_set.images) // self.batch_size or 1
        self._begin_epoch()

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches per epoch."""
        return ceil(len(self.train_set) / self.batch_size)

    @property
    def steps_taken(self) -> int:
        """Number of steps since the start of training."""
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def done(self) -> bool:
        """True if all epochs are finished, or `patience` is exhausted."""
        if self.epoch >= self.epochs:
            return True
        return 0 < self.patience <= (epochs_since_best(self.history) if self.patience else 0)

    @property
    def kept_row(self) -> dict[str, Any] | None:
        """The row of `history` whose weights are kept; None before the end of the first epoch."""
        if self.keep == "best":
            return best_row(self.history)
        return self.history[-1] if self.history else None

    def run(
        self,
        on_step: OnStep | None = None,
        on_epoch: OnEpoch | None = None,
        stop: Callable[[], object] | None = None,
    ) -> bool:
        """Train to the end, or until `stop`.

        Parameters
        ----------
        on_step : callable, optional
            Called as ``on_step(trainer, samples)`` after each run of steps over `samples` samples.
        on_epoch : callable, optional
            Called as ``on_epoch(trainer, row)`` after each epoch, with its row of `history`.
        stop : callable, optional
            Called after each run of steps; training stops if it returns True.

        Returns
        -------
        bool
            True if training is `done`. In this case the model has the weights selected by `average`
            and `keep`, and `state` can no longer be used to resume.

        Raises
        ------
        NonFiniteError
            If the loss, a parameter, an output or a second derivative is no longer finite; the
            message has the step and the layer.
        RuntimeError
            If the trainer is already running, in another thread or in a callback.
        """
        if self._running:
            raise RuntimeError("trainer must not be running already; wait, or create another")
        self._running = True
        try:
            while not self.done:
                order = self._draw_order()
                expect_order(self, order[self.step * self.batch_size :])
                if self.step == 0 and hasattr(self.optimizer, "estimate"):
                    estimate_curvature(self)
                while self.step < self.steps_per_epoch:
                    samples = self._train_stretch(order)
                    if on_step:
                        on_step(self, samples)
                    if any(self.ranks.gather(bool(stop and stop()))):
                        return False
                row = self._finish_epoch()
                if on_epoch:
                    on_epoch(self, row)
        finally:
            self._running = False
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        elif self.average:
            self.model.vector[:] = self.average.vector
        self.calibration = calibrate_trained(self)
        return True

    def fit(self, progress: bool = True, on_epoch: OnEpoch | None = None) -> History:
        """Train to the end or until interrupted, and show the progress, for use in notebooks.

        Ctrl-C, or the stop button of the notebook, stops training between two steps. Call `fit`
        again to resume; the result has the same bytes as without an interruption. A
        KeyboardInterrupt raised by a callback or a custom layer also stops training, and restores
        the last consistent state, less than a second ago.

        Parameters
        ----------
        progress : bool
            Show a bar and a line for each epoch.
        on_epoch : callable, optional
            Called as ``on_epoch(trainer, row)`` after each epoch, with its row of `history`.

        Returns
        -------
        History
            The rows so far; its `done` is True if training is finished.

        Raises
        ------
        NonFiniteError
            See `run`.

        Examples
        --------
        >>> import lenet5c
        >>> trainer = lenet5c.trainer("fast", epochs=2, train_size=500)
        >>> history = trainer.fit(progress=False)
        >>> len(history), history.done
        (2, True)
        """
        from lenet5c.training.fit import fit  # tqdm is slow to import

        return fit(self, progress, on_epoch)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint atomically, for `load` in another process.

        It contains the model, the optimizer, the history and the states of random generators, but
        not the images.
        """
        checkpoint.save(path, self, with_data=True)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Resume from a checkpoint of a trainer with the same settings and images.

        The result has the same bytes as that of the saved training. If the number of epochs is
        larger, a schedule that depends on it continues as that of the longer training.

        Parameters
        ----------
        path : str or path-like
            A file written by `save`, or the checkpoint.safetensors in the folder of a run, in which
            case only the number of images is compared.

        Raises
        ------
        FileNotFoundError
        RunError
            If the file is damaged, not a checkpoint, or of another training; the trainer is
            unchanged.
        """
        checkpoint.load(path, self)

    def state(self) -> state.State:
        """Return the position and history as a JSON-able dict, and arrays by name."""
        return state.take(self)

    def load_state(self, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Resume from a `state`.

        Raises
        ------
        ValueError
            If it does not match this trainer, which is unchanged.
        """
        state.restore(self, values, arrays)

    def weights_to_evaluate(self) -> AbstractContextManager[None]:
        """Return a context in which the model has its weights for evaluation."""
        return self.average.in_place() if self.average else nullcontext()

    def _draw_order(self) -> NDArray[np.int64]:
        """Return the order of the training images in this epoch."""
        drawn_for = 0 if self.order == "constant" else self.epoch
        rng = np.random.default_rng([self.seed, 1, drawn_for])
        return rng.permutation(len(self.train_set))

    def _begin_epoch(self) -> None:
        self.step = 0
        self.loss_sum = 0.0
        self.correct = 0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        if self._on_plateau:
            losses = [row["validation_loss"] for row in self.history]
            return self.schedule(step, losses)  # type: ignore[call-arg]
        return self.schedule(step)

    def _train_stretch(self, order: NDArray[np.int64]) -> int:
        """Run the next few steps of the epoch; return the number of their samples."""
        began = time.perf_counter()
        first = self.steps_taken
        most = self.average.steps_before_next(first) if self.average else self._longest
        count = min(self._stretch, self._longest, self.steps_per_epoch - self.step, most)
        if self._on_plateau:  # changes only between epochs
            rates = [self.rate(first)] * count
        else:
            rates = [self.schedule(first + i) for i in range(count)]
        size, begin = self.batch_size, self.step * self.batch_size
        samples = order[begin : begin + count * size]
        distortion = self.epoch_distortion()
        target, weight = self.targets.for_steps(samples, distortion)
        record = StepsTaken(count)
        try:
            self.model.train_steps(
                local_samples(self, samples, distortion),
                target,
                self.loss,
                self.optimizer,
                rates,
                batch_size=size,
                sample_weight=weight,
                record=record,
                ranks=self.ranks,
            )
        finally:
            # Counted at once, because an interrupt may follow.
            batches = [samples[i:][:size] for i in range(0, len(samples), size)]
            for loss, batch in zip(record.losses[: record.taken], batches, strict=False):
                self.loss_sum += float(loss) * self.targets.count(batch)
            self.correct += record.correct
            self.step += record.taken
            if self.average and record.taken:
                self.average.update(self.steps_taken)
        if (taken := record.taken) < count:
            self.optimizer.lr = rates[taken]
            raise NonFiniteError(find_non_finite(self, record.losses[taken], batches[taken]))
        share = self.stretch_seconds / max(time.perf_counter() - began, 1e-6)
        self._stretch = min(self.ranks.gather(max(1, int(count * min(share, 4)))))
        return len(samples)

    def _finish_epoch(self) -> dict[str, Any]:
        """Evaluate the model, start the next epoch, and return the row of `history`."""
        count = len(self.train_set)
        if not np.isfinite(self.model.vector).all():
            raise NonFiniteError(find_non_finite(self, self.loss_sum / count, np.arange(1)))
        steps = (self.epoch + 1) * self.steps_per_epoch
        row = {
            "epoch": self.epoch + 1,
            "step": steps,
            "lr": self.rate(steps - 1),
            "train_loss": self.loss_sum / count,
            "train_accuracy": self.correct / count,
        }
        with self.weights_to_evaluate():
            if self.validation_set is not None:
                try:
                    result = evaluate(
                        self.model, self.validation_set, self.preparation, self.loss, self.ranks
                    )
                except RunError as error:
                    raise NonFiniteError(f"after epoch {self.epoch + 1}: {error}") from None
                row |= {"validation_loss": result.loss, "validation_accuracy": result.accuracy}
            if self.keep == "best" and best_row([*self.history, row]) is row:
                self.best_weights = self.model.state_dict()
        self.history.append(row)
        self.epoch += 1
        self._begin_epoch()
        return row

    def samples(self, index: NDArray[np.int64], distortion: Any = None) -> Samples:
        """Return images of the training set, prepared when the model reads them."""
        return self.preparation.samples(self.train_set.images, index, distortion)

    def epoch_distortion(self) -> Any:
        """Return the distortion with its random draws for this epoch."""
        drawn_for = self.epoch % (self.draws or self.epochs)
        return self.distortion and self.distortion.for_epoch(self.seed, drawn_for)
