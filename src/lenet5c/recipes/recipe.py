"""Fields of recipes, with their values, options and descriptions."""

from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, Self

import numpy as np

from lenet5c.datasets import Distortion, Preparation
from lenet5c.datasets.distortion import NAMED
from lenet5c.kernels.shapes import pair
from lenet5c.nn import LOSSES, NETS
from lenet5c.nn.kind import DICT, choice, number, plain, whole
from lenet5c.nn.options import check_options
from lenet5c.optim import OPTIMIZERS, SCHEDULES
from lenet5c.recipes import build as building
from lenet5c.recipes import by_images
from lenet5c.recipes.build import loss_settings, optimizer_settings, schedule_settings
from lenet5c.recipes.custom_net import NET_KIND, check_net, has_penalties, name_net
from lenet5c.recipes.kind import CLASS_WEIGHT, SHARE, TEMPERATURE, arguments, check_further, offer
from lenet5c.recipes.net_settings import NET_SETTINGS, net_options
from lenet5c.recipes.setting import NET, Setting, data, declare, document, run, settings, training
from lenet5c.recipes.teachers import make_teacher_recipe
from lenet5c.training.trainer import KEEPS

FURTHER, USUAL = "other arguments, replacing all those of the recipe", "as in the recipe"


@document
@dataclass(frozen=True)
class Recipe:
    """Settings of a training run, except data and seed.

    Most fields are options of ``lenet5c train``. Others are texts: `summary`, `reproduces` (the
    reproduced system) and `notes` (differences and their reasons).

    The split 'stratified' holds out the same fraction of each class; 'auto' does too, unless a
    random split would hold out at least 100 images of each class, in which case it equals 'random'.
    `train_size` images are selected in the same way. The fit 'auto' pads images that fit in the
    input and have at least 20 pixels per side, and resizes others; with the input size 'images',
    the aspect ratio is preserved, and images of 32 to 96 pixels are not resized. The preparation
    'auto' normalizes the training images to mean 0 and standard deviation 1; for others see
    `Preparation.named`. A distortion is a name, or settings of `lenet5c.datasets.Distortion`.
    Momentum is Nesterov momentum, unless the setting 'nesterov' is false. By default, the schedule
    'step' divides the rate by ten after each third of the run, and 'reduce-on-plateau' divides it
    by ten if the validation loss has not decreased for more than two epochs; 'piecewise' multiplies
    lr by each of its 'factors' in turn, changing after 'epochs'. 'every', 'patience' and 'epochs'
    of schedules are in epochs. For 'balanced' class weights, see
    `lenet5c.training.weights.class_weights`. The losses 'mle' and 'map' can only be used with
    'lenet5_1998', which supports no others.
    """

    epochs: int = run(10, whole(1, 10_000), "epochs of training")
    patience: int = run(
        0,
        whole(0),
        "stop after N epochs without an improvement in validation accuracy",
        default_text="never",
    )
    train_size: int | None = run(
        None,
        whole(1, optional=True),
        "use only N training images, chosen by the seed",
        default_text="all",
    )
    validation: float = data(
        1 / 12,
        number(metavar="N"),
        "training images held out for validation: a number, or a fraction below 1",
    )
    least_validation: int = data(
        0, whole(0), "hold out no images if there would be fewer than N", default_text="0"
    )
    split: str = data(
        "auto",
        choice(("auto", "stratified", "random", "last"), "METHOD"),
        "selection of the validation images",
    )
    epoch_images: int = data(
        0,
        whole(0),
        f"repeat the images of a small data set, up to {building.MAX_REPEATS} times, until an "
        "epoch has about N",
        default_text="0, never",
    )
    input_size: int | list[int] | str = data(
        32,
        by_images.SIZE,
        "height and width of the net's input, or the word images for the size of the images, from "
        "32 to 96 pixels",
        default_text=f"32; {by_images.OWN} with small-color",
    )
    fit: str = data(
        "auto",
        choice(("auto", "pad", "resize"), "METHOD"),
        "method to fit images to the net's input",
    )
    preparation: str = data(
        "auto", choice(("auto", *Preparation.NAMES)), "preparation of the pixels, instead of fit"
    )
    distortion: dict[str, Any] | None = data(
        None,
        choice(("none", *Distortion.NAMES), optional=True, dicts=True),
        "augmentation of the training images, drawn anew in each epoch",
    )
    draws: int = data(
        0, whole(0), "repeat the augmentation after N epochs", default_text="0, never"
    )
    net: Any = declare(
        "lenet5",
        NET_KIND,
        f"the net: {', '.join(NETS)}, or a file with a description of its layers, such as "
        "lenet5c.nn.describe returns, as JSON",
        NET,
    )
    model: dict[str, Any] = declare({}, DICT, "options of the net that differ from the defaults")
    batch_size: int = training(
        64, whole(1), "images per step, at most the number of training images"
    )
    optimizer: str = training("adamw", choice(OPTIMIZERS), "optimizer")
    lr: float = training(
        4e-3,
        number(above=True),
        "learning rate; the peak of the schedule",
        default_text="by optimizer",
    )
    layer_decay: float = training(
        1.0,
        number(above=True),
        "factor of the learning rate from each layer to the preceding one (layer-wise decay)",
    )
    momentum: float = training(
        0.9, number(below=1), "momentum of sgd; other optimizers have it in their settings"
    )
    weight_decay: float = training(
        0.1, number(), "weight decay, decoupled with adamw", default_text="by optimizer"
    )
    optimizer_settings: dict[str, Any] = training(
        {}, DICT, FURTHER, default_text=USUAL, more=partial(offer, OPTIMIZERS, optimizer_settings)
    )
    schedule: str = training("one-cycle", choice(SCHEDULES), "schedule of the learning rate")
    schedule_settings: dict[str, Any] = training(
        {}, DICT, FURTHER, default_text=USUAL, more=partial(offer, SCHEDULES, schedule_settings)
    )
    loss: str = training("cross_entropy", choice(LOSSES), "loss function")
    loss_settings: dict[str, Any] = training(
        {}, DICT, FURTHER, default_text=USUAL, more=partial(offer, LOSSES, loss_settings)
    )
    label_smoothing: float = training(
        0.05, number(below=1), "fraction of each target spread over all classes"
    )
    class_weight: str | dict[str, float] | None = training(
        None,
        CLASS_WEIGHT,
        "weights of classes in the loss (others 1), or balanced: n / (classes * count)",
    )
    temperature: float | None = training(
        None,
        TEMPERATURE,
        "temperature of the probabilities, such as one fitted by another run",
        default_text="fitted on the validation images, 1 if there are none",
    )
    teachers: int = training(
        0,
        whole(0, 100),
        "train N nets first, whose mean probabilities for the augmented images are the targets",
        default_text="0, none",
    )
    teacher: dict[str, Any] = training(
        {}, DICT, "settings of the teachers that differ from the recipe", default_text="none"
    )
    teaching_temperature: float = training(
        4.0, number(above=True), "temperature of the teachers' probabilities"
    )
    teaching_weight: float = training(
        1.0,
        SHARE,
        "weight of the teachers' probabilities in the targets; the rest is the true label",
    )
    order: str = declare(
        "reshuffled",
        choice(("reshuffled", "constant")),
        "order of the training images: drawn for each epoch, or only once",
    )
    average: float = training(
        0.0,
        number(below=1),
        "decay per step of the running average of the weights that is evaluated and saved, such as "
        "0.999",
        default_text="0, none",
    )
    keep: str = training(
        "last",
        choice(KEEPS, "WEIGHTS"),
        "save the weights of the last epoch, or of the best validation accuracy",
    )
    summary: str = field(default="", compare=False)
    reproduces: str = field(default="", compare=False)
    notes: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, plain(getattr(self, each.name)))
        if isinstance(self.class_weight, dict):  # keys may be numbers
            weights = {str(name): weight for name, weight in self.class_weight.items()}
            object.__setattr__(self, "class_weight", weights)
        for name, setting in settings(self).items():
            object.__setattr__(self, name, setting.kind.check(name, getattr(self, name)))
        named = self.distortion if isinstance(self.distortion, str) else None
        if named or not self.distortion:
            object.__setattr__(self, "distortion", NAMED.get(named or "none"))
        else:
            try:
                Distortion.from_dict(self.distortion)
            except (TypeError, ValueError) as error:
                raise ValueError(f"distortion: {error}") from None
        known = net_options(self.net)
        for name in self.model:
            if name not in known:
                raise ValueError(
                    f"model must only have options of the net {name_net(self.net)}, "
                    f"{', '.join(known) or 'none'}, got {name!r}"
                )
        model = check_options(known, self.model)
        at_default = {name for name in model if model[name] == known[name].default}
        put = {name: value for name, value in model.items() if name not in at_default}
        object.__setattr__(self, "model", put)
        for name, further in (
            ("optimizer", optimizer_settings),
            ("schedule", schedule_settings),
            ("loss", loss_settings),
        ):
            given, kind = getattr(self, f"{name}_settings"), getattr(self, name)
            check_further(f"{name}_settings", given, further(kind), f"the {name} {kind}")
        self._check_together()
        if self.teachers or self.teacher:
            make_teacher_recipe(self)

    def _check_together(self) -> None:
        """Raise a ValueError for incompatible settings."""
        of_1998, net = has_penalties(self.net), name_net(self.net)
        default_size = Recipe.input_size
        decays = "weight_decay" in arguments(OPTIMIZERS[self.optimizer].cls)
        unseen, plateau = self.validation == 0, self.schedule == "reduce-on-plateau"
        prepared = self.preparation != "auto"
        own_fit = f"auto with the preparation {self.preparation}, which defines its own"
        own_size = f"{default_size} with the preparation {self.preparation}, which defines its own"
        losses = "mle or map" if of_1998 else "cross_entropy or mse"
        smoothed = self.label_smoothing > 0 and self.loss != "cross_entropy"
        taught = self.teachers > 0
        smoothed_twice = taught and self.label_smoothing > 0
        mixes = bool((self.distortion or {}).get("mixup"))
        none_held_out = "if validation is 0"
        for broken, name, rule in (
            (self.fit != "auto" and prepared, "fit", own_fit),
            (self.input_size != default_size and prepared, "input_size", own_size),
            (smoothed, "label_smoothing", f"0 with the loss {self.loss}"),
            (of_1998 != (self.loss in ("mle", "map")), "loss", f"{losses} for the net {net}"),
            (smoothed_twice, "label_smoothing", "0 with teachers, whose probabilities are soft"),
            (taught and of_1998, "teachers", f"0 with the loss {self.loss}"),
            (taught and mixes, "teachers", "0 with mixup"),
            (self.weight_decay > 0 and not decays, "weight_decay", f"0 with {self.optimizer}"),
            (unseen and self.keep == "best", "keep", f"last {none_held_out}"),
            (unseen and self.patience > 0, "patience", f"0 {none_held_out}"),
            (unseen and plateau, "schedule", f"another one {none_held_out}"),
        ):
            if broken:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)!r}")

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Return the settings by name: all fields except the descriptions."""
        return settings(cls)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, for JSON."""
        values = asdict(self)
        return {name: values[name] for name in settings(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Create a recipe from the dict returned by `to_dict`, which is not trusted.

        Raises
        ------
        ValueError
            If a setting is missing, unknown or out of range.
        """
        known = settings(cls)
        for name in [*known, *values]:
            if name not in values or name not in known:
                fault = "lacks the setting" if name in known else "has the unknown setting"
                raise ValueError(f"configuration {fault} {name}")
        return cls(**values)

    def change(self, **changes: Any) -> Self:
        """Return a copy of this recipe with some settings changed.

        Some changes reset other settings, unless these are changed too: another net resets its
        options; another optimizer the learning rate, weight decay and its settings; another
        schedule its settings; another preparation the input size; another loss its settings and
        label smoothing; another `validation` resets `least_validation`, and 0 also `keep` and
        `patience`.

        Parameters
        ----------
        **changes
            Fields, or single options of the net, such as ``channels=(12, 32)``. A `distortion` may
            be a name.

        Raises
        ------
        ValueError
            If a value is out of range or incompatible with others.
        TypeError
            There is no such field.
        """
        known = [each.name for each in fields(self)]
        of_net = {name: changes.pop(name) for name in NET_SETTINGS if name in changes}
        for each in changes:
            if each not in known:
                from difflib import get_close_matches

                near = get_close_matches(each, [*known, *NET_SETTINGS], 1)
                hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"
                raise TypeError(f"changes must be fields of a recipe, got {each}; {hint}")
        along: dict[str, Any] = {}
        optimizer = changes.get("optimizer", self.optimizer)
        known_name = isinstance(optimizer, str) and optimizer in OPTIMIZERS
        if optimizer != self.optimizer and known_name:
            entry = OPTIMIZERS[optimizer]
            along |= {"lr": entry.lr, "weight_decay": entry.weight_decay, "optimizer_settings": {}}
        net = NET_KIND.check("net", changes.get("net", self.net))
        if net != self.net:
            along |= {"model": {}}
            if has_penalties(net) != has_penalties(self.net):
                loss = "mle" if has_penalties(net) else "cross_entropy"
                along |= {"loss": loss, "loss_settings": {}, "label_smoothing": 0.0}
        if changes.get("schedule", self.schedule) != self.schedule:
            along |= {"schedule_settings": {}}
        if changes.get("preparation", self.preparation) != self.preparation:
            along |= {"input_size": Recipe.input_size}
        if changes.get("loss", self.loss) != self.loss:
            along |= {"label_smoothing": 0.0, "loss_settings": {}}
        if "validation" in changes:  # hold out the requested number, even if small
            along |= {"least_validation": 0}
            if changes["validation"] == 0:
                along |= {"keep": "last", "patience": 0}
        model = changes.get("model", along.get("model", self.model))
        if of_net and isinstance(model, dict):  # else rejected below
            changes["model"] = model | of_net
        return replace(self, **along | changes)

    @property
    def size_asked(self) -> Any:
        """`input_size`, or that of the description of a net."""
        shape = check_net(self.net).input_shape if isinstance(self.net, dict) else None
        return [shape[1], shape[2]] if shape else self.input_size

    @property
    def default_size(self) -> tuple[int, int]:
        """(height, width) of the net's input, for images of its usual size."""
        if self.preparation == "auto":
            size = self.size_asked
            if size == by_images.OWN:
                size = NETS[self.net].options["input_size"].default
            return pair(size, "input_size", 1)
        no_image = np.zeros((1, 1, 1, 1), np.uint8)  # for preparations with a mean image
        return Preparation.named(self.preparation, no_image).size

    build = building.build
