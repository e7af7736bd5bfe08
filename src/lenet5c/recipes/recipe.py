"""What a recipe can say, and how a run is built from it."""

from dataclasses import asdict, dataclass, field, fields
from inspect import signature
from math import ceil

import numpy as np

from lenet5c.datasets import Dataset, Distortion, Preparation, Source
from lenet5c.nn import CrossEntropyLoss, LeNet5, LeNet5_1998, MAPLoss, MLELoss, MSELoss
from lenet5c.optim import (
    SDLM,
    SGD,
    Adagrad,
    Adam,
    Constant,
    Cosine,
    OneCycle,
    Piecewise,
    ReduceOnPlateau,
    RMSprop,
    Step,
)
from lenet5c.training import TrainedModel, Trainer
from lenet5c.training.trainer import KEEPS

# What suits an optimiser here, for a recipe whose optimiser is exchanged.
OPTIMIZERS = {
    "adam": {"lr": 4e-3, "weight_decay": 0.0},
    "adamw": {"lr": 4e-3, "weight_decay": 0.1},
    "sgd": {"lr": 0.05, "weight_decay": 5e-4},
    "adagrad": {"lr": 0.05, "weight_decay": 0.0},
    "rmsprop": {"lr": 4e-3, "weight_decay": 0.0},
    "sdlm": {"lr": 5e-4, "weight_decay": 0.0},
}
OPTIMIZER_SETTINGS = {
    "adam": ("betas", "eps"),
    "adamw": ("betas", "eps"),
    "sgd": ("nesterov",),
    "adagrad": ("eps", "initial_accumulator_value"),
    "rmsprop": ("alpha", "eps", "momentum"),
    "sdlm": ("mu", "samples"),
}
# 'every' and 'patience' count epochs.
SCHEDULE_SETTINGS = {
    "constant": (),
    "step": ("every", "gamma"),
    "cosine": ("final",),
    "one-cycle": ("warm_up", "start_divisor", "final_divisor"),
    "reduce-on-plateau": ("factor", "patience", "threshold", "min_lr"),
    "piecewise": ("factors", "epochs"),
}
LOSS_SETTINGS = {"cross_entropy": (), "mse": (), "mle": (), "map": ("j", "curvature")}
LOSSES = tuple(LOSS_SETTINGS)
SCHEDULES = tuple(SCHEDULE_SETTINGS)
# Of settings that are not just a number.
FORMS = {
    "nesterov": "true or false",
    "betas": "two numbers",
    "every": "a whole number of epochs",
    "patience": "a whole number of epochs",
    "samples": "a whole number of samples",
    "curvature": "a name",
    "factors": "a list of numbers",
    "epochs": "a list of whole numbers",
}
NETS = {"lenet5": LeNet5, "lenet5_1998": LeNet5_1998}
PREPARATIONS = ("auto", *Preparation.NAMES)
FITS = ("auto", "pad", "resize")
SPLITS = ("random", "stratified", "last")
# A smaller share of few images may be none of them, which is an error.
LEAST_SHARE = 0.01
ORDERS = ("reshuffled", "constant")
SIZE = 32
TEXTS = ("summary", "reproduces", "reported", "reached", "notes")


