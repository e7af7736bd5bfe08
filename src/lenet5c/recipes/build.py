"""Creation of a trainer from a recipe: data split, preparation, net, loss, optimizer, schedule."""

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
from lenet5c.recipes import custom_net
from lenet5c.recipes import start as starting
from lenet5c.recipes.by_images import choose_size
from lenet5c.recipes.custom_net import MAX_PARAMETERS
from lenet5c.recipes.kind import arguments, further_settings
from lenet5c.recipes.teachers import default_temperature, set_teachers, train_teachers
from lenet5c.training import TrainedModel, Trainer

if TYPE_CHECKING:
    from lenet5c.recipes.recipe import Recipe

#: Smallest validation fraction that is rounded up to one image.
MIN_SHARE = 0.01
#: Minimum images per class in a random part; with fewer, the relative standard deviation of the
#: count, 1 / sqrt(100), would exceed a tenth, so the split 'auto' is stratified.
MIN_OF_CLASS = 100
#: Maximum repetitions of an image in an epoch.
MAX_REPEATS = 60
#: Number of images whose pixels are summed at once.
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
    """Return a `Trainer` for this data, and the `TrainedModel` that it trains.

    Parameters
    ----------
    source : lenet5c.datasets.Source, or Dataset of the training images
        The data. If it has a validation set, `validation` has no effect.
    seed : int
        Random seed of weights, split, order and augmentation.
    start : lenet5c.training.TrainedModel, optional
        The initial model, which is not changed: its net, weights, preparation, image size and
        framing replace those of the recipe. If the model has all classes of the data, by name, its
        last layer is kept; otherwise it is replaced by a layer for the classes of the data, keeping
        the rows of shared classes.
    freeze : collection of str
        Names of layers whose parameters and running statistics are frozen.
    rehearsed : Dataset, optional
        Earlier training images of the start model, mixed in to prevent forgetting.
    net : lenet5c.nn.Sequential, optional
        The net to train, including its weights, instead of building one from the recipe.
    teachers : sequence of TrainedModel, optional
        The teachers of the recipe, which are otherwise trained in this call. If empty, the trainer
        has no teachers until `lenet5c.recipes.teachers.set_teachers` is called.

    Raises
    ------
    ValueError
        If the data does not match the recipe or the start model.
    """
    if isinstance(source, Dataset):
        source = Source(source, source)
    if start is None and rehearsed is not None:
        raise ValueError(f"rehearsed must be None without an initial model, got {rehearsed!r}")
    if start is not None:
        recipe = starting.take_net(recipe, start)
        source, _ = starting.fit_source(start, source)
        if recipe.teachers:
            raise ValueError(f"teachers must be 0 with an initial model, got {recipe.teachers}")
    train_set = source.train
    rest, held_out = divide(recipe, source, seed)
    images = rest
    rng = np.random.default_rng([seed, 2])
    if start is None:
        preparation = prepare(recipe, rest)
        channels, classes = train_set.images.shape[1], train_set.num_classes
        if net is not None:
            model: Any = net
            custom_net.check_outputs(net, (channels, *preparation.size), classes)
        elif isinstance(recipe.net, dict):
            model = custom_net.make_net(recipe.net, (channels, *preparation.size), classes, rng)
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
                "classes; omit it"
            )
        # Except frozen layers, and the weights of an estimator that is fitted again.
        can_turn = not freeze and start.reading == "ink"
        number = starting.find_turn(start, rest) if can_turn else 0
        if number:
            starting.turn_net(model, number)
        if rehearsed is not None:
            rehearsed = starting.choose_rehearsed(start, rehearsed, rest, seed)
    framing = measure_framing(rest.images, start.framing if start else None)
    repeats = starting.count_repeats(len(rest), recipe.epoch_images, MAX_REPEATS)
    mixture = starting.describe_mixture(len(rest), repeats, rehearsed)
    rest = starting.mix(rest, repeats, rehearsed, preparation.fit_images)
    norms = any(isinstance(layer, BatchNorm1d) for layer in model.all_layers())
    if (len(rest) - 1) % recipe.batch_size == 0 and norms:
        raise ValueError(
            f"batch_size must not leave a last batch of one of the {len(rest)} images, since batch "
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
            f"The images seem to be {starting.POSITIONS[number]} compared with those of the model, "
            "so its filters are transformed in the same way before training."
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
        default_temperature(recipe) if taught else 1.0
    )
    trainer.trained.framing = framing
    trainer.trained.white = dict(source.white)
    return trainer, trainer.trained


def divide(recipe: "Recipe", source: Source, seed: int) -> tuple[Dataset, Dataset | None]:
    """Return the training and validation images, without images of weight 0."""
    rest = take_part(recipe, _drop_weightless(source.train), seed)
    if source.validation is not None:
        return rest, source.validation
    return split(recipe, rest, seed)


