"""A trainer from a recipe: the split of the data, preparation, net, loss, optimizer, schedule."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet5c.datasets import Dataset, Distortion, Preparation, Source
from lenet5c.datasets.framing import measure_framing
from lenet5c.datasets.mapped import Images, blocks
from lenet5c.nn import LOSSES, NETS, BatchNorm1d, Sequential
from lenet5c.nn.kind import Kind
from lenet5c.nn.limits import LimitError, limit_values
from lenet5c.nn.work import check_work
from lenet5c.optim import OPTIMIZERS, SCHEDULES
from lenet5c.recipes import own_net
from lenet5c.recipes import start as starting
from lenet5c.recipes.by_images import choose_size
from lenet5c.recipes.kind import arguments, further_settings
from lenet5c.recipes.own_net import MOST_PARAMETERS
from lenet5c.recipes.teachers import set_teachers, train_teachers, usual_temperature
from lenet5c.training import TrainedModel, Trainer

if TYPE_CHECKING:
    from lenet5c.recipes.recipe import Recipe

#: A smaller share of few images may be none of them, which is an error.
LEAST_SHARE = 0.01
#: Of a class in a part drawn by chance. The count of fewer would deviate by more than a tenth of
#: it (1 / sqrt(100), the standard deviation), so the split 'auto' is stratified then.
LEAST_OF_CLASS = 100
#: Of an image in an epoch, however few there are.
MOST_REPEATS = 60
#: Images whose pixels are summed at a time.
SUMMED = 512


def build(
    recipe: "Recipe",
    source: Source | Dataset,
    seed: int,
    start: TrainedModel | None = None,
    freeze: Collection[str] = (),
    rehearsed: Dataset | None = None,
    net: Sequential | None = None,
    teachers: Sequence[TrainedModel] | None = None,
) -> tuple[Trainer, TrainedModel]:
    """Return a `Trainer` on this data, and the `TrainedModel` it trains.

    Parameters
    ----------
    source : lenet5c.datasets.Source, or Dataset of the training images
        Where it has validation images of its own, `validation` has no effect.
    seed : int
        Random seed of weights, split, order and augmentation.
    start : lenet5c.training.TrainedModel, optional
        A model to start from, which is not changed: its net and weights, and the preparation, the
        size and the framing of its images, take the place of the recipe's. Data whose classes it
        knows, by name, keep its last layer; else that has the classes of the data, and keeps the
        rows of those that the model knows.
    freeze : collection of str
        Names of layers whose parameters, and running statistics, stay as they are.
    rehearsed : Dataset, optional
        Images that the start model was trained on, mixed in so that it does not forget them.
    net : lenet5c.nn.Sequential, optional
        The very net to train, with its weights, where the recipe describes one.
    teachers : sequence of TrainedModel, optional
        The recipe's teachers, in place of those that are else trained here and now; an empty one
        leaves the trainer without, for `lenet5c.recipes.teachers.set_teachers` later.

    Raises
    ------
    ValueError
        The data does not fit the recipe or the start model.
    """
    if isinstance(source, Dataset):
        source = Source(source, source)
    if start is None and rehearsed is not None:
        raise ValueError(f"rehearsed must be None without a model to start from, got {rehearsed!r}")
    if start is not None:
        recipe = starting.take_net(recipe, start)
        source, _ = starting.fit_source(start, source)
        if recipe.teachers:
            raise ValueError(
                f"teachers must be 0 with a model to start from, got {recipe.teachers}"
            )
    train_set = source.train
    rest, held_out = divide(recipe, source, seed)
    images = rest
    rng = np.random.default_rng([seed, 2])
    if start is None:
        preparation = prepare(recipe, rest)
        channels, classes = train_set.images.shape[1], train_set.num_classes
        if net is not None:
            model: Any = net
            own_net.check_outputs(net, (channels, *preparation.size), classes)
        elif isinstance(recipe.net, dict):
            model = own_net.make_net(recipe.net, (channels, *preparation.size), classes, rng)
        else:
            settings = {
                "num_classes": classes,
                "in_channels": channels,
                "input_size": preparation.size,
                **recipe.model,
            }
            model = make_net(recipe.net, settings | {"rng": rng})
    else:
        preparation = start.preparation
        model = starting.continue_model(start, recipe, train_set.class_names, rng)
        if train_set.class_names != start.class_names and starting.name_head(model) in freeze:
            raise ValueError(
                f"freeze must not contain {starting.name_head(model)}, which is new for these "
                "classes; leave it out"
            )
        # Not layers that are frozen, nor the weights of an estimator that fits once more.
        can_turn = not freeze and start.reading == "ink"
        number = starting.find_turn(start, rest) if can_turn else 0
        if number:
            starting.turn_net(model, number)
        if rehearsed is not None:
            rehearsed = starting.choose_rehearsed(start, rehearsed, rest, seed)
    framing = measure_framing(rest.images, start.framing if start else None)
    repeats = starting.count_repeats(len(rest), recipe.epoch_images, MOST_REPEATS)
    mixture = starting.describe_mixture(len(rest), repeats, rehearsed)
    rest = starting.mix(rest, repeats, rehearsed, preparation.fit_images)
    norms = any(isinstance(layer, BatchNorm1d) for layer in model.all_layers())
    if (len(rest) - 1) % recipe.batch_size == 0 and norms:
        raise ValueError(
            f"batch_size must not leave a last batch of one of {len(rest)} images, as batch "
            f"normalization needs two, got {recipe.batch_size}; change batch_size or validation"
        )
    trainer = Trainer(
        model,
        make_optimizer(recipe, model, freeze),
        make_schedule(recipe, ceil(len(rest) / recipe.batch_size)),
        make_loss(recipe),
        preparation,
        rest,
        held_out,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        seed=seed,
        average=recipe.average,
        keep=recipe.keep if held_out else "last",
        patience=recipe.patience if held_out else 0,
        order=recipe.order,
        distortion=Distortion.from_dict(recipe.distortion) if recipe.distortion else None,
        class_weight=recipe.class_weight,
    )
    trainer.mixture, trainer.draws = mixture, recipe.draws
    if recipe.teachers and teachers is None:
        teachers = train_teachers(recipe, images, held_out, seed)
    if teachers:
        set_teachers(trainer, recipe, teachers)
    if start is not None and number:
        trainer.remark = (
            f"The images seem to be {starting.POSITIONS[number]}, as the model sees them: its "
            "filters are turned the same way before the training."
        )
    names, reading = train_set.class_names, source.reading
    if start is None:
        shape = train_set.images.shape[1:]
        trainer.trained = TrainedModel(model, preparation, names, shape, reading)
    else:
        trainer.trained = replace(start, model=model, class_names=names, reading=reading, path=None)
    trainer.calibrates = recipe.temperature is None
    taught = start is None and bool(recipe.teachers or teachers)
    trainer.trained.temperature = recipe.temperature or (
        usual_temperature(recipe) if taught else 1.0
    )
    trainer.trained.framing = framing
    trainer.trained.white = dict(source.white)
    return trainer, trainer.trained


def divide(recipe: "Recipe", source: Source, seed: int) -> tuple[Dataset, Dataset | None]:
    """Return the images to train on, and those to validate; images of weight 0 are left out."""
    rest = take_part(recipe, _drop_weightless(source.train), seed)
    if source.validation is not None:
        return rest, source.validation
    return split(recipe, rest, seed)


def make_net(net: str, settings: dict[str, Any]) -> Any:
    """Return a net by its name; refuse one that is too large: a config.json is not trusted."""
    try:
        with limit_values(MOST_PARAMETERS):
            model = NETS[net](**settings)
    except LimitError as error:
        raise ValueError(
            f"model must have at most {MOST_PARAMETERS:,} parameters, got more: {error}; use fewer "
            "channels or units, or global_pooling"
        ) from None
    check_work(model, model.input_shape)
    return model


def take_part(recipe: "Recipe", train_set: Dataset, seed: int) -> Dataset:
    """Return the training images that the recipe uses at all."""
    count = recipe.train_size
    if count is None or count == len(train_set):
        return train_set
    if count > len(train_set):
        raise ValueError(
            f"train_size must be at most the {len(train_set)} training images, got {count}; leave "
            f"it out for all"
        )
    # A stream of its own: weights, split and order of a smaller set are drawn as of the whole one.
    rng = np.random.default_rng([seed, 5])
    return train_set.split(count, rng, stratify=_is_stratified(recipe, train_set, count))[1]


def _is_stratified(recipe: "Recipe", dataset: Dataset, count: int) -> bool:
    """Return whether a part of so many images takes the same share of each class."""
    if recipe.split != "auto":
        return recipe.split == "stratified"
    counts = np.bincount(dataset.labels)
    return int(counts[counts > 0].min()) * count < LEAST_OF_CLASS * len(dataset)


def _drop_weightless(dataset: Dataset) -> Dataset:
    """Return the images that count: those of weight 0 are as none."""
    weight = dataset.sample_weight
    if weight is None or (weight > 0).all():
        return dataset
    return dataset.take(np.flatnonzero(weight))


def split(recipe: "Recipe", train_set: Dataset, seed: int) -> tuple[Dataset, Dataset | None]:
    """Return the images to train on, and those held out for validation."""
    validation = recipe.validation
    if validation == 0:
        return train_set, None
    share = validation < 1
    count = round(validation * len(train_set)) if share else int(validation)
    classes = len(np.unique(train_set.labels))
    if validation >= LEAST_SHARE and count == 0 and len(train_set) > classes:
        count = 1  # of a handful of images
    if count < recipe.least_validation:
        return train_set, None
    if not 1 <= count < len(train_set) or not (share or count == validation):
        raise ValueError(
            f"validation must hold out at least one of the {len(train_set)} training images and "
            f"leave at least one, got {validation:g}; use another number, a fraction such as 0.1, "
            "or 0 for none"
        )
    if recipe.split == "last":
        rest, held_out = train_set.split_last(count)
    else:
        stratify = _is_stratified(recipe, train_set, count)
        rest, held_out = train_set.split(count, seed, stratify=stratify)
    lost = np.setdiff1d(train_set.labels, rest.labels)
    if len(rest) >= classes and len(lost):
        raise ValueError(
            f"validation must leave an image of the class {train_set.class_names[lost[0]]!r} to "
            f"train on, got {validation:g} with the split {recipe.split}; use another split, a "
            f"smaller number, or 0 for none"
        )
    return rest, held_out


def prepare(recipe: "Recipe", train_set: Dataset) -> Preparation:
    """Return the preparation of the images, measured on those to train on."""
    if recipe.preparation != "auto":
        return Preparation.named(recipe.preparation, train_set.images)
    size, fit = choose_size(recipe.size_asked, train_set.images.shape[2:])
    mean, std = pixel_statistics(train_set.images)
    return Preparation(
        size=size, fit=fit if recipe.fit == "auto" else recipe.fit, mean=mean, std=std
    )


def make_loss(recipe: "Recipe") -> Any:
    """Return the loss of a recipe."""
    kind: Any = LOSSES[recipe.loss]
    smoothing = {"label_smoothing": recipe.label_smoothing} if recipe.label_smoothing else {}
    return kind(**smoothing, **recipe.loss_settings)


def loss_settings(name: str) -> dict[str, Kind]:
    """Return the further settings of a loss."""
    others = {"label_smoothing", "weight", "ignore_index", "reduction"}
    return further_settings(LOSSES[name], others)


def make_optimizer(recipe: "Recipe", model: Any, freeze: Collection[str] = ()) -> Any:
    """Return the optimizer of a recipe, on a model some of whose layers are frozen."""
    entry = OPTIMIZERS[recipe.optimizer]
    own: dict[str, Any] = {"weight_decay": recipe.weight_decay}
    taken = arguments(entry.cls)
    if "nesterov" in taken:
        own |= {"momentum": recipe.momentum, "nesterov": recipe.momentum > 0}
    own = {name: value for name, value in own.items() if name in taken}
    own |= dict(entry.fixed) | recipe.optimizer_settings
    optimizer = entry.cls(model, recipe.lr, **own)
    if freeze or recipe.layer_decay != 1:
        factors = starting.rate_factors(model, recipe.layer_decay, freeze)
        optimizer.scale_rates(factors)
        starting.freeze_statistics(model, factors)
    return optimizer


def optimizer_settings(name: str) -> dict[str, Kind]:
    """Return the further settings of an optimizer; `momentum` of SGD is a field of a recipe."""
    entry = OPTIMIZERS[name]
    momentum = {"momentum"} if "nesterov" in arguments(entry.cls) else set()
    return further_settings(entry.cls, {"model", "lr", "weight_decay", *entry.fixed, *momentum})


def make_schedule(recipe: "Recipe", steps_per_epoch: int) -> Any:
    """Return the schedule of a recipe, whose settings count epochs in place of steps."""
    kind, given = SCHEDULES[recipe.schedule], dict(recipe.schedule_settings)
    total = recipe.epochs * steps_per_epoch
    if "total" in arguments(kind):
        given["total"] = total
    if recipe.schedule == "step":
        every = given.get("every")
        given["every"] = max(1, ceil(total / 3)) if every is None else every * steps_per_epoch
    elif recipe.schedule == "reduce-on-plateau":
        given.setdefault("patience", 2)
    elif recipe.schedule == "piecewise":
        if given.keys() != {"factors", "epochs"}:
            raise ValueError(
                f"schedule_settings must be factors and epochs with piecewise, got {given!r}"
            )
        rates = [recipe.lr * factor for factor in given["factors"]]
        return kind(rates, [epoch * steps_per_epoch for epoch in given["epochs"]])
    return kind(recipe.lr, **given)


def schedule_settings(name: str) -> dict[str, Kind]:
    """Return the further settings of a schedule."""
    own = further_settings(SCHEDULES[name], {"lr", "total"})
    return {{"rates": "factors", "boundaries": "epochs"}.get(key, key): own[key] for key in own}


def pixel_statistics(images: Images) -> tuple[float, float]:
    """Return (mean, standard deviation) of uint8 pixels in units of 255, to four digits.

    The sums are exact integers, so the result does not depend on the order of additions.
    """
    total = squares = 0
    for block in blocks(images):
        # Sums over images are fast; those of so few fit into 32 bits, and both into a cache.
        for start in range(0, len(block), SUMMED):
            part = block[start : start + SUMMED]
            total += int(part.sum(axis=0, dtype=np.uint32).sum(dtype=np.uint64))
            square = np.square(part, dtype=np.uint16)
            squares += int(square.sum(axis=0, dtype=np.uint32).sum(dtype=np.uint64))
    mean = total / images.size
    variance = squares / images.size - mean * mean
    # A data set of one gray tone has no spread to divide by.
    return round(mean / 255, 4), round(variance**0.5 / 255, 4) or 1.0
