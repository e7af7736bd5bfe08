"""The training loop."""

import time
from contextlib import nullcontext
from dataclasses import replace
from math import ceil, isfinite

import numpy as np

from lenet5c.errors import NonFiniteError
from lenet5c.nn import Samples
from lenet5c.nn.layer import positive
from lenet5c.nn.sequential import StepsTaken
from lenet5c.optim import ReduceOnPlateau
from lenet5c.training import trainer_file
from lenet5c.training.average import WeightAverage
from lenet5c.training.evaluation import evaluate
from lenet5c.training.selection import best_row, epochs_since_best

KEEPS = ("last", "best")


class Trainer:
    """Trains a model on a data set, step by step, so that it can be stopped and gone on with anywhere.

    Everything random follows from `seed` and the position: the order of an epoch is drawn from both, not from a
    generator that remembers. Two runs with the same settings, stopped and resumed or not, on any number of threads,
    end with the same bytes.

    Parameters
    ----------
    model : lenet5c.nn.Sequential
    optimizer : lenet5c.optim optimiser of that model
        One with `estimate`, as SDLM, measures so on `samples` training samples before each epoch, drawn anew and not
        distorted.
    schedule : callable
        The learning rate of a step, 0, 1, ...; a `ReduceOnPlateau` is told the validation losses, too.
    loss : CrossEntropyLoss, MSELoss, MLELoss or MAPLoss
    preparation : lenet5c.datasets.Preparation
    train_set : lenet5c.datasets.Dataset
    validation_set : lenet5c.datasets.Dataset or None
        Looked at after each epoch.
    batch_size, epochs : int
    seed : int
        Of the order of the samples, and of their distortions.
    order : {'reshuffled', 'constant'}
        Whether each epoch has an order of its own, or all that of the first ("a constant random order", LeCun et al.,
        1998).
    distortion : lenet5c.datasets.Distortion, optional
        Of the training images, drawn anew in each epoch; validation images are never distorted.
    average : float
        Decay per step of a `WeightAverage`, which then takes the place of the weights wherever the model is evaluated,
        and at the end; 0 for none.
    keep : {'last', 'best'}
        The weights that the model has at the end: of the last epoch, or of the best one on the validation set.
    patience : int
        End after so many epochs without a better one on the validation set; 0 never does. One epoch is better than
        another if its validation accuracy is higher, or as high at a lower loss.

    Attributes
    ----------
    history : list of dict
        A row for each finished epoch: epoch, step, lr, train_loss, train_accuracy and, with a validation set,
        validation_loss and validation_accuracy. Training figures are means over the epoch, while the model changed.
    epoch, step : int
        The position: finished epochs, and finished steps of the one begun.
    trained : TrainedModel or None
        The model with what it needs to be used and saved, of a trainer that a recipe has made.
    stretch_seconds : float
        Steps run in stretches of about so long, without coming back to Python; 0 makes each step a stretch.
    """

    stretch_seconds = 0.1
    trained = None

    def __init__(
        self,
        model,
        optimizer,
        schedule,
        loss,
        preparation,
        train_set,
        validation_set,
        *,
        batch_size,
        epochs,
        seed=0,
        order="reshuffled",
        distortion=None,
        average=0.0,
        keep="last",
        patience=0,
    ):
        if order not in ("reshuffled", "constant"):
            raise ValueError(f"order is {order!r}; it should be 'reshuffled' or 'constant'")
        self.model, self.optimizer, self.schedule, self.loss = model, optimizer, schedule, loss
        self.preparation = preparation
        self.train_set = fitted(train_set, preparation)
        self.validation_set = (
            None if validation_set is None else fitted(validation_set, preparation)
        )
        self.batch_size = positive("batch_size", batch_size)
        self.epochs = positive("epochs", epochs)
        self.seed = seed
        self.order = order
        self.distortion = distortion
        self.offset = preparation.offset(self.train_set.images.shape[1])
        self.history = []
        self.epoch = 0
        self._set_result(average, keep, patience)
        self._stretch = 1
        self._begin_epoch()

    def _set_result(self, average, keep, patience):
        """How the weights come about that the model has in the end."""
        if keep not in KEEPS:
            raise ValueError(f"keep is {keep!r}; it should be one of {', '.join(KEEPS)}")
        if type(patience) is not int or patience < 0:
            raise ValueError(
                f"patience is {patience!r}; it should be a number of epochs, or 0 for no end"
            )
        on_plateau = isinstance(self.schedule, ReduceOnPlateau)
        for name, asked in (
            ("keep", keep == "best"),
            ("patience", patience > 0),
            ("schedule", on_plateau),
        ):
            if asked and self.validation_set is None:
                raise ValueError(
                    f"{name} needs a validation set; hold out some training images, or change {name}"
                )
        self.keep, self.patience = keep, patience
        self.average = WeightAverage(self.model, average) if average else None
        self._best = None  # the state of the model in its best epoch

    @property
    def steps_per_epoch(self):
        return ceil(len(self.train_set) / self.batch_size)

    @property
    def steps_taken(self):
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def done(self):
        """Whether all epochs are done, or `patience` is at its end."""
        return self.epoch >= self.epochs or 0 < self.patience <= self._epochs_since_best()

    @property
    def kept_row(self):
        """The row of `history` whose weights `run` leaves in the model; None before the first epoch is done."""
        if self.keep == "best":
            return best_row(self.history)
        return self.history[-1] if self.history else None

    def run(self, on_step=None, on_epoch=None, stop=None):
        """Train to the end, or until `stop`.

        Parameters
        ----------
        on_step : callable, optional
            ``on_step(trainer, samples)`` after each stretch of steps, of so many samples in all.
        on_epoch : callable, optional
            ``on_epoch(trainer, row)`` after each epoch, with its row of `history`.
        stop : callable, optional
            Asked after each stretch; true ends the run there.

        Returns
        -------
        bool
            Whether the training is `done`. The model then has the weights that `average` and `keep` ask for, and
            `state` with it: it is no longer one to go on from.

        Raises
        ------
        NonFiniteError
            The loss, a parameter or a second derivative is no longer a finite number; the message names the step and
            the layer.
        """
        while not self.done:
            drawn_for = 0 if self.order == "constant" else self.epoch
            order = np.random.default_rng([self.seed, 1, drawn_for]).permutation(
                len(self.train_set)
            )
            if self.step == 0 and hasattr(self.optimizer, "estimate"):
                self._estimate()
            while self.step < self.steps_per_epoch:
                samples = self._train_stretch(order)
                if on_step:
                    on_step(self, samples)
                if stop and stop():
                    return False
            row = self._finish_epoch()
            if on_epoch:
                on_epoch(self, row)
        self._take_result()
        return True

    def fit(self, progress=True, on_epoch=None):
        """Train to the end, or until interrupted, and show how it goes: `run` for notebooks.

        Ctrl-C, or the notebook's stop button, ends the training between two steps. Call `fit` again to go on: the
        result has the same bytes as without a stop. A KeyboardInterrupt that a callback or a layer of one's own raises
        ends it, too, and takes it back to the last sound state, less than a second ago.

        Parameters
        ----------
        progress : bool
            Whether to show a bar and a line for each epoch.
        on_epoch : callable, optional
            ``on_epoch(trainer, row)`` after each epoch, with its row of `history`.

        Returns
        -------
        History
            The rows so far; its `done` tells whether the training is at its end.

        Raises
        ------
        NonFiniteError
            As `run` does.

        Examples
        --------
        >>> import lenet5c
        >>> trainer = lenet5c.trainer("fast", epochs=2, train_size=500)
        >>> history = trainer.fit(progress=False)
        >>> len(history), history.done
        (2, True)
        """
        from lenet5c.training.fit import fit

        return fit(self, progress, on_epoch)

    def save(self, path):
        """Write where the training stands into a file, for `load` in another process; the old file or the new is there.

        Model, optimiser, history and random states are in it, the images are not.
        """
        trainer_file.save(self, path)

    def load(self, path):
        """Go on where a trainer of the same settings and images was saved: its `fit` ends with the same bytes.

        Parameters
        ----------
        path : str or Path
            Of `save`, or the checkpoint.safetensors in the folder of a run, of whose settings less is checked.

        Raises
        ------
        FileNotFoundError
        RunError
            The file is damaged, no checkpoint, or of another training; nothing is changed then.
        """
        trainer_file.load(self, path)

    def weights_to_evaluate(self):
        """A context in which the model has the weights it is evaluated with: its own, or their average."""
        return self.average.in_place() if self.average else nullcontext()

    def state(self):
        """(position and history as JSON-able dict, arrays by name): all that `load_state` needs to go on."""
        optimizer = self.optimizer.state_dict()
        values = {
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "correct": self.correct,
            "history": self.history,
            "optimizer_steps": optimizer.pop("steps"),
            "random": {name: rng.bit_generator.state for name, rng in self._generators()},
        }
        arrays = {f"model.{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": array for name, array in optimizer.items()}
        if self.average:
            arrays["average.vector"] = self.average.vector.copy()
        return values, arrays | {
            f"best.{name}": array for name, array in (self._best or {}).items()
        }

    def load_state(self, values, arrays):
        """Go on where `state` was taken. Raises KeyError, TypeError or ValueError if it does not fit."""
        parts = {
            "model": {},
            "optimizer": {"steps": values["optimizer_steps"]},
            "average": {},
            "best": {},
        }
        for name, array in arrays.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = array
        epoch, step, history = values["epoch"], values["step"], values["history"]
        if not (_is_count(epoch, self.epochs) and _is_count(step, self.steps_per_epoch)):
            raise ValueError(f"its position is epoch {epoch!r}, step {step!r}")
        taken = values["optimizer_steps"]
        if taken != epoch * self.steps_per_epoch + step or type(taken) is not int:
            raise ValueError(f"its optimiser took {taken!r} steps")
        if not _is_count(values["correct"], len(self.train_set)) or not isfinite(
            values["loss_sum"]
        ):
            raise ValueError(
                f"its epoch so far has {values['correct']!r} correct, losses {values['loss_sum']!r}"
            )
        if len(history) != epoch or not all(isinstance(row, dict) for row in history):
            raise ValueError(f"its history is not of {epoch} epochs")
        generators = dict(self._generators())
        if generators.keys() != values["random"].keys():
            raise ValueError("its random states are of other layers")
        self._check_result(parts["average"], parts["best"], history)
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        for name, rng in generators.items():
            rng.bit_generator.state = values["random"][name]
        self.epoch, self.step, self.history = epoch, step, list(history)
        self.loss_sum, self.correct = float(values["loss_sum"]), int(values["correct"])
        if self.average:
            self.average.vector[:] = parts["average"]["vector"]
        self._best = parts["best"] or None

    def _check_result(self, average, best, history):
        """Refuse a state's average and best weights if they are not as this trainer keeps them."""
        if _forms(average) != _forms({"vector": self.average.vector} if self.average else {}):
            raise ValueError("it has another average of the weights than this run")
        if _forms(best) != _forms(
            self.model.state_dict() if self.keep == "best" and history else {}
        ):
            raise ValueError("it has other weights of a best epoch than this run")
        if self.validation_set is not None:
            names = ("validation_loss", "validation_accuracy")
            if not all(isinstance(row.get(name), float) for row in history for name in names):
                raise ValueError("its history lacks figures of the validation set")

    def _rate(self, step):
        if isinstance(self.schedule, ReduceOnPlateau):
            return self.schedule(step, [row["validation_loss"] for row in self.history])
        return self.schedule(step)

    def _epochs_since_best(self):
        return epochs_since_best(self.history) if self.patience else 0

    def _take_result(self):
        """Leave the weights in the model that the run is to end with."""
        if self._best is not None:
            self.model.load_state_dict(self._best)
        elif self.average:
            self.model.vector[:] = self.average.vector

    def _begin_epoch(self):
        self.step = 0
        self.loss_sum = 0.0
        self.correct = 0

    def _estimate(self):
        """Let the optimiser measure what it holds on to for an epoch. Doing so twice is as doing so once."""
        rng = np.random.default_rng([self.seed, 4, self.epoch])
        count = min(self.optimizer.samples, len(self.train_set))
        index = rng.choice(len(self.train_set), count, replace=False)
        self.optimizer.lr = self._rate(self.steps_taken)
        try:
            self.optimizer.estimate(self._samples(index), self.train_set.labels[index], self.loss)
        except ArithmeticError as error:
            raise NonFiniteError(f"before epoch {self.epoch + 1}: {error}") from None

    def _train_stretch(self, order):
        """The next few steps of the epoch; returns how many samples they took."""
        began = time.perf_counter()
        count = min(self._stretch, self.steps_per_epoch - self.step)
        first = self.steps_taken
        if self.average:
            count = min(count, self.average.steps_before_next(first))
        if isinstance(self.schedule, ReduceOnPlateau):
            rates = [self._rate(first)] * count  # it changes between epochs alone
        else:
            rates = [self.schedule(first + i) for i in range(count)]
        samples = order[self.step * self.batch_size : (self.step + count) * self.batch_size]
        record = StepsTaken(count)
        try:
            self.model.train_steps(
                self._samples(samples, self._distort()),
                self.train_set.labels[samples],
                self.loss,
                self.optimizer,
                rates,
                batch_size=self.batch_size,
                record=record,
            )
        finally:
            # An interrupt may come as soon as the steps are done: they count.
            batches = np.split(samples, range(self.batch_size, len(samples), self.batch_size))
            for loss, batch in zip(record.losses[: record.taken], batches, strict=False):
                self.loss_sum += float(loss) * len(batch)
            self.correct += record.correct
            self.step += record.taken
            if self.average and record.taken:
                self.average.after(self.steps_taken)
        if record.taken < count:
            self.optimizer.lr = rates[record.taken]
            raise NonFiniteError(
                self._where_not_finite(record.losses[record.taken], batches[record.taken])
            )
        share = self.stretch_seconds / max(time.perf_counter() - began, 1e-6)
        self._stretch = max(1, int(count * min(share, 4)))
        return len(samples)

    def _finish_epoch(self):
        if not np.isfinite(self.model.vector).all():
            raise NonFiniteError(
                self._where_not_finite(self.loss_sum / len(self.train_set), np.arange(1))
            )
        row = {
            "epoch": self.epoch + 1,
            "step": (self.epoch + 1) * self.steps_per_epoch,
            "lr": self._rate((self.epoch + 1) * self.steps_per_epoch - 1),
            "train_loss": self.loss_sum / len(self.train_set),
            "train_accuracy": self.correct / len(self.train_set),
        }
        with self.weights_to_evaluate():
            if self.validation_set is not None:
                result = evaluate(self.model, self.validation_set, self.preparation, self.loss)
                row |= {"validation_loss": result.loss, "validation_accuracy": result.accuracy}
            best = (
                self.model.state_dict()
                if self.keep == "best" and best_row([*self.history, row]) is row
                else None
            )
        self._best = best or self._best
        self.history.append(row)
        self.epoch += 1
        self._begin_epoch()
        return row

    def _where_not_finite(self, loss, batch):
        """The first place where a number is not finite, in the order in which a step computes them."""
        step = self.steps_taken
        when = f"the loss is {loss} at step {step + 1} (epoch {self.epoch + 1})"
        remedy = f"lower the learning rate, it is {self.optimizer.lr:g}"
        for name, array in self.model.state_dict().items():
            if not np.isfinite(array).all():
                return f"{when}: {name} is not finite since the step before; {remedy}"
        x = self._samples(batch, self._distort()).values()
        if not np.isfinite(x).all():
            return (
                f"{when}: the prepared input is not finite; check mean and std of the preparation"
            )
        for name, layer in self.model.layers.items():
            x = layer.forward(x)
            if not np.isfinite(x).all():
                return f"{when}: the output of layer {name} is not finite; {remedy}"
        return f"{when}: all layers are finite, the loss function is not; {remedy}"

    def _samples(self, index, distortion=None):
        """Images of the training set, prepared on the way into the model."""
        scale = self.preparation.scale
        return Samples(self.train_set.images, index, scale, self.offset, distortion)

    def _distort(self):
        """The distortion with its draws for this epoch, as `train_steps` takes it."""
        return None if self.distortion is None else self.distortion.of_epoch(self.seed, self.epoch)

    def _generators(self):
        """The random generators of layers such as Dropout, by name."""
        for name, layer in self.model.named_layers():
            rng = getattr(layer, "rng", None)
            if isinstance(rng, np.random.Generator):
                yield name, rng


def _forms(arrays):
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _is_count(value, most):
    return type(value) is int and 0 <= value <= most


def fitted(dataset, preparation):
    """The data set with its images padded or resized once, so that an epoch need not."""
    return replace(dataset, images=preparation.fit_images(dataset.images))