def make_net(net: str, settings: dict[str, Any]) -> Any:
    """Create a net by name; reject one that is too large, as config.json is not trusted."""
    try:
        with limit_values(MAX_PARAMETERS):
            model = NETS[net](**settings)
    except LimitError as error:
        raise ValueError(
            f"model must have at most {MAX_PARAMETERS:,} parameters, got more: {error}; use fewer "
            "channels or units, or global_pooling"
        ) from None
    check_work(model, model.input_shape)
    return model


def take_part(recipe: "Recipe", train_set: Dataset, seed: int) -> Dataset:
    """Return the training images selected by `train_size`."""
    count = recipe.train_size
    if count is None or count == len(train_set):
        return train_set
    if count > len(train_set):
        raise ValueError(
            f"train_size must be at most the {len(train_set)} training images, got {count}; omit "
            "it to use all of them"
        )
    # A separate stream, so that weights, split and order do not depend on train_size.
    rng = np.random.default_rng([seed, 5])
    return train_set.split(count, rng, stratify=_is_stratified(recipe, train_set, count))[1]


def _is_stratified(recipe: "Recipe", dataset: Dataset, count: int) -> bool:
    """Return True if a part of `count` images is stratified."""
    if recipe.split != "auto":
        return recipe.split == "stratified"
    counts = np.bincount(dataset.labels)
    return int(counts[counts > 0].min()) * count < MIN_OF_CLASS * len(dataset)


def _drop_weightless(dataset: Dataset) -> Dataset:
    """Return the images of nonzero weight."""
    weight = dataset.sample_weight
    if weight is None or (weight > 0).all():
        return dataset
    return dataset.take(np.flatnonzero(weight))


def split(recipe: "Recipe", train_set: Dataset, seed: int) -> tuple[Dataset, Dataset | None]:
    """Split into training images and held-out validation images."""
    validation = recipe.validation
    if validation == 0:
        return train_set, None
    share = validation < 1
    count = round(validation * len(train_set)) if share else int(validation)
    classes = len(np.unique(train_set.labels))
    if validation >= MIN_SHARE and count == 0 and len(train_set) > classes:
        count = 1  # for very few images
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
            f"validation must leave an image of class {train_set.class_names[lost[0]]!r} for "
            f"training, got {validation:g} with the split {recipe.split}; use another split, a "
            f"smaller number, or 0 for none"
        )
    return rest, held_out


def prepare(recipe: "Recipe", train_set: Dataset) -> Preparation:
    """Return the preparation of the images, fitted to the training images."""
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
    """Return the additional settings of a loss."""
    others = {"label_smoothing", "weight", "ignore_index", "reduction"}
    return further_settings(LOSSES[name], others)


def make_optimizer(recipe: "Recipe", model: Any, freeze: Collection[str] = ()) -> Any:
    """Return the optimizer of a recipe for a model with frozen layers."""
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
    """Return the additional settings of an optimizer; `momentum` of SGD is a recipe field."""
    entry = OPTIMIZERS[name]
    momentum = {"momentum"} if "nesterov" in arguments(entry.cls) else set()
    return further_settings(entry.cls, {"model", "lr", "weight_decay", *entry.fixed, *momentum})


def make_schedule(recipe: "Recipe", steps_per_epoch: int) -> Any:
    """Return the schedule of a recipe, whose settings are in epochs instead of steps."""
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
                f"schedule_settings must have factors and epochs for piecewise, got {given!r}"
            )
        rates = [recipe.lr * factor for factor in given["factors"]]
        return kind(rates, [epoch * steps_per_epoch for epoch in given["epochs"]])
    return kind(recipe.lr, **given)


def schedule_settings(name: str) -> dict[str, Kind]:
    """Return the additional settings of a schedule."""
    own = further_settings(SCHEDULES[name], {"lr", "total"})
    return {{"rates": "factors", "boundaries": "epochs"}.get(key, key): own[key] for key in own}


def pixel_statistics(images: Images) -> tuple[float, float]:
    """Return (mean, standard deviation) of uint8 pixels in units of 255, to four digits.

    The sums are exact integers, so the result does not depend on the order of additions.
    """
    total = squares = 0
    for block in blocks(images):
        # Sums over images are fast; for this many images, they fit in 32 bits and in the cache.
        for start in range(0, len(block), SUMMED):
            part = block[start : start + SUMMED]
            total += int(part.sum(axis=0, dtype=np.uint32).sum(dtype=np.uint64))
            square = np.square(part, dtype=np.uint16)
            squares += int(square.sum(axis=0, dtype=np.uint32).sum(dtype=np.uint64))
    mean = total / images.size
    variance = squares / images.size - mean * mean
    # The standard deviation is 0 for images of a single gray level.
    return round(mean / 255, 4), round(variance**0.5 / 255, 4) or 1.0
