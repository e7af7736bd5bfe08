"""Named, complete configurations of a training run."""

from dataclasses import asdict, dataclass, field, fields, replace
from math import ceil

import numpy as np

from lenet5c.datasets import Preparation
from lenet5c.nn import CrossEntropyLoss, LeNet5
from lenet5c.optim import SGD, Adam, Constant, Cosine, OneCycle, Step
from lenet5c.training import TrainedModel, Trainer

# What suits an optimiser here, for a recipe whose optimiser is exchanged.
OPTIMIZERS = {
    "adam": {"lr": 4e-3, "weight_decay": 0.0},
    "adamw": {"lr": 4e-3, "weight_decay": 0.1},
    "sgd": {"lr": 0.05, "weight_decay": 5e-4},
}
SCHEDULES = ("constant", "step", "cosine", "one-cycle")
FITS = ("auto", "pad", "resize")
SIZE = 32


@dataclass(frozen=True)
class Recipe:
    """How a run trains. Each field is an option of ``lenet5c train``.

    Attributes
    ----------
    summary : str
        What the recipe is for.
    epochs, batch_size : int
    optimizer : {'adam', 'adamw', 'sgd'}
    lr : float
        The peak of the schedule.
    schedule : {'constant', 'step', 'cosine', 'one-cycle'}
        'step' divides the rate by ten after each third of the run.
    momentum : float
        Of 'sgd', in Nesterov's form.
    weight_decay : float
    label_smoothing : float
    validation : float
        Share of the training images held out, if less than 1, or their number.
    train_size : int or None
        How many of the training images are used at all, a random choice that follows from the seed; None for all.
        `validation` divides these.
    fit : {'auto', 'pad', 'resize'}
        How images are brought to 32 by 32 pixels; 'auto' pads images of 20 to 32 pixels a side and resizes others.
    model : dict
        Settings of `LeNet5` beside those that follow from the data.
    """

    summary: str = ""
    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 4e-3
    schedule: str = "one-cycle"
    momentum: float = 0.9
    weight_decay: float = 0.1
    label_smoothing: float = 0.05
    validation: float = 1 / 12
    train_size: int | None = None
    fit: str = "auto"
    model: dict = field(default_factory=dict)

    def __post_init__(self):
        for name, value, least in (("epochs", self.epochs, 1), ("batch_size", self.batch_size, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is {value!r}; it should be an integer of at least {least}")
        if self.train_size is not None and (type(self.train_size) is not int or self.train_size < 1):
            raise ValueError(f"train_size is {self.train_size!r}; it should be an integer of at least 1, or None for all")
        for name in ("lr", "momentum", "weight_decay", "label_smoothing", "validation"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1e300:
                raise ValueError(f"{name} is {value!r}; it should be a number of at least 0")
        if self.lr == 0:
            raise ValueError("lr is 0; it should be more than 0")
        for name in ("momentum", "label_smoothing"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it should be less than 1")
        choices = (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("fit", FITS))
        for name, known in choices:
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it should be one of {', '.join(known)}")

    @classmethod
    def settings(cls):
        """The names of the fields that a run's config.json holds."""
        return [f.name for f in fields(cls) if f.name != "summary"]

    def to_dict(self):
        """The settings, for config.json."""
        return {name: value for name, value in asdict(self).items() if name != "summary"}

    def build(self, train_set, seed):
        """A `Trainer` on this data, and the `TrainedModel` it trains.

        Raises
        ------
        ValueError
            The data does not fit the recipe.
        """
        rest, held_out = self._split(self._subset(train_set, seed), seed)
        preparation = self._preparation(rest)
        model = LeNet5(
            num_classes=train_set.num_classes, in_channels=train_set.images.shape[1], input_size=preparation.size,
            rng=np.random.default_rng([seed, 2]), **self.model)  # fmt: skip
        total = self.epochs * ceil(len(rest) / self.batch_size)
        trainer = Trainer(
            model, self._optimizer(model), self._schedule(total), CrossEntropyLoss(self.label_smoothing), preparation,
            rest, held_out, batch_size=self.batch_size, epochs=self.epochs, seed=seed)  # fmt: skip
        return trainer, TrainedModel(model, preparation, train_set.class_names)

    def _subset(self, train_set, seed):
        if self.train_size is None or self.train_size == len(train_set):
            return train_set
        if self.train_size > len(train_set):
            raise ValueError(
                f"train_size is {self.train_size}, but there are {len(train_set)} training images; it should be at most "
                f"their number: leave it out for all"
            )
        # A stream of its own: weights, split and order of a smaller set are drawn as those of the whole one.
        return train_set.split(self.train_size, np.random.default_rng([seed, 5]))[1]

    def _split(self, train_set, seed):
        if self.validation == 0:
            return train_set, None
        share = self.validation < 1
        count = round(self.validation * len(train_set)) if share else int(self.validation)
        if not 1 <= count < len(train_set) or not (share or count == self.validation):
            raise ValueError(
                f"validation is {self.validation:g}, but there are {len(train_set)} training images; it should hold out "
                f"at least one of them and leave at least one: use another number, a share such as 0.1, or 0 for none"
            )
        return train_set.split(count, seed)

    def _preparation(self, train_set):
        side = train_set.images.shape[2:]
        fit = self.fit
        if fit == "auto":
            fit = "pad" if 20 <= min(side) and max(side) <= SIZE else "resize"
        mean, std = pixel_statistics(train_set.images)
        return Preparation(size=(SIZE, SIZE), fit=fit, mean=mean, std=std)

    def _optimizer(self, model):
        if self.optimizer == "sgd":
            return SGD(model, self.lr, self.momentum, nesterov=self.momentum > 0, weight_decay=self.weight_decay)
        return Adam(model, self.lr, weight_decay=self.weight_decay, decoupled=self.optimizer == "adamw")

    def _schedule(self, total):
        return {
            "constant": Constant(self.lr),
            "step": Step(self.lr, every=max(1, ceil(total / 3))),
            "cosine": Cosine(self.lr, total),
            "one-cycle": OneCycle(self.lr, total),
        }[self.schedule]


RECIPES = {
    "default": Recipe("LeNet-5 with ReLU and max pooling, one-cycle AdamW"),
    "fast": Recipe("the same in two epochs", epochs=2),
}


def recipe(name, **changes):
    """The recipe of this name, with some fields changed.

    Another optimiser brings its own learning rate and weight decay along, unless these are changed, too.

    Raises
    ------
    ValueError
        There is no such recipe, or a value is not as it should be.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe is {name!r}; it should be one of {', '.join(RECIPES)}")
    chosen = RECIPES[name]
    optimizer = changes.get("optimizer", chosen.optimizer)
    if optimizer != chosen.optimizer:
        changes = OPTIMIZERS.get(optimizer, {}) | changes
    return replace(chosen, **changes)


def pixel_statistics(images):
    """(mean, standard deviation) of uint8 pixels in units of 255, to four digits as is the custom for MNIST.

    The sums are exact integers, so the result does not depend on the order of additions.
    """
    total = squares = 0
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000]
        total += int(part.sum(dtype=np.int64))
        squares += int(np.square(part, dtype=np.uint16).sum(dtype=np.int64))
    mean = total / images.size
    variance = squares / images.size - mean * mean
    # A data set of one grey tone has no spread to divide by.
    return round(mean / 255, 4), round(variance**0.5 / 255, 4) or 1.0