@dataclass(frozen=True)
class Recipe:
    """How a run trains. All but the texts is in the run's config.json; most fields are options of ``lenet5c train``.

    Attributes
    ----------
    summary : str
        What the recipe is, in a line.
    epochs, batch_size : int
    optimizer : {'adam', 'adamw', 'sgd', 'adagrad', 'rmsprop', 'sdlm'}
    lr : float
        The peak of the schedule.
    schedule : {'constant', 'step', 'cosine', 'one-cycle', 'reduce-on-plateau', 'piecewise'}
        'step' divides the rate by ten after each third of the run, 'reduce-on-plateau' when the validation loss has not
        fallen for more than two epochs, unless their settings say otherwise; 'piecewise' is lr times each of its
        'factors' in turn, changing after 'epochs'.
    momentum : float
        Of 'sgd', in Nesterov's form unless its setting 'nesterov' is false. Others have settings of their own.
    weight_decay : float
        Of weights and biases alike.
    label_smoothing : float
    validation : float
        Share of the training images held out, if less than 1, or their number.
    train_size : int or None
        How many of the training images are used at all, a random choice that follows from the seed; None for all.
        `validation` divides these.
    fit : {'auto', 'pad', 'resize'}
        How images are brought to 32 by 32 pixels; 'auto' pads images of 20 to 32 pixels a side and resizes others.
    model : dict
        Settings of the net beside those that follow from the data.
    net : {'lenet5', 'lenet5_1998'}
    loss : {'cross_entropy', 'mse', 'mle', 'map'}
        The last two are for the outputs of 'lenet5_1998', which takes no other.
    preparation : str
        'auto' brings images to 32 by 32 pixels, mean 0 and standard deviation 1 over the training images; others are
        those of `Preparation.named`, which have a `fit` of their own.
    split : {'random', 'stratified', 'last'}
        Which images are held out; 'stratified' has the same share of each class. So has 'random' where a class would
        otherwise have no image left to train on.
    order : {'reshuffled', 'constant'}
        Whether the order of the training images is drawn anew in each epoch.
    distortion : dict or None
        Settings of `lenet5c.datasets.Distortion`, for the training images; none if empty.
    loss_settings, optimizer_settings, schedule_settings : dict
        Further arguments of the loss ('j' of 'map'), the optimiser ('nesterov' of 'sgd', 'eps', 'betas', ...) and the
        schedule ('gamma', 'every', 'patience', ...), where the number of steps, `every` or `patience`, is in epochs.
    average : float
        Decay per step of a running average of the weights, which is what is evaluated and saved; 0 for none.
    keep : {'last', 'best'}
        Which weights are saved: of the last epoch, or of the one with the highest validation accuracy.
    patience : int
        Epochs without a better one after which the run ends; 0 for never.
    reproduces, reported : str
        Whose system this is, and what was reported of it.
    reached : str
        What the recipe reaches.
    notes : str
        How it differs, and why.
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
    fit: str = "auto"
    model: dict = field(default_factory=dict)
    net: str = "lenet5"
    loss: str = "cross_entropy"
    preparation: str = "auto"
    split: str = "random"
    order: str = "reshuffled"
    distortion: dict | None = None
    loss_settings: dict = field(default_factory=dict)
    optimizer_settings: dict = field(default_factory=dict)
    schedule_settings: dict = field(default_factory=dict)
    average: float = 0.0
    keep: str = "last"
    patience: int = 0
    train_size: int | None = None
    reproduces: str = ""
    reported: str = ""
    reached: str = ""
    notes: str = ""

    def __post_init__(self):
        for each in fields(self):
            object.__setattr__(self, each.name, _plain(getattr(self, each.name)))
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(
                    f"{name} is {value!r}; it should be an integer of at least {least}"
                )
        if self.train_size is not None and (
            type(self.train_size) is not int or self.train_size < 1
        ):
            raise ValueError(
                f"train_size is {self.train_size!r}; it should be an integer of at least 1, or None for all"
            )
        for name in ("lr", "momentum", "weight_decay", "label_smoothing", "validation", "average"):
            value = getattr(self, name)
            if (
                not isinstance(value, (int, float))
                or isinstance(value, bool)
                or not 0 <= value < 1e300
            ):
                raise ValueError(f"{name} is {value!r}; it should be a number of at least 0")
        if self.lr == 0:
            raise ValueError("lr is 0; it should be more than 0")
        for name in ("momentum", "label_smoothing", "average"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it should be less than 1")
        choices = (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("fit", FITS),
            ("net", NETS),
            ("loss", LOSSES),
            ("preparation", PREPARATIONS),
            ("split", SPLITS),
            ("order", ORDERS),
            ("keep", KEEPS),
        )
        for name, known in choices:
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; it should be one of {', '.join(known)}"
                )
        for name in (
            "model",
            "loss_settings",
            "optimizer_settings",
            "schedule_settings",
            "distortion",
        ):
            value = getattr(self, name)
            if not isinstance(value, dict) and not (name == "distortion" and value is None):
                raise ValueError(f"{name} is {value!r}; it should be a dict of settings")
        if self.distortion:
            try:
                Distortion.from_dict(self.distortion)
            except (TypeError, ValueError) as error:
                raise ValueError(f"distortion: {error}") from None
        settings = signature(NETS[self.net]).parameters.keys() - {
            "num_classes",
            "in_channels",
            "input_size",
            "rng",
        }
        unknown = set(self.model) - settings
        if unknown:
            raise ValueError(
                f"model has {min(unknown)!r}; the net {self.net} has no such setting: leave it out"
            )
        self._check_settings("loss", LOSS_SETTINGS)
        self._check_settings("optimizer", OPTIMIZER_SETTINGS)
        self._check_settings("schedule", SCHEDULE_SETTINGS)
        if self.fit != "auto" and self.preparation != "auto":
            raise ValueError(
                f"fit is {self.fit!r}, but the preparation {self.preparation!r} has its own; leave one of them at auto"
            )
        if self.loss != "cross_entropy" and self.label_smoothing > 0:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing!r}; with the loss {self.loss} it should be 0"
            )
        if (self.net == "lenet5_1998") != (self.loss in ("mle", "map")):
            raise ValueError(
                f"loss is {self.loss!r}; for the net lenet5_1998 it should be mle or map, for other nets cross_entropy "
                f"or mse"
            )
        if self.optimizer == "sdlm" and self.weight_decay > 0:
            raise ValueError(
                f"weight_decay is {self.weight_decay!r}; with the optimizer sdlm it should be 0"
            )
        needs = {
            "keep": self.keep == "best",
            "patience": self.patience > 0,
            "schedule": self.schedule == "reduce-on-plateau",
        }
        for name, needed in needs.items():
            if needed and self.validation == 0:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, which needs validation images; validation should not be 0"
                )

    def _check_settings(self, name, known):
        kind = getattr(self, name)
        unknown = [key for key in getattr(self, f"{name}_settings") if key not in known[kind]]
        if unknown:
            offered = ", ".join(known[kind]) or "none"
            raise ValueError(
                f"{name}_settings has {unknown[0]!r}; the {name} {kind} takes {offered}"
            )
        # Their ranges are checked by whom they go to.
        for key, value in getattr(self, f"{name}_settings").items():
            expected = FORMS.get(key, "a number")
            fits = {
                "true or false": isinstance(value, bool),
                "two numbers": isinstance(value, (list, tuple))
                and len(value) == 2
                and all(map(_is_number, value)),
                "a whole number of epochs": type(value) is int and value >= 0,
                "a whole number of samples": type(value) is int and value >= 1,
                "a name": isinstance(value, str),
                "a list of numbers": isinstance(value, (list, tuple))
                and all(map(_is_number, value)),
                "a list of whole numbers": isinstance(value, (list, tuple))
                and all(type(v) is int for v in value),
                "a number": _is_number(value),
            }[expected]
            if not fits:
                raise ValueError(f"{key} is {value!r}; it should be {expected}")

    @classmethod
    def settings(cls):
        """The names of the fields that a run's config.json holds."""
        return [f.name for f in fields(cls) if f.name not in TEXTS]

    def to_dict(self):
        """The settings, for config.json."""
        return {name: value for name, value in asdict(self).items() if name not in TEXTS}

    @property
    def input_size(self):
        """(height, width) of the net's input."""
        if self.preparation == "auto":
            return SIZE, SIZE
        return Preparation.named(
            self.preparation, np.zeros((1, 1, 1, 1), np.uint8)
        ).size  # an image for its mean

    def build(self, source, seed):
        """A `Trainer` on this data, and the `TrainedModel` it trains.

        Parameters
        ----------
        source : lenet5c.datasets.Source, or Dataset of the training images
            Where it has validation images of its own, `validation` is not looked at.
        seed : int

        Returns
        -------
        (Trainer, TrainedModel)

        Raises
        ------
        ValueError
            The data does not fit the recipe.
        """
        if isinstance(source, Dataset):
            source = Source(source, source)
        train_set = source.train
        rest = self._subset(train_set, seed)
        rest, held_out = (
            (rest, source.validation) if source.validation is not None else self._split(rest, seed)
        )
        preparation = self._preparation(rest)
        model = NETS[self.net](
            num_classes=train_set.num_classes,
            in_channels=train_set.images.shape[1],
            input_size=preparation.size,
            rng=np.random.default_rng([seed, 2]),
            **self.model,
        )
        left = len(rest) % self.batch_size or self.batch_size
        if left == 1 and self.model.get("batch_norm"):
            raise ValueError(
                f"batch_size is {self.batch_size}, which leaves a batch of 1 of {len(rest)} images, but batch "
                f"normalisation needs 2: use another batch_size or validation"
            )
        trainer = Trainer(
            model,
            self._optimizer(model),
            self._schedule(ceil(len(rest) / self.batch_size)),
            self._loss(),
            preparation,
            rest,
            held_out,
            batch_size=self.batch_size,
            epochs=self.epochs,
            seed=seed,
            average=self.average,
            keep=self.keep,
            patience=self.patience,
            order=self.order,
            distortion=Distortion.from_dict(self.distortion) if self.distortion else None,
        )
        trainer.trained = TrainedModel(
            model, preparation, train_set.class_names, train_set.images.shape[1:], source.reading
        )
        return trainer, trainer.trained

    def _subset(self, train_set, seed):
        if self.train_size is None or self.train_size == len(train_set):
            return train_set
        if self.train_size > len(train_set):
            raise ValueError(
                f"train_size is {self.train_size}, but there are {len(train_set)} training images; it should be at "
                f"most their number: leave it out for all"
            )
        # A stream of its own: weights, split and order of a smaller set are drawn as those of the whole one.
        return train_set.split(self.train_size, np.random.default_rng([seed, 5]))[1]

    def _split(self, train_set, seed):
        if self.validation == 0:
            return train_set, None
        share = self.validation < 1
        count = round(self.validation * len(train_set)) if share else int(self.validation)
        classes = len(np.unique(train_set.labels))
        if self.validation >= LEAST_SHARE and count == 0 and len(train_set) > classes:
            count = 1  # of a handful of images
        if not 1 <= count < len(train_set) or not (share or count == self.validation):
            raise ValueError(
                f"validation is {self.validation:g}, but there are {len(train_set)} training images; it should hold "
                f"out at least one of them and leave at least one: use another number, a share such as 0.1, "
                f"or 0 for none"
            )
        if self.split == "last":
            rest, held_out = train_set.split_last(count)
        else:
            rest, held_out = train_set.split(count, seed, stratify=self.split == "stratified")
        if self.split == "random" and _lost(train_set, rest):
            # A class of few images must not be held out altogether.
            rest, held_out = train_set.split(count, seed, stratify=True)
        if len(rest) >= classes and (lost := _lost(train_set, rest)):
            raise ValueError(
                f"validation is {self.validation:g} with the split {self.split}, which leaves no image of the class "
                f"{train_set.class_names[lost[0]]!r} to train on; use another split, a smaller number, or 0 for none"
            )
        return rest, held_out

    def _preparation(self, train_set):
        if self.preparation != "auto":
            return Preparation.named(self.preparation, train_set.images)
        side = train_set.images.shape[2:]
        fit = self.fit
        if fit == "auto":
            fit = "pad" if 20 <= min(side) and max(side) <= SIZE else "resize"
        mean, std = pixel_statistics(train_set.images)
        return Preparation(size=(SIZE, SIZE), fit=fit, mean=mean, std=std)

    def _loss(self):
        if self.loss == "cross_entropy":
            return CrossEntropyLoss(self.label_smoothing)
        return {"mse": MSELoss, "mle": MLELoss, "map": MAPLoss}[self.loss](**self.loss_settings)

    def _optimizer(self, model):
        if self.optimizer == "sdlm":
            return SDLM(model, self.lr, **self.optimizer_settings)
        settings = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            settings |= {"momentum": self.momentum, "nesterov": self.momentum > 0}
        elif self.optimizer == "adamw":
            settings |= {"decoupled": True}
        kind = {"adam": Adam, "adamw": Adam, "sgd": SGD, "adagrad": Adagrad, "rmsprop": RMSprop}[
            self.optimizer
        ]
        return kind(model, **settings | self.optimizer_settings)

    def _schedule(self, steps_per_epoch):
        total = self.epochs * steps_per_epoch
        settings = dict(self.schedule_settings)
        if self.schedule == "step":
            every = settings.pop("every", None)
            steps = max(1, ceil(total / 3)) if every is None else every * steps_per_epoch
            return Step(self.lr, every=steps, **settings)
        if self.schedule == "reduce-on-plateau":
            return ReduceOnPlateau(self.lr, **{"patience": 2} | settings)
        if self.schedule == "piecewise":
            if set(settings) != {"factors", "epochs"}:
                raise ValueError(
                    "schedule_settings of the schedule piecewise should be factors and epochs"
                )
            rates = [self.lr * factor for factor in settings["factors"]]
            return Piecewise(rates, [epoch * steps_per_epoch for epoch in settings["epochs"]])
        if self.schedule == "constant":
            return Constant(self.lr)
        return {"cosine": Cosine, "one-cycle": OneCycle}[self.schedule](self.lr, total, **settings)


def _lost(whole, rest):
    """The classes of a data set that a part of it lacks."""
    return np.setdiff1d(whole.labels, rest.labels).tolist()


def _plain(value):
    """NumPy's numbers, as searches over arrays have them, as Python's; config.json holds no others."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(each) for each in value)
    return value.item() if isinstance(value, np.generic) else value


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


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
