"""All that a recipe can say: each field with the values it takes, its option and its description."""

from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from inspect import signature
from typing import Any, Self

import numpy as np

from lenet5c.datasets import Dataset, Distortion, Preparation, Source
from lenet5c.datasets.distortion import NAMED
from lenet5c.nn.initialize import NAMED as NAMED_INITS
from lenet5c.nn.lenet5 import ACTIVATIONS, C5_FORMS, POOLINGS
from lenet5c.nn.lenet5_1998 import INITS
from lenet5c.recipes.build import (
    NETS,
    SIZE,
    build,
    loss_settings,
    optimizer_settings,
    schedule_settings,
)
from lenet5c.recipes.registry import LOSSES, OPTIMIZERS, SCHEDULES
from lenet5c.recipes.setting import (
    DATA,
    NET,
    RUN,
    TRAINING,
    Kind,
    Setting,
    anything,
    check_further,
    choice,
    declare,
    document,
    flag,
    mapping,
    number,
    offer,
    plain,
    settings,
    whole,
)
from lenet5c.training import TrainedModel, Trainer
from lenet5c.training.trainer import KEEPS

#: Arguments of a net that follow from the data and the seed.
OF_DATA = {"num_classes", "in_channels", "input_size", "rng"}

#: Settings of a net that have an option; a recipe has them in its field `model`.
NET_SETTINGS = {
    "activation": Setting(choice(ACTIVATIONS), NET, "activation"),
    "pooling": Setting(choice(POOLINGS), NET, "pooling"),
    "c5": Setting(choice(C5_FORMS, metavar="FORM"), NET, "form of the layer of 120 units"),
    "dropout": Setting(
        number(below=1), NET, "probability of dropout after the two fully connected layers"
    ),
    "init": Setting(
        anything(),
        NET,
        f"initializer of the weights: {', '.join(NAMED_INITS)}; of the net of 1998 "
        f"{', '.join(INITS)}",
        usual="by activation",
    ),
    "batch_norm": Setting(flag(), NET, "batch normalization before each activation"),
}


