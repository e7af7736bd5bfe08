"""Fine-tuning: adaptation of net and data, layer-wise learning rates, rehearsal.

Used by the command, `lenet5c.trainer`, `warm_start` of the estimator and the demo.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lenet5c import _files
from lenet5c._text import count, listing
from lenet5c.datasets import Dataset, Source
from lenet5c.datasets.conversion import to_gray
from lenet5c.datasets.mapped import apply, join
from lenet5c.nn import NETS, Conv2d, Flatten, Linear, Sequential
from lenet5c.nn.batch_norm import BatchNorm
from lenet5c.nn.ensemble import describe_kind, find_ensemble
from lenet5c.recipes.custom_net import has_penalties, name_net, with_classes
from lenet5c.recipes.net_settings import net_options
from lenet5c.training import TrainedModel
from lenet5c.training.matching import match_names, match_size
from lenet5c.training.model_file import SHIPPED, build_net, describe_net

if TYPE_CHECKING:
    from lenet5c.recipes.recipe import Recipe

#: Settings determined by the initial model.
OF_START = ("net", "model", "input_size", "fit", "preparation")
#: Number of rehearsed images in each epoch.
REHEARSED = 12_000
#: Descriptions of the orientations of `turn`.
POSITIONS = (
    *("upright", "on their left side", "upside down", "on their right side"),
    *("mirrored", "mirrored and on their left side", "mirrored and upside down"),
    "mirrored and on their right side",
)
#: Number of samples to check in each orientation, and minimum gain of accuracy.
MAX_TURNED, TURNED = 1000, 0.2


def take_net(recipe: "Recipe", start: TrainedModel, asked: Mapping[str, Any] = {}) -> "Recipe":
    """Return a recipe with the net and preparation of an initial model.

    Dropout, which has no parameters, may be changed.

    Parameters
    ----------
    recipe : Recipe
    start : TrainedModel
    asked : mapping
        Settings of the net and the preparation set by the user.

    Raises
    ------
    ValueError
        If such a setting differs from the model.
    """
    if find_ensemble(start.model):
        raise ValueError(
            f"start must be a single net, got an {describe_kind(start.model)}; distill it into one "
            "with lenet5c distill, or start from one of its members"
        )
    names = (name for name, kind in NETS.items() if type(start.model) is kind)
    net: Any = next(names, None) or describe_net(start.model)
    config = start.model.settings() if isinstance(net, str) else {}
    known = net_options(net)
    for name, value in asked.items():
        has = (
            net if name == "net" else config.get(name, known[name].default if name in known else "")
        )
        if name in ("input_size", "fit", "preparation"):
            raise ValueError(
                f"{name} must not be set with an initial model, whose preparation is used, "
                f"got {value!r}"
            )
        if name != "dropout" and value != has:
            shown = name_net(has) if name == "net" else has
            raise ValueError(
                f"{name} must be {shown!r}, as in the initial model, got {value!r}; omit it, or "
                "train without that model"
            )
    model = {name: value for name, value in config.items() if name in known}
    if "dropout" in recipe.model and "dropout" in known:
        model["dropout"] = recipe.model["dropout"]
    changes: dict[str, Any] = {"net": net, "model": model}
    changes |= {"input_size": 32, "fit": "auto", "preparation": "auto"}  # unused
    if has_penalties(net) and recipe.loss not in ("mle", "map"):
        changes |= {"loss": "mle", "loss_settings": {}, "label_smoothing": 0.0}
    return replace(recipe, **changes)


def fit_source(start: TrainedModel, source: Source) -> tuple[Source, list[str]]:
    """Convert data to the images of a model and a common list of classes.

    The list is that of the model if it has all classes of the data, else that of the data. Data
    that already matches is returned unchanged.

    Returns
    -------
    source : Source
    notes : list of str
        Remarks on changes for the user.

    Raises
    ------
    ValueError
        If the number of channels is not one or three, or not that of the model.
    """
    known = start.class_names
    places = match_names(source.train.class_names, known)
    names = tuple(
        known[places[name]] if name in places else name for name in source.train.class_names
    )
    classes = known if set(names) <= set(known) else names
    parts: dict[str, Any] = {}
    notes: dict[str, None] = {}  # in order, each once
    if len(classes) > len(names):
        notes[
            f"it has {count(len(names), 'class', 'classes')} of the model's {len(known)}; the "
            "others are kept"
        ] = None
    elif classes is names and names != known:
        shared = [name for name in names if name in known]
        kept = listing(list(map(repr, shared[:5]))) + (", ..." if len(shared) > 5 else "")
        notes[
            "its classes differ from those of the model: the last layer is new"
            + (f" except for {kept}" if shared else "")
        ] = None
    for part in ("train", "test", "validation"):
        dataset = getattr(source, part)
        if dataset is not None:
            if dataset.class_names != names:  # 'zero' is '0'
                dataset = replace(dataset, class_names=names)
            fitted, changed = fit_dataset(start, dataset, classes)
            parts[part], notes = fitted, notes | dict.fromkeys(changed)
    return replace(source, **parts), list(notes)


def fit_dataset(
    start: TrainedModel, dataset: Dataset, classes: tuple[str, ...]
) -> tuple[Dataset, list[str]]:
    """Return a data set with these classes and the image format of a model, and notes."""
    images, notes = dataset.images, []
    channels, found = start.image_shape[0], images.shape[1]
    if found != channels:
        images = apply(images, lambda batch: _convert_channels(batch, channels))
        kinds = {1: "gray", 3: "in color"}
        notes.append(f"its images are converted to {kinds[channels]}, like those of the model")
    images, note = match_size(start, images)
    notes += [note] if note else []
    labels = dataset.labels
    if dataset.class_names != classes:
        labels = np.array([classes.index(name) for name in dataset.class_names], np.int32)[labels]
    if images is dataset.images and labels is dataset.labels:
        return dataset, notes
    targets = dataset.targets
    if targets is not None and labels is not dataset.labels:
        targets = np.zeros((len(targets), len(classes)), np.float32)
        targets[:, [classes.index(name) for name in dataset.class_names]] = dataset.targets
    fitted = replace(
        dataset,
        images=images,
        labels=labels,
        targets=targets,
        num_classes=len(classes),
        class_names=classes,
    )
    return fitted, notes


def _convert_channels(images: Any, channels: int) -> NDArray[np.uint8]:
    """Return images (N, C, H, W) with one or three channels."""
    number, found, height, width = images.shape
    if {found, channels} != {1, 3}:
        raise ValueError(
            f"images must have {count(channels, 'channel')} for the initial model, got "
            f"{found}; use other data, or another model"
        )
    if channels == 3:
        return np.repeat(images, 3, axis=1)
    pixels = images.transpose(0, 2, 3, 1).reshape(number * height, width, 3)
    return to_gray(pixels).reshape(number, 1, height, width)


def continue_model(
    start: TrainedModel, recipe: "Recipe", classes: tuple[str, ...], rng: Any
) -> Sequential:
    """Return a net with the weights of a model and a last layer for these classes.

    Rows of the classes of the model, by name, are kept; others are initialized.
    """
    old, new_classes = start.model, classes != start.class_names
    kind: Any = type(old)
    if kind in NETS.values():
        settings = old.settings() | {"num_classes": len(classes)}
        settings |= {name: recipe.model[name] for name in ("dropout",) if name in recipe.model}
        model: Sequential = kind(**settings, rng=rng)
    elif new_classes:
        model = build_net(with_classes(old, name_head(old), len(classes)), rng)
    else:
        model = build_net(describe_net(old), rng)
    before, state = old.state_dict(), model.state_dict()
    if not new_classes:
        model.load_state_dict(before)
        return model
    head = name_head(model)
    rows = [
        (i, start.class_names.index(name))
        for i, name in enumerate(classes)
        if name in start.class_names
    ]
    for name, array in state.items():
        if name.startswith(f"{head}."):
            for own, theirs in rows:
                array[own] = before[name][theirs]
        else:
            array[...] = before[name]
    model.load_state_dict(state)
    return model


def name_head(model: Sequential) -> str:
    """Return the name of the last layer with parameters or buffers, with a row per class."""
    return [name for name, layer in model.named_layers() if layer.params or layer.buffers][-1]


def rate_factors(
    model: Sequential, layer_decay: float, freeze: Collection[str]
) -> dict[str, float]:
    """Return learning-rate factors of the layers with parameters, 0 for frozen layers.

    Batch normalization has the factor of the preceding layer. If it is frozen, its running
    statistics are frozen too.

    Raises
    ------
    ValueError
        If there is no such layer, or none is left to train.
    """
    groups: list[list[str]] = []
    layers = {name: layer for name, layer in model.named_layers() if layer.params}
    for name, layer in layers.items():
        if isinstance(layer, BatchNorm) and groups:
            groups[-1].append(name)
        else:
            groups.append([name])
    if unknown := [name for name in freeze if name not in layers]:
        raise ValueError(
            f"freeze must contain layers with parameters, {', '.join(layers)}, got {unknown[0]!r}"
        )
    factors: dict[str, float] = {}
    for depth, group in enumerate(reversed(groups)):
        for name in group:
            factors[name] = 0.0 if {name, group[0]} & set(freeze) else layer_decay**depth
    if not any(factors.values()):
        raise ValueError(
            f"freeze must leave at least one layer to train, got all, {', '.join(freeze)}"
        )
    return factors


def freeze_statistics(model: Sequential, factors: Mapping[str, float]) -> None:
    """Freeze the running statistics of frozen batch normalization layers."""
    for name, layer in model.named_layers():
        if isinstance(layer, BatchNorm):
            layer.frozen = factors.get(name) == 0


def choose_rehearsed(
    start: TrainedModel, rehearsed: Dataset, samples: Dataset, seed: int
) -> Dataset | None:
    """Return images to rehearse, with the classes of the samples; None if there are none."""
    classes = samples.class_names
    shared = [i for i, name in enumerate(rehearsed.class_names) if name in classes]
    index = np.flatnonzero(np.isin(rehearsed.labels, shared))
    if len(index) == 0:
        return None
    rng = np.random.default_rng([seed, 7])
    index = np.sort(rng.choice(index, min(REHEARSED, len(index)), replace=False))
    names = tuple(rehearsed.class_names[i] for i in shared)
    labels = np.searchsorted(shared, rehearsed.labels[index])
    chosen = Dataset(rehearsed.images[index], labels, len(names), rehearsed.name, names)
    return fit_dataset(start, chosen, classes)[0]


def turn(images: NDArray[Any], number: int) -> NDArray[Any]:
    """Return images (N, C, H, W) in one of eight orientations; from 4, mirrored first."""
    mirrored = images[..., ::-1] if number >= 4 else images
    return np.ascontiguousarray(np.rot90(mirrored, number % 4, axes=(2, 3)))


def turn_net(model: Any, number: int) -> None:
    """Transform the filters of a net to process turned images like the original images."""
    shape = maps = model.input_shape
    for layer in model.layers.values():
        if isinstance(layer, Conv2d):
            layer.params["weight"] = turn(layer.params["weight"], number)
        elif isinstance(layer, Flatten):
            maps = shape
        elif isinstance(layer, Linear) and len(maps) == 3:
            weight = layer.params["weight"]
            layer.params["weight"] = turn(weight.reshape(-1, *maps), number).reshape(weight.shape)
            maps = ()
        shape = layer.output_shape(shape)


def find_turn(start: TrainedModel, samples: Dataset) -> int:
    """Return the orientation of samples relative to the training images of a model; see `turn`.

    It is not 0 only if the model classifies many more of the samples correctly after undoing it.
    """
    if type(start.model) not in NETS.values():  # unknown for other nets
        return 0
    names = start.class_names
    known = [names.index(name) if name in names else -1 for name in samples.class_names]
    labels = np.array(known)[samples.labels]
    few = np.flatnonzero(labels >= 0)[:MAX_TURNED]
    if len(few) == 0:
        return 0
    images, labels = samples.images[few], labels[few]
    square = images.shape[2] == images.shape[3]
    correct = {}
    for number in range(8) if square else (0, 2, 4, 6):
        back = turn(images, number if number >= 4 else -number % 4)
        correct[number] = int((start.logits(back).argmax(axis=1) == labels).sum())
    best = max(correct, key=lambda number: correct[number])
    return best if correct[best] - correct[0] >= max(TURNED * len(few), 10) else 0


def count_repeats(samples: int, epoch_images: int, most: int) -> int:
    """Return the number of repetitions of each of `count` samples in an epoch."""
    return int(np.clip(round(epoch_images / samples), 1, most))


def mix(samples: Dataset, repeats: int, rehearsed: Dataset | None, fit: Any) -> Dataset:
    """Return repeated samples and images to rehearse, fitted by `fit`."""
    if repeats > 1:
        samples = samples.take(np.tile(np.arange(len(samples)), repeats))
    if rehearsed is None:
        return samples
    weights, targets = samples.sample_weight, samples.targets
    if weights is not None:
        weights = np.concatenate([weights, np.ones(len(rehearsed), np.float32)])
    if targets is not None:
        certain = np.eye(samples.num_classes, dtype=np.float32)[rehearsed.labels]
        targets = np.concatenate([targets, certain])
    return replace(
        samples,
        images=cast(Any, join(fit(samples.images), fit(rehearsed.images))),
        labels=np.concatenate([samples.labels, rehearsed.labels]),
        ids=None,
        root=None,
        sample_weight=weights,
        targets=targets,
    )


def describe_mixture(samples: int, repeats: int, rehearsed: Dataset | None) -> str:
    """Describe the images of an epoch, '' if they are the samples once."""
    words = f"{count(samples, 'image')}" + (f", each {repeats} times" if repeats > 1 else "")
    if rehearsed is not None:
        return f"{words}, and {len(rehearsed):,} of {rehearsed.name or 'others'} rehearsed"
    return words if repeats > 1 else ""


def start_name(model: str | PathLike[str]) -> str:
    """Return 'best' and 'signs' unchanged and other paths as absolute, as in config.json."""
    return str(model if model in SHIPPED else Path(model).resolve())


def read_model_digest(trained: TrainedModel) -> str:
    """Return the digest of the file of a model."""
    assert trained.path is not None
    return _files.read_digest(trained.path, "model")