@document
@dataclass(frozen=True)
class Recipe:
    """Settings of a training, all but data and seed.

    Most fields are options of ``lenet5c train``. `summary`, `reproduces` (the system that is
    rebuilt) and `notes` (how it differs, and why) are texts; a run's config.json has all the rest.
    """

    epochs: int = declare(10, whole(1), RUN, "epochs of training")
    patience: int = declare(
        0,
        whole(0),
        RUN,
        "end after N epochs without a better one on the validation images",
        usual="0, never",
    )
    train_size: int | None = declare(
        None,
        whole(1, optional=True),
        RUN,
        "use N of the training images only, chosen by the seed",
        more="`validation` divides these.",
        usual="all",
    )
    validation: float = declare(
        1 / 12,
        number(metavar="N"),
        DATA,
        "training images held out: a number, or a share below 1",
        usual="1/12",
    )
    split: str = declare(
        "random",
        choice(("random", "stratified", "last"), metavar="HOW"),
        DATA,
        "selection of the images held out",
        more="'stratified' holds out the same share of each class. So does 'random' where a class "
        "would otherwise have no image left to train on.",
    )
    fit: str = declare(
        "auto",
        choice(("auto", "pad", "resize"), metavar="HOW"),
        DATA,
        "fit of the images to 32 by 32 pixels",
        more="'auto' pads images of 20 to 32 pixels a side and resizes others.",
    )
    preparation: str = declare(
        "auto",
        choice(("auto", *Preparation.NAMES)),
        DATA,
        "preparation of the pixels, instead of fit",
        more="'auto' gives the training images mean 0 and standard deviation 1; others are those "
        "of `lenet5c.datasets.Preparation.named`, which have a `fit` of their own.",
    )
    distortion: dict[str, Any] | None = declare(
        None,
        choice(("none", *Distortion.NAMES), optional=True, dicts=True),
        DATA,
        "augmentation of the training images, drawn anew in each epoch",
        more="A dict has settings of `lenet5c.datasets.Distortion`.",
    )
    net: str = declare("lenet5", choice(NETS), help="the net")
    model: dict[str, Any] = declare(
        {}, mapping(), help="arguments of the net, but for those that follow from the data"
    )
    batch_size: int = declare(64, whole(1), TRAINING, "images a step")
    optimizer: str = declare("adamw", choice(OPTIMIZERS), TRAINING, "optimizer")
    lr: float = declare(
        4e-3,
        number(above=True),
        TRAINING,
        "learning rate, the peak of the schedule",
        usual="by optimizer",
    )
    momentum: float = declare(
        0.9,
        number(below=1),
        TRAINING,
        "momentum of sgd; that of others is among their settings",
        more="In Nesterov's form, unless the setting 'nesterov' is false.",
    )
    weight_decay: float = declare(
        0.1,
        number(),
        TRAINING,
        "weight decay of weights and biases, decoupled with adamw",
        usual="by optimizer",
    )
    optimizer_settings: dict[str, Any] = declare(
        {},
        mapping(),
        TRAINING,
        "further arguments of the optimizer, in place of all the recipe's, "
        + offer(OPTIMIZERS, optimizer_settings),
        usual="the recipe's",
    )
    schedule: str = declare(
        "one-cycle",
        choice(SCHEDULES),
        TRAINING,
        "schedule of the learning rate",
        more="'step' divides the rate by ten after each third of the run, 'reduce-on-plateau' when "
        "the validation loss has not fallen for more than two epochs, unless their settings say "
        "otherwise; 'piecewise' is lr times each of its 'factors' in turn, changing after 'epochs'.",
    )
    schedule_settings: dict[str, Any] = declare(
        {},
        mapping(),
        TRAINING,
        "further arguments of the schedule, in place of all the recipe's, "
        + offer(SCHEDULES, schedule_settings),
        more="'every', 'patience' and 'epochs' count epochs.",
        usual="the recipe's",
    )
    loss: str = declare(
        "cross_entropy",
        choice(LOSSES),
        TRAINING,
        "loss",
        more="'mle' and 'map' are for the outputs of 'lenet5_1998', which takes no other.",
    )
    loss_settings: dict[str, Any] = declare(
        {},
        mapping(),
        TRAINING,
        "further arguments of the loss, " + offer(LOSSES, loss_settings),
        usual="the recipe's",
    )
    label_smoothing: float = declare(
        0.05, number(below=1), TRAINING, "share of a target spread over all classes"
    )
    order: str = declare(
        "reshuffled",
        choice(("reshuffled", "constant")),
        help="order of the training images: drawn for each epoch, or once",
    )
    average: float = declare(
        0.0,
        number(below=1),
        TRAINING,
        "decay per step of a running average of the weights, such as 0.999, to evaluate and save",
        usual="0, none",
    )
    keep: str = declare(
        "last",
        choice(KEEPS, metavar="WHICH"),
        TRAINING,
        "weights to save: of the last epoch, or of the best on the validation images",
    )
    summary: str = field(default="", compare=False)
    reproduces: str = field(default="", compare=False)
    notes: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, plain(getattr(self, each.name)))
        for name, setting in settings(self).items():
            setting.kind.check(name, getattr(self, name))
        named = self.distortion if isinstance(self.distortion, str) else None
        if named or not self.distortion:
            object.__setattr__(self, "distortion", NAMED.get(named or "none"))
        else:
            try:
                Distortion.from_dict(self.distortion)
            except (TypeError, ValueError) as error:
                raise ValueError(f"distortion: {error}") from None
        self._check_model()
        for name, known in self.further().items():
            of = f"the {name} {getattr(self, name)}"
            check_further(f"{name}_settings", getattr(self, f"{name}_settings"), known, of)
        self._check_together()

    def _check_model(self) -> None:
        known = signature(NETS[self.net]).parameters.keys() - OF_DATA
        for name, value in self.model.items():
            if name not in known:
                raise ValueError(f"model must hold settings of the net {self.net}, got {name!r}")
            if name in NET_SETTINGS:
                NET_SETTINGS[name].kind.check(name, value)

    def _check_together(self) -> None:
        """Raise a ValueError for settings that do not go together."""
        of_1998 = self.net == "lenet5_1998"
        decays = "weight_decay" in signature(OPTIMIZERS[self.optimizer].cls).parameters
        unseen = self.validation == 0
        rules = (
            (
                self.fit != "auto" and self.preparation != "auto",
                "fit",
                f"auto with the preparation {self.preparation}, which has its own",
            ),
            (
                self.label_smoothing > 0 and self.loss != "cross_entropy",
                "label_smoothing",
                f"0 with the loss {self.loss}",
            ),
            (
                of_1998 != (self.loss in ("mle", "map")),
                "loss",
                f"{'mle or map' if of_1998 else 'cross_entropy or mse'} for the net {self.net}",
            ),
            (
                self.weight_decay > 0 and not decays,
                "weight_decay",
                f"0 with the optimizer {self.optimizer}",
            ),
            (unseen and self.keep == "best", "keep", "last where validation is 0"),
            (unseen and self.patience > 0, "patience", "0 where validation is 0"),
            (
                unseen and self.schedule == "reduce-on-plateau",
                "schedule",
                "another one where validation is 0",
            ),
        )
        for broken, name, rule in rules:
            if broken:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)!r}")

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Return the settings, which a run's config.json holds, by name; all fields but the texts."""
        return settings(cls)

    def further(self) -> dict[str, dict[str, Kind]]:
        """Return the further settings that this optimizer, schedule and loss take."""
        return {
            "optimizer": optimizer_settings(self.optimizer),
            "schedule": schedule_settings(self.schedule),
            "loss": loss_settings(self.loss),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, for JSON."""
        values = asdict(self)
        return {name: values[name] for name in settings(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild what `to_dict` returned; it may come from a file: everything is checked.

        Raises
        ------
        ValueError
            A setting is missing, unknown or out of range.
        """
        known = settings(cls)
        for name in [*known, *values]:
            if name not in values or name not in known:
                fault = "lacks" if name in known else "has the unknown setting"
                raise ValueError(f"the configuration {fault} {name}")
        return cls(**values)

    def change(self, **changes: Any) -> Self:
        """Return this recipe with some settings changed.

        Another optimizer brings its own learning rate, weight decay and settings along, another
        schedule its settings, unless these are changed, too; another loss comes without settings
        and label smoothing.

        Parameters
        ----------
        **changes
            Fields, or single settings of the net, such as ``pooling="max"``. A `distortion` may be
            a name.

        Raises
        ------
        ValueError
            A value is out of range, or does not go with others.
        TypeError
            There is no such field.
        """
        known = [each.name for each in fields(self)]
        of_net = {name: changes.pop(name) for name in NET_SETTINGS if name in changes}
        for each in changes:
            if each not in known:
                near = get_close_matches(each, [*known, *NET_SETTINGS], 1)
                hint = f"there is {near[0]}" if near else f"use one of {', '.join(known)}"
                raise TypeError(f"{each} is no field of a recipe; {hint}")
        along: dict[str, Any] = {}
        optimizer = changes.get("optimizer", self.optimizer)
        if optimizer != self.optimizer and optimizer in OPTIMIZERS:
            entry = OPTIMIZERS[optimizer]
            along |= {"lr": entry.lr, "weight_decay": entry.weight_decay, "optimizer_settings": {}}
        if changes.get("schedule", self.schedule) != self.schedule:
            along |= {"schedule_settings": {}}
        if changes.get("loss", self.loss) != self.loss:
            along |= {"label_smoothing": 0.0, "loss_settings": {}}
        if of_net:
            along["model"] = changes.pop("model", self.model) | of_net
        return replace(self, **along | changes)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the net's input."""
        if self.preparation == "auto":
            return SIZE, SIZE
        no_image = np.zeros((1, 1, 1, 1), np.uint8)  # for those that have a mean image
        return Preparation.named(self.preparation, no_image).size

    def build(self, source: Source | Dataset, seed: int) -> tuple[Trainer, TrainedModel]:
        """Return a `Trainer` on this data, and the `TrainedModel` it trains.

        Parameters
        ----------
        source : lenet5c.datasets.Source, or Dataset of the training images
            Where it has validation images of its own, `validation` has no effect.
        seed : int
            Random seed of weights, split, order and augmentation.

        Raises
        ------
        ValueError
            The data does not fit the recipe.
        """
        return build(self, source, seed)
